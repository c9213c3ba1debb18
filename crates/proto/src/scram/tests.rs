//! The exchange as a whole: the published vector, and everything that must be refused.

use super::*;
use crate::Secret;

const CHANNEL: Binding = Binding::TlsExporter([7; 32]);

fn password(text: &str) -> Credential {
    Credential::Password(Secret::new(text.to_owned()))
}

fn verifier(text: &str) -> Verifier {
    Verifier::with_salt(&Secret::new(text.to_owned()), b"0123456789abcdef", MIN_ITERATIONS).unwrap()
}

/// Runs a login in which each side may see another channel.
fn login(
    credential: &Credential,
    verifier: &Verifier,
    genuine: bool,
    client_sees: Binding,
    server_sees: Binding,
) -> Result<DerivedKeys, ScramError> {
    let (mut client, first) = ClientExchange::start("alice", client_sees)?;
    let first = ClientFirst::parse(&first, &server_sees)?;
    assert_eq!(first.user(), "alice");
    let (server, challenge) = ServerExchange::start(&first, verifier, genuine, &server_sees)?;
    let proof = client.respond(&challenge, credential)?;
    client.finish(&server.finish(&proof)?)
}

/// The example of RFC 7677 section 3, message by message.
#[test]
fn rfc_7677_vector_holds() {
    let (mut client, first) =
        ClientExchange::start_with_nonce("user", Binding::None, "rOprNGfwEbeRWgbNEkqO".to_owned()).unwrap();
    assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");

    let salt = syntax::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::with_salt(&Secret::new("pencil".to_owned()), &salt, 4096).unwrap();
    let first = ClientFirst::parse(&first, &Binding::None).unwrap();
    let (server, challenge) = ServerExchange::start_with_nonce(
        &first,
        &verifier,
        true,
        &Binding::None,
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    );
    assert_eq!(
        challenge,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let proof = client.respond(&challenge, &password("pencil")).unwrap();
    assert_eq!(
        proof,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let answer = server.finish(&proof).unwrap();
    assert_eq!(answer, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    client.finish(&answer).unwrap();
}

#[test]
fn derived_keys_log_in_instead_of_the_password() {
    let verifier = verifier("pencil");
    let keys = login(&password("pencil"), &verifier, true, CHANNEL, CHANNEL).unwrap();
    assert_eq!(Verifier::from_keys(&keys), verifier);
    login(&Credential::Keys(keys), &verifier, true, CHANNEL, CHANNEL).unwrap();
}

#[test]
fn wrong_password_and_unknown_user_fail_alike() {
    let wrong = login(&password("pen"), &verifier("pencil"), true, CHANNEL, CHANNEL);
    let unknown = login(&password("pencil"), &verifier("pencil"), false, CHANNEL, CHANNEL);
    assert_eq!(wrong, Err(ScramError::Proof));
    assert_eq!(unknown, Err(ScramError::Proof));
}

#[test]
fn an_unknown_user_keeps_the_same_salt_and_looks_like_a_real_one() {
    let real = verifier("pencil");
    let secret = [3; KEY_BYTES];
    let made_up = |user| Verifier::for_unknown(&secret, user, [(Lot::new(&secret, "alice"), &real)]);
    assert_eq!(made_up("eve"), made_up("eve"));
    assert_ne!(made_up("eve").salt, made_up("bob").salt);
    assert_eq!(made_up("eve").salt.len(), real.salt.len());
    assert_eq!(made_up("eve").iterations, real.iterations);
}

#[test]
fn users_who_come_and_go_say_nothing_about_unknown_names() {
    let secret = [3; KEY_BYTES];
    let password = Secret::new("pencil".to_owned());
    let alike = |salt: &[u8], iterations| Verifier::with_salt(&password, salt, iterations).unwrap();
    let (usual, odd) = (alike(b"0123456789abcdef", 4096), alike(&[7; 40], 5000));
    let lot = |number: usize| Lot::new(&secret, &format!("user {number}"));
    let names: Vec<String> = (0..1000).map(|number| format!("nobody {number}")).collect();
    let shown = |users: &[(Lot, &Verifier)]| -> Vec<Verifier> {
        let made_up = |name: &String| Verifier::for_unknown(&secret, name, users.iter().copied());
        names.iter().map(made_up).collect()
    };

    let mut users: Vec<_> = (0..9).map(|number| (lot(number), &usual)).collect();
    let before = shown(&users);
    // One more like the others: nobody can see it.
    users.push((lot(9), &usual));
    assert_eq!(shown(&users), before);
    // One that is different: about one name in eleven looks as if it had another password, the others as before.
    users.push((lot(10), &odd));
    let after = shown(&users);
    let changed: Vec<_> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .collect();
    assert!((40..160).contains(&changed.len()), "{}", changed.len());
    for (before, after) in changed {
        assert_eq!((after.iterations, after.salt.len()), (5000, 40));
        assert!(!after.salt.starts_with(&before.salt), "a new password has a new salt");
        assert_ne!(after.salt[..8], after.salt[32..], "a long salt does not repeat itself");
    }
    // The order of the users means nothing.
    users.reverse();
    assert_eq!(shown(&users), after);
}

#[test]
fn known_and_unknown_users_cost_the_same_arithmetic() {
    use super::keys::{macs_and_hashes, reset_count};
    let (real, secret) = (verifier("pencil"), [3; KEY_BYTES]);
    let made_up = Verifier::for_unknown(&secret, "eve", [(Lot::new(&secret, "alice"), &real)]);
    let cost = |verifier: &Verifier, genuine| {
        let (mut client, first) = ClientExchange::start("alice", CHANNEL).unwrap();
        reset_count();
        let first = ClientFirst::parse(&first, &CHANNEL).unwrap();
        let (server, challenge) = ServerExchange::start(&first, verifier, genuine, &CHANNEL).unwrap();
        let asked = macs_and_hashes();
        let proof = client.respond(&challenge, &password("wrong")).unwrap();
        reset_count();
        assert_eq!(server.finish(&proof), Err(ScramError::Proof));
        (asked, macs_and_hashes(), challenge.len())
    };
    let known = cost(&real, true);
    assert_eq!(cost(&made_up, false), known);
    // No key derivation at all on the server, and the same few operations.
    assert_eq!((known.0, known.1), (0, 3));
}

#[test]
fn somebody_in_the_middle_is_refused() {
    let other = Binding::TlsExporter([8; 32]);
    let result = login(&password("pencil"), &verifier("pencil"), true, CHANNEL, other);
    assert_eq!(result, Err(ScramError::Binding));
}

#[test]
fn a_stripped_binding_is_refused_under_tls() {
    for first in ["n,,n=alice,r=abc", "y,,n=alice,r=abc", "p=tls-unique,,n=alice,r=abc"] {
        assert_eq!(
            ClientFirst::parse(first, &CHANNEL).unwrap_err(),
            ScramError::Binding,
            "{first}"
        );
    }
}

#[test]
fn a_bound_login_is_refused_in_plaintext() {
    let first = "p=tls-exporter,,n=alice,r=abc";
    assert_eq!(
        ClientFirst::parse(first, &Binding::None).unwrap_err(),
        ScramError::Binding
    );
}

#[test]
fn a_server_without_the_verifier_is_refused() {
    let (mut client, first) = ClientExchange::start("alice", CHANNEL).unwrap();
    let first = ClientFirst::parse(&first, &CHANNEL).unwrap();
    let (_, challenge) = ServerExchange::start(&first, &verifier("guess"), true, &CHANNEL).unwrap();
    client.respond(&challenge, &password("pencil")).unwrap();
    let forged = format!("v={}", syntax::encode(&[0; KEY_BYTES]));
    assert_eq!(client.finish(&forged), Err(ScramError::ServerSignature));
}

#[test]
fn a_server_that_skips_the_challenge_is_refused() {
    let (client, _) = ClientExchange::start("alice", CHANNEL).unwrap();
    let forged = format!("v={}", syntax::encode(&[0; KEY_BYTES]));
    assert_eq!(client.finish(&forged), Err(ScramError::ServerSignature));
}

#[test]
fn a_replayed_login_is_refused() {
    let verifier = verifier("pencil");
    let (mut client, first) = ClientExchange::start("alice", CHANNEL).unwrap();
    let first = ClientFirst::parse(&first, &CHANNEL).unwrap();
    let (server, challenge) = ServerExchange::start(&first, &verifier, true, &CHANNEL).unwrap();
    let proof = client.respond(&challenge, &password("pencil")).unwrap();
    server.finish(&proof).unwrap();
    // The same first message and the same proof against a new login: the server's nonce is another.
    let (server, _) = ServerExchange::start(&first, &verifier, true, &CHANNEL).unwrap();
    assert_eq!(server.finish(&proof), Err(ScramError::Nonce));
}

#[test]
fn a_challenge_of_another_login_is_refused() {
    let (mut client, _) = ClientExchange::start("alice", CHANNEL).unwrap();
    let challenge = "r=foreign,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096";
    assert_eq!(client.respond(challenge, &password("pencil")), Err(ScramError::Nonce));
}

#[test]
fn cheap_and_endless_iteration_counts_are_refused() {
    for iterations in [0, MIN_ITERATIONS - 1, MAX_ITERATIONS + 1] {
        let (mut client, first) = ClientExchange::start("alice", CHANNEL).unwrap();
        let nonce = first.rsplit_once("r=").unwrap().1;
        let challenge = format!("r={nonce}server,s=MDEyMzQ1Njc4OWFiY2RlZg==,i={iterations}");
        assert_eq!(
            client.respond(&challenge, &password("p")),
            Err(ScramError::Iterations(iterations))
        );
    }
}

#[test]
fn keys_of_an_older_password_are_told_from_wrong_ones() {
    let keys = DerivedKeys::derive(&Secret::new("old".to_owned()), b"another salt", MIN_ITERATIONS).unwrap();
    let result = login(&Credential::Keys(keys), &verifier("pencil"), true, CHANNEL, CHANNEL);
    assert_eq!(result, Err(ScramError::StaleKey));
}

#[test]
fn names_with_commas_and_equals_signs_survive() {
    let (_, first) = ClientExchange::start("a,b=c", Binding::None).unwrap();
    assert_eq!(ClientFirst::parse(&first, &Binding::None).unwrap().user(), "a,b=c");
    assert!(ClientFirst::parse("n,,n=a=2x,r=abc", &Binding::None).is_err());
}

#[test]
fn malformed_messages_are_refused() {
    for first in [
        "",
        "n",
        "n,,",
        "n,,n=,r=abc",
        "n,,n=a",
        "n,,n=a,r=",
        "n,a=bob,n=a,r=abc",
        "n,,m=x,n=a,r=abc",
        "x,,n=a,r=b",
    ] {
        assert_eq!(
            ClientFirst::parse(first, &Binding::None).unwrap_err(),
            ScramError::Syntax,
            "{first:?}"
        );
    }
    let first = ClientFirst::parse("n,,n=a,r=abc", &Binding::None).unwrap();
    for message in ["", "c=biws", "c=biws,r=abc", "c=biws,r=abc,p=", "c=!,r=abc,p=AAAA"] {
        let (server, _) = ServerExchange::start(&first, &verifier("x"), true, &Binding::None).unwrap();
        assert_eq!(server.finish(message), Err(ScramError::Syntax), "{message:?}");
    }
}

#[test]
fn verifiers_round_trip_as_text_and_show_nothing_in_debug() {
    let verifier = verifier("pencil");
    let text = verifier.to_string();
    assert_eq!(text.parse(), Ok(verifier.clone()));
    assert_eq!(format!("{verifier:?}"), "Verifier(***)");
    assert!(text.replace("4096", "12").parse::<Verifier>().is_err());
    for broken in [
        "",
        "SCRAM-SHA-256$",
        "md5abc",
        &text[..text.len() - 4],
        &format!("{text}$x"),
    ] {
        assert_eq!(broken.parse::<Verifier>(), Err(InvalidVerifier::Form), "{broken}");
    }
}
