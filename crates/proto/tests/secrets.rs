//! Nothing that prints a value for a developer prints a secret, and what holds one wipes it.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fmt::Debug;

use bytes::Bytes;
use ftp_proto::scram::{Credential, DerivedKeys, Verifier};
use ftp_proto::{Frame, FrameReader, FrameWriter, LoginReply, LoginRequest, ReadAhead, Secret};
use zeroize::ZeroizeOnDrop;

const PASSWORD: &str = "pencil";

fn keys() -> DerivedKeys {
    DerivedKeys::derive(&Secret::new(PASSWORD.to_owned()), b"salty", 4096).unwrap()
}

#[track_caller]
fn shows(value: &impl Debug, text: &str) {
    assert_eq!(format!("{value:?}"), text);
    let pretty = format!("{value:#?}").replace(['\n', ' '], "").replace(",)", ")");
    assert_eq!(pretty, text.replace(' ', ""));
}

#[test]
fn passwords_keys_and_verifiers_print_stars() {
    let password = Secret::new(PASSWORD.to_owned());
    shows(&password, "Secret(***)");
    shows(&keys(), "DerivedKeys(***)");
    shows(&Verifier::from_keys(&keys()), "Verifier(***)");
    shows(&Credential::Keys(keys()), "Keys(DerivedKeys(***))");
    shows(&Some(Credential::Password(password)), "Some(Password(Secret(***)))");
}

#[test]
fn messages_of_the_login_print_nothing_of_scram() {
    let message = "secret message".to_owned();
    let mechanism = "SCRAM-SHA-256-PLUS".to_owned();
    let requests = [
        LoginRequest::Login {
            mechanism,
            message: message.clone(),
        },
        LoginRequest::Proof {
            message: message.clone(),
        },
    ];
    let replies = [
        LoginReply::Challenge {
            message: message.clone(),
        },
        LoginReply::Welcome { message },
    ];
    let text = format!("{requests:?} {replies:?} {requests:#?} {replies:#?}");
    assert!(!text.contains("secret"), "{text}");
    assert!(
        text.contains("SCRAM-SHA-256-PLUS") && text.contains("Proof(***)"),
        "{text}"
    );
}

#[tokio::test]
async fn frames_and_what_carries_them_print_lengths() {
    let secret = Bytes::from_static(b"secret");
    shows(&Frame::Header(secret.clone()), "Header(6 bytes)");
    shows(&Frame::Data(secret), "Data(6 bytes)");
    let mut writer = FrameWriter::new(Vec::new());
    writer.header(&"secret").unwrap();
    shows(&writer, "FrameWriter(13 bytes)");
    let mut reader = FrameReader::new(&b"\0\0\0\x09\x01secret"[..]);
    assert!(reader.next().await.is_err());
    shows(&reader, "FrameReader(7 bytes)");
    shows(&ReadAhead::new(&b"secret"[..]), "ReadAhead(0 bytes)");
}

#[test]
fn what_holds_a_secret_wipes_it() {
    fn wipes<T: ZeroizeOnDrop>() {}
    wipes::<DerivedKeys>();
    wipes::<Verifier>();
    wipes::<zeroize::Zeroizing<String>>();
}
