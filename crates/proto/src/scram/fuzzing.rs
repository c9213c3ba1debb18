//! Both sides of the login: whatever the other side says, only the right messages pass.

use std::sync::OnceLock;

use super::{
    Binding, ClientExchange, ClientFirst, Credential, DerivedKeys, MAX_ITERATIONS, MIN_ITERATIONS, ServerExchange,
    Verifier,
};
use crate::Secret;

const USER: &str = "al,i=ce";
const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";
const SERVER_NONCE: &str = "3rfcNHYJY1ZVvWVs7j";

/// One right login, to compare with and to change.
struct Login {
    binding: Binding,
    first: String,
    server_first: String,
    last: String,
    server_last: String,
}

fn keys() -> &'static DerivedKeys {
    static KEYS: OnceLock<DerivedKeys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let password = Secret::new("pencil".to_owned());
        DerivedKeys::derive(&password, b"salt of 16 bytes", MIN_ITERATIONS).expect("the password is plain")
    })
}

fn logins() -> &'static [Login; 2] {
    static LOGINS: OnceLock<[Login; 2]> = OnceLock::new();
    LOGINS.get_or_init(|| [Binding::None, Binding::TlsExporter([7; 32])].map(login))
}

fn client(binding: Binding) -> (ClientExchange, String) {
    ClientExchange::start_with_nonce(USER, binding, NONCE.to_owned()).expect("the name is plain")
}

fn server(first: &ClientFirst, genuine: bool, binding: Binding) -> (ServerExchange, String) {
    ServerExchange::start_with_nonce(first, &Verifier::from_keys(keys()), genuine, &binding, SERVER_NONCE)
}

fn login(binding: Binding) -> Login {
    let (mut exchange, first) = client(binding);
    let parsed = ClientFirst::parse(&first, &binding).expect("it is right");
    assert_eq!(parsed.user(), USER);
    let (server, server_first) = server(&parsed, true, binding);
    let last = exchange
        .respond(&server_first, &Credential::Keys(keys().clone()))
        .expect("it is right");
    let server_last = server.finish(&last).expect("it is right");
    exchange.finish(&server_last).expect("it is right");
    Login {
        binding,
        first,
        server_first,
        last,
        server_last,
    }
}

/// The two messages of the other side, as the input has them: text before and after a line end, or, when
/// the first byte is odd, the right ones changed in a few places.
fn two_messages(input: &[u8], right: [&str; 2]) -> Option<[String; 2]> {
    let (mode, rest) = input.split_first()?;
    if mode & 1 == 0 {
        let text = std::str::from_utf8(rest).ok()?;
        let (first, last) = text.split_once('\n').unwrap_or((text, right[1]));
        let or_right = |text: &str, right: &str| if text.is_empty() { right } else { text }.to_owned();
        return Some([or_right(first, right[0]), or_right(last, right[1])]);
    }
    let mut messages = right.map(|text| text.as_bytes().to_vec());
    // Which message and what to do, where, and with which byte.
    for change in rest.chunks_exact(3) {
        let [how, place, byte] = change else { break };
        let message = &mut messages[usize::from(how & 1)];
        let place = usize::from(*place) % (message.len() + 1);
        match (how >> 1) % 4 {
            0 if place < message.len() => message[place] = *byte,
            1 => message.insert(place, *byte),
            2 if place < message.len() => drop(message.remove(place)),
            3 => message.truncate(place),
            _ => {}
        }
    }
    let text = messages.map(|message| String::from_utf8(message).ok());
    match text {
        [Some(first), Some(last)] => Some([first, last]),
        _ => None,
    }
}

/// A client that knows no password: nothing but the right messages may log in.
pub fn scram_server(input: &[u8]) {
    if let Some(text) = input.get(1..).and_then(|text| std::str::from_utf8(text).ok()) {
        verifier(text);
    }
    for right in logins() {
        let Some([first, last]) = two_messages(input, [&right.first, &right.last]) else {
            return;
        };
        let Ok(parsed) = ClientFirst::parse(&first, &right.binding) else {
            continue;
        };
        assert!(!parsed.user().is_empty());
        for genuine in [true, false] {
            let (exchange, challenge) = server(&parsed, genuine, right.binding);
            assert!(!challenge.contains(['\n', '\0']), "{challenge:?}");
            let is_right = genuine && (&first, &last) == (&right.first, &right.last);
            assert_eq!(exchange.finish(&last).is_ok(), is_right, "{first:?} {last:?}");
        }
    }
}

/// A server that does not know the verifier: nothing but the right messages may pass for it.
pub fn scram_client(input: &[u8]) {
    for right in logins() {
        let Some([first, last]) = two_messages(input, [&right.server_first, &right.server_last]) else {
            return;
        };
        let (mut exchange, _) = client(right.binding);
        if exchange.respond(&first, &Credential::Keys(keys().clone())).is_ok() {
            let genuine = last.split(',').next() == Some(&right.server_last);
            let is_right = first == right.server_first && genuine;
            assert_eq!(exchange.finish(&last).is_ok(), is_right, "{first:?} {last:?}");
        } else {
            assert_ne!(first, right.server_first);
            assert!(exchange.finish(&last).is_err(), "nothing was proven yet");
        }
    }
}

fn verifier(text: &str) {
    if let Ok(verifier) = text.parse::<Verifier>() {
        assert!((MIN_ITERATIONS..=MAX_ITERATIONS).contains(&verifier.iterations()));
        assert!(verifier.to_string().parse::<Verifier>() == Ok(verifier));
    }
}
