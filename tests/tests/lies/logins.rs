//! Servers that bend the messages of the login, with everything else right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ftp_proto::Request;
use ftp_tests::{Deceived, Forge, Liar};

/// Runs a command against the bent login, which must fail before anything is asked.
#[track_caller]
fn is_not_believed(forge: Forge, reason: &str) {
    let asked = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&asked);
    let liar = Liar::with(forge, async move |_: &mut Deceived, _: Request| {
        heard.store(true, Ordering::Relaxed);
    });
    std::fs::write(liar.local("secret"), "the plans").unwrap();
    liar.cli().run(["put", "secret"]).exits(3).says(reason);
    assert!(!asked.load(Ordering::Relaxed), "{reason}: something was asked");
}

fn challenge(challenge: fn(&str, String) -> String, reason: &str) {
    is_not_believed(
        Forge {
            challenge,
            ..Forge::default()
        },
        reason,
    );
}

fn welcome(welcome: fn(&str, String) -> String, reason: &str) {
    is_not_believed(
        Forge {
            welcome,
            ..Forge::default()
        },
        reason,
    );
}

#[test]
fn iteration_counts_are_neither_lowered_nor_endless() {
    for (count, reason) in [
        ("1", "1 iterations"),
        ("4095", "4095 iterations"),
        ("10000001", "10000001 iterations"),
    ] {
        let bend: fn(&str, String) -> String = match count {
            "1" => |_, honest| honest.replace("i=4096", "i=1"),
            "4095" => |_, honest| honest.replace("i=4096", "i=4095"),
            _ => |_, honest| honest.replace("i=4096", "i=10000001"),
        };
        challenge(bend, reason);
    }
    challenge(|_, honest| honest.replace("i=4096", "i=99999999999"), "malformed");
    challenge(|_, honest| honest.replace("i=4096", "i=-1"), "malformed");
}

#[test]
fn a_nonce_must_go_on_from_the_clients() {
    challenge(|_, honest| honest.replacen("r=", "r=x", 1), "belongs to another login");
    // The client's own nonce and nothing of the server's.
    challenge(
        |first, honest| {
            let own = first.rsplit_once("r=").unwrap().1;
            format!("r={own},{}", honest.split_once(',').unwrap().1)
        },
        "belongs to another login",
    );
    challenge(|first, _| first.rsplit_once(",,").unwrap().1.to_owned(), "malformed");
}

#[test]
fn mandatory_extensions_and_other_grammar_are_refused() {
    challenge(|_, honest| format!("m=new,{honest}"), "malformed");
    challenge(|_, _| String::new(), "malformed");
    challenge(|_, honest| honest.replace(",s=", ",t="), "malformed");
    challenge(|_, honest| honest.replace(",s=", ",s=!"), "malformed");
}

#[test]
fn signatures_that_prove_nothing_are_not_believed() {
    // What the client said, sent back: its proof is no signature.
    welcome(
        |proof, _| format!("v={}", proof.rsplit_once("p=").unwrap().1),
        "not the server it claims to be",
    );
    welcome(|_, _| String::new(), "malformed");
    welcome(|_, _| "v=".to_owned(), "malformed");
    welcome(|_, _| "e=other-error".to_owned(), "malformed");
    welcome(|_, honest| honest.replace("v=", "v=AAAA"), "malformed");
    welcome(
        |_, honest| format!("v={}", honest.split_at(2).1.chars().rev().collect::<String>()),
        "malformed",
    );
}

#[test]
fn an_honest_login_is_believed() {
    let liar = Liar::start(async |server: &mut Deceived, request: Request| super::honest(server, request).await);
    liar.cli().run(["ping", "-c", "1"]).ok();
}
