//! `ping`: the round trip to the server and back.

use std::time::Duration;

use ftp_client::RemotePath;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::super::args::PingArgs;
use super::super::failure::Done;
use super::super::format;
use super::super::quote::quoted;
use super::super::session::Session;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Line<'a> {
    command: &'static str,
    server: &'a str,
    milliseconds: f64,
}

pub(super) async fn ping(session: &mut Session, args: &PingArgs) -> Done {
    let server = session.target.to_string();
    let shown = quoted(server.as_bytes());
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut times = Vec::new();
    for _ in 0..args.count {
        interval.tick().await;
        let time = match session.client.ping().await {
            Ok(time) => time,
            Err(error) => return Err(session.failure("ping", &RemotePath::from(""), &error).into()),
        };
        times.push(time);
        if session.output.is_json() {
            session.output.object(&Line {
                command: "ping",
                server: &server,
                milliseconds: time.as_secs_f64() * 1e3,
            })?;
        } else {
            session
                .output
                .line(&format!("{shown} answers in {}", format::span(time)))?;
        }
    }
    if let (false, Some(summary)) = (session.output.is_json(), summary(&times)) {
        session.output.line(&summary)?;
    }
    Ok(())
}

/// Of more than one round trip.
fn summary(times: &[Duration]) -> Option<String> {
    let count = u32::try_from(times.len()).ok().filter(|count| *count > 1)?;
    let (least, most) = (times.iter().min()?, times.iter().max()?);
    let mean = times.iter().sum::<Duration>() / count;
    Some(format!(
        "{count} round trips: least {}, mean {}, most {}",
        format::span(*least),
        format::span(mean),
        format::span(*most)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_round_trips_are_summed_up() {
        let times = [10, 20, 60].map(Duration::from_millis);
        assert_eq!(
            summary(&times).as_deref(),
            Some("3 round trips: least 10 ms, mean 30 ms, most 60 ms")
        );
        assert_eq!(summary(&times[..1]), None);
    }
}
