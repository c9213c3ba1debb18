//! What a server that knows the user's verifier can do to the client: nothing but lie, and be found out.

mod bodies;
mod listings;
mod logins;
mod terminal;
mod uploads;

use ftp_digest::{Algorithm, Digest, Hasher};
use ftp_proto::{Code, Entry, Fault, Kind, Op, Page, Re, Request, Timestamp};
use ftp_tests::Deceived;

/// When everything here was last modified.
const THEN: Timestamp = Timestamp {
    seconds: 1_767_225_600,
    nanos: 0,
};

fn sha256(bytes: &[u8]) -> Digest {
    Hasher::digest(Algorithm::Sha256, bytes)
}

/// A line of a listing, with a name of any form.
fn entry(name: &str, kind: Kind, size: u64) -> Entry {
    Entry {
        name: name.to_owned(),
        kind,
        size,
        mtime: THEN,
        digest: None,
    }
}

/// Answers as an honest server without anything in it.
async fn honest(server: &mut Deceived, request: Request) {
    let re = match request.op {
        Op::Quit | Op::Ping | Op::Mkdir { .. } | Op::Cancel { .. } => Re::Ok,
        Op::Put { .. } => {
            server.take_body().await;
            Re::Error(Fault::new(Code::NotFound, "nothing is here"))
        }
        _ => Re::Error(Fault::new(Code::NotFound, "nothing is here")),
    };
    server.reply(request.id, re).await;
}

/// Sends a listing in one page.
async fn list(server: &mut Deceived, id: u64, entries: Vec<Entry>) {
    if !entries.is_empty() {
        server.reply(id, Re::Page(Page { entries })).await;
    }
    server.reply(id, Re::Ok).await;
}

/// Announces a download.
async fn begin(server: &mut Deceived, id: u64, size: u64, body: u64) {
    let begin = Re::Begin {
        size,
        mtime: THEN,
        digest: None,
        body,
    };
    server.reply(id, begin).await;
}

/// Ends a download of these bytes.
fn end(bytes: &[u8]) -> Re {
    Re::End {
        length: bytes.len() as u64,
        digest: sha256(bytes),
    }
}

/// Sends a whole file as an honest server does.
async fn send(server: &mut Deceived, id: u64, bytes: &[u8]) {
    begin(server, id, bytes.len() as u64, bytes.len() as u64).await;
    server.data(bytes).await;
    server.reply(id, end(bytes)).await;
}
