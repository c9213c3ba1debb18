//! `uploads`: what is staged on the server, waiting to be resumed.

use ftp_client::{RemotePath, Staged};
use serde::Serialize;

use super::super::args::UploadsArgs;
use super::super::failure::Done;
use super::super::format;
use super::super::json::{Nothing, PathLine, wire_bytes};
use super::super::quote::quoted;
use super::super::session::{Session, Tally};

#[derive(Debug, Serialize)]
struct Line {
    staged: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    touched: Option<String>,
}

pub(super) async fn uploads(session: &mut Session, args: &UploadsArgs) -> Done {
    if !args.discard.is_empty() {
        return discard(session, args).await;
    }
    let staged = match session.client.uploads().await {
        Ok(staged) => staged,
        Err(error) => return Err(session.failure("uploads", &RemotePath::from(""), &error).into()),
    };
    for upload in &staged {
        if session.output.is_json() {
            let line = Line {
                staged: upload.staged,
                size: upload.size,
                touched: format::utc_time(upload.touched),
            };
            session
                .output
                .object(&PathLine::new("uploads", &wire_bytes(&upload.path), line))?;
        } else {
            session.output.line(&text(upload))?;
        }
    }
    if staged.is_empty() && !session.output.is_json() {
        session.output.note("no upload waits to be resumed");
    }
    Ok(())
}

fn text(upload: &Staged) -> String {
    let of = upload
        .size
        .map_or_else(String::new, |size| format!(" of {}", format::size(size)));
    format!(
        "{}  {}{of}, last bytes {}",
        quoted(&wire_bytes(&upload.path)),
        format::size(upload.staged),
        format::local_time(upload.touched)
    )
}

async fn discard(session: &mut Session, args: &UploadsArgs) -> Done {
    let mut tally = Tally::default();
    for path in &args.discard {
        let path = RemotePath::new(path);
        match session.client.discard(&path).await {
            Ok(()) if session.output.is_json() => {
                let line = PathLine::new("uploads", path.to_os_string().as_encoded_bytes(), Nothing {});
                session.output.object(&line)?;
            }
            Ok(()) => {}
            Err(error) => tally.add(&session.failure("uploads", &path, &error), &session.output)?,
        }
    }
    tally.finish()
}
