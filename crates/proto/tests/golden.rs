//! Holds `docs/protocol.md` against the code: every example, byte for byte, and every table.

#![expect(clippy::unwrap_used, reason = "what fails in a test is to be seen where it fails")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use ftp_digest::{Algorithm, BlockHasher, Hasher, MAX_BLOCKS, MIN_BLOCK_BYTES, block_bytes_for};
use ftp_proto::scram::{self, Binding, ClientExchange, ClientFirst, Credential, ServerExchange, Verifier};
use ftp_proto::{
    BEAT_INTERVAL, BlockList, Code, Frame, FrameCodec, FrameWriter, LENGTH_BYTES, Limits, LoginReply, LoginRequest,
    MAX_DATA_BYTES, MAX_HEADER_BYTES, MAX_LOGIN_HEADER_BYTES, Op, PEER_TIMEOUT, Re, Reply, Request, Secret, begin_data,
    seal_data,
};
use futures::FutureExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::codec::Decoder as _;

const PAGE: &str = include_str!("../../../docs/protocol.md");

/// One line of an example: a frame and who sends it.
struct Line {
    from_client: bool,
    before_login: bool,
    head: Vec<u8>,
    payload: String,
}

/// The fenced blocks of the page whose info string is `info`.
fn blocks(info: &str) -> Vec<Vec<&'static str>> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in PAGE.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take().filter(|block| block[0] == info)),
            (Some(found), None) => open = Some(vec![found]),
            (None, Some(block)) => block.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fenced block has no end");
    blocks.into_iter().map(|block| block[1..].to_vec()).collect()
}

fn lines() -> Vec<Line> {
    let of = |info: &str, before_login| -> Vec<Line> {
        blocks(info)
            .concat()
            .into_iter()
            .map(|line| {
                let (side, rest) = line.split_at(2);
                let (head, payload) = rest.split_at("00 00 00 00 00 ".len());
                Line {
                    from_client: side == "C ",
                    before_login,
                    head: hex(head),
                    payload: payload.to_owned(),
                }
            })
            .collect()
    };
    let mut lines = of("wire login", true);
    lines.extend(of("wire", false));
    assert!(lines.len() > 50, "the examples were not found");
    lines
}

/// The headers among the lines, as text.
fn headers(from_client: bool, before_login: bool) -> Vec<String> {
    lines()
        .into_iter()
        .filter(|line| line.head[LENGTH_BYTES] == 1)
        .filter(|line| (line.from_client, line.before_login) == (from_client, before_login))
        .map(|line| line.payload)
        .collect()
}

fn requests() -> Vec<Request> {
    headers(true, false).iter().map(|text| parse(text)).collect()
}

fn replies() -> Vec<Reply> {
    headers(false, false).iter().map(|text| parse(text)).collect()
}

fn parse<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{text:?} is no hexadecimal")))
        .collect()
}

/// The file of the examples about resuming: byte n has the value n modulo 251.
fn n_bin() -> Vec<u8> {
    (0..=250).cycle().take(100_000).collect()
}

/// The bytes of a data frame of the examples.
fn data(payload: &str) -> Vec<u8> {
    let Some(described) = payload.strip_prefix('(') else {
        return hex(payload);
    };
    let numbers: Vec<usize> = described
        .split(' ')
        .filter_map(|word| word.trim_end_matches(')').parse().ok())
        .collect();
    n_bin()[numbers[1]..][..numbers[0]].to_vec()
}

/// The bytes that the writer makes of a message.
fn written(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::new(&mut bytes);
    writer
        .send(message)
        .now_or_never()
        .expect("memory is always ready")
        .unwrap();
    bytes
}

fn check<T: DeserializeOwned + Serialize>(line: &Line, bytes: &[u8]) {
    let message: T = parse(&line.payload);
    let bytes_of_page = String::from_utf8_lossy(bytes);
    assert_eq!(
        String::from_utf8_lossy(&written(&message)),
        bytes_of_page,
        "encoded otherwise"
    );
}

#[test]
fn every_example_encodes_and_decodes_byte_for_byte() {
    for line in lines() {
        let is_header = line.head[LENGTH_BYTES] == 1;
        let payload = if is_header {
            line.payload.clone().into_bytes()
        } else {
            data(&line.payload)
        };
        let bytes = [&line.head[..], &payload].concat();

        let mut codec = FrameCodec::new();
        if !line.before_login {
            codec.open();
        }
        let mut source = BytesMut::from(&bytes[..]);
        let expected = if is_header {
            Frame::Header(payload.clone().into())
        } else {
            Frame::Data(payload.clone().into())
        };
        assert_eq!(codec.decode(&mut source).unwrap(), Some(expected), "{}", line.payload);
        assert!(source.is_empty(), "the head of {} is wrong", line.payload);

        match (is_header, line.from_client, line.before_login) {
            (false, ..) => {
                let mut buffer = begin_data(payload.len());
                buffer.extend_from_slice(&payload);
                assert_eq!(seal_data(buffer).unwrap(), bytes);
            }
            (true, true, true) => check::<LoginRequest>(&line, &bytes),
            (true, false, true) => check::<LoginReply>(&line, &bytes),
            (true, true, false) => check::<Request>(&line, &bytes),
            (true, false, false) => check::<Reply>(&line, &bytes),
        }
    }
}

#[test]
fn the_hexadecimal_example_is_a_ping() {
    let [block] = &blocks("hex")[..] else {
        panic!("one example is in hexadecimal")
    };
    let ping = Request { id: 1, op: Op::Ping };
    assert_eq!(hex(&block.concat()), written(&ping));
}

#[test]
fn every_message_of_the_code_has_an_example_and_a_row() {
    let names = |headers: Vec<String>, key: &str| -> Vec<String> {
        let name = |text: &String| parse::<Value>(text)[key].as_str().unwrap().to_owned();
        headers.iter().map(name).collect()
    };
    let source = include_str!("../src/message.rs");
    let hello = include_str!("../src/hello.rs");
    for (enumeration, source, key, from_client, before_login) in [
        ("Op", source, "op", true, false),
        ("Re", source, "re", false, false),
        ("LoginRequest", hello, "op", true, true),
        ("LoginReply", hello, "re", false, true),
    ] {
        let examples = names(headers(from_client, before_login), key);
        for variant in variants(source, enumeration)
            .iter()
            .filter(|variant| *variant != "unknown")
        {
            assert!(examples.contains(variant), "{enumeration} `{variant}` has no example");
            let row = if before_login {
                format!("| `{variant}` | ")
            } else {
                format!("\n| `{variant}` | ")
            };
            assert!(PAGE.contains(&row), "{enumeration} `{variant}` has no row");
        }
    }
    assert!(requests().iter().all(|request| request.op != Op::Unknown));
    assert!(replies().iter().all(|reply| reply.re != Re::Unknown));
}

#[test]
fn every_key_of_the_examples_is_described() {
    fn keys(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    found.push(key.clone());
                    keys(value, found);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for line in lines().iter().filter(|line| line.head[LENGTH_BYTES] == 1) {
        keys(&parse(&line.payload), &mut found);
    }
    for key in found {
        let described = PAGE.contains(&format!("`{key}`")) || PAGE.contains(&format!("`limits.{key}`"));
        assert!(described, "`{key}` is not described");
    }
}

#[test]
fn the_table_of_codes_is_complete_and_says_the_truth_about_retries() {
    let rows: Vec<(&str, &str)> = PAGE
        .lines()
        .skip_while(|line| *line != "| code | retry | meaning |")
        .skip(2)
        .map_while(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(code, rest)| (code, rest.split(' ').next().unwrap_or_default()))
        .collect();
    for (name, retry) in &rows {
        let code: Code = parse(&format!("\"{name}\""));
        assert_eq!(code.name(), *name, "no such code");
        assert_eq!(code.may_retry(), *retry == "yes", "{name}");
    }
    let mut documented: Vec<_> = rows.iter().map(|(name, _)| (*name).to_owned()).collect();
    documented.push("unknown".to_owned());
    let mut known = variants(include_str!("../src/code.rs"), "Code");
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
}

/// The wire names of an enumeration's variants, from its source: the only complete list of them.
fn variants(source: &str, enumeration: &str) -> Vec<String> {
    let body = source
        .split(&format!("pub enum {enumeration} {{\n"))
        .nth(1)
        .expect("the enumeration is there");
    let variant = |line: &str| {
        let name = line
            .strip_prefix("    ")
            .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))?;
        let end = name.find(|c: char| !c.is_ascii_alphanumeric())?;
        let mut snake = String::new();
        for c in name[..end].chars() {
            if c.is_ascii_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(c.to_ascii_lowercase());
        }
        Some(snake)
    };
    body.lines()
        .take_while(|line| *line != "}")
        .filter_map(variant)
        .collect()
}

#[test]
fn the_limits_are_those_of_the_code() {
    let Limits {
        max_header_bytes,
        max_data_bytes,
        small_put_bytes,
        peer_timeout_seconds,
    } = Limits::default();
    assert_eq!(max_header_bytes, MAX_HEADER_BYTES as u64);
    assert_eq!(max_data_bytes, MAX_DATA_BYTES as u64);
    assert_eq!(peer_timeout_seconds, PEER_TIMEOUT.as_secs());
    for (name, value) in [
        ("MAX_LOGIN_HEADER_BYTES", MAX_LOGIN_HEADER_BYTES as u64),
        ("MAX_HEADER_BYTES", max_header_bytes),
        ("MAX_DATA_BYTES", max_data_bytes),
        ("SMALL_PUT_BYTES", small_put_bytes),
        ("MAX_BLOCKS", MAX_BLOCKS),
        ("MIN_BLOCK_BYTES", MIN_BLOCK_BYTES),
        ("BEAT_SECONDS", BEAT_INTERVAL.as_secs()),
        ("PEER_TIMEOUT_SECONDS", peer_timeout_seconds),
        ("MIN_ITERATIONS", scram::MIN_ITERATIONS.into()),
        ("MAX_ITERATIONS", scram::MAX_ITERATIONS.into()),
    ] {
        assert!(PAGE.contains(&format!("| `{name}` | {value} |")), "{name} is {value}");
    }
    for algorithm in Algorithm::ALL {
        assert!(PAGE.contains(&format!("`{algorithm}`")), "{algorithm}");
    }
}

#[test]
fn the_digests_of_the_examples_are_those_of_their_bytes() {
    let whole = Hasher::digest(Algorithm::Sha256, &n_bin()).to_string();
    assert_eq!(PAGE.matches(&whole).count(), 6, "{whole}");
    let hello = Hasher::digest(Algorithm::Sha256, b"hello\n").to_string();
    assert!(PAGE.contains(&format!("\"length\":6,\"digest\":\"{hello}\"")));

    let mut damaged = n_bin()[..70_000].to_vec();
    damaged[10] = 0xff;
    let blocks = |bytes: &[u8]| {
        let mut hasher = BlockHasher::new(block_bytes_for(bytes.len() as u64));
        hasher.update(bytes);
        hasher.finish()
    };
    let have = BlockList::from(&blocks(&damaged));
    let of_requests = requests().into_iter().filter_map(|request| match request.op {
        Op::Get { have, .. } => have,
        _ => None,
    });
    let of_replies = replies().into_iter().filter_map(|reply| match reply.re {
        Re::Go { have } => have,
        _ => None,
    });
    let held = BlockList::uncompared(70_000);
    assert_eq!(
        of_requests.chain(of_replies).collect::<Vec<_>>(),
        [held.clone(), have.clone(), held, have.clone()]
    );
    let differing = blocks(&n_bin()[..70_000]).differing(&have.parse().unwrap());
    assert_eq!(differing, [(0, 65_536)], "as the examples send it");
}

/// Section 5.7, written a second time from the page alone. Gives ClientProof and ServerSignature in base64.
fn prove(password: &str, first_bare: &str, server_first: &str, without_proof: &str) -> (String, String) {
    let mac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().into()
    };
    let attribute = |name: &str| {
        server_first
            .split(',')
            .find_map(|part| part.strip_prefix(name))
            .unwrap()
    };
    let salt = STANDARD.decode(attribute("s=")).unwrap();
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(
        password.as_bytes(),
        &salt,
        attribute("i=").parse().unwrap(),
        &mut salted,
    );
    let client_key = mac(&salted, b"Client Key");
    let stored_key: [u8; 32] = Sha256::digest(client_key).into();
    let auth = format!("{first_bare},{server_first},{without_proof}");
    let signature = mac(&stored_key, auth.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
    let server = mac(&mac(&salted, b"Server Key"), auth.as_bytes());
    (STANDARD.encode(proof), STANDARD.encode(server))
}

#[test]
fn the_login_of_the_page_is_what_both_sides_compute() {
    let text = |key: &str, name: &str, from_client| -> String {
        let found = headers(from_client, true).into_iter().map(|text| parse::<Value>(&text));
        let message = found
            .filter(|value| value[key] == name)
            .map(|value| value["message"].as_str().map(str::to_owned));
        message.flatten().next().unwrap()
    };
    let (first, proof) = (text("op", "login", true), text("op", "proof", true));
    let (challenge, welcome) = (text("re", "challenge", false), text("re", "welcome", false));
    let channel = Binding::TlsExporter(std::array::from_fn(|index| u8::try_from(index).unwrap()));

    assert_eq!(ClientFirst::parse(&first, &channel).unwrap().user(), "alice");
    let bare = first.strip_prefix("p=tls-exporter,,").unwrap();
    let (without_proof, sent) = proof.rsplit_once(",p=").unwrap();
    let (client, server) = prove("correct horse", bare, &challenge, without_proof);
    assert_eq!(
        (client.as_str(), welcome.as_str()),
        (sent, format!("v={server}").as_str())
    );
    let bound = [
        b"p=tls-exporter,,".as_slice(),
        &std::array::from_fn::<u8, 32, _>(|index| u8::try_from(index).unwrap()),
    ]
    .concat();
    assert!(without_proof.starts_with(&format!("c={},r=", STANDARD.encode(bound))));

    // The same formulas against the code, as the server of its client and as the client of its server.
    let secret = Secret::new("correct horse".to_owned());
    let (mut exchange, first) = ClientExchange::start("alice", channel).unwrap();
    let nonce = first.split_once(",r=").unwrap().1;
    let challenge = format!("r={nonce}more,s={},i=4096", STANDARD.encode(b"salt"));
    let answer = exchange
        .respond(&challenge, &Credential::Password(secret.clone()))
        .unwrap();
    let (without_proof, sent) = answer.rsplit_once(",p=").unwrap();
    let bare = first.strip_prefix("p=tls-exporter,,").unwrap();
    let (client, server) = prove("correct horse", bare, &challenge, without_proof);
    assert_eq!(client, sent);
    exchange.finish(&format!("v={server}")).unwrap();

    let verifier = Verifier::with_salt(&secret, b"salt", 4096).unwrap();
    let first = ClientFirst::parse("p=tls-exporter,,n=alice,r=nonce", &channel).unwrap();
    let (exchange, challenge) = ServerExchange::start(&first, &verifier, true, &channel).unwrap();
    let nonce = challenge.split(',').next().unwrap();
    let without_proof = format!("{},{nonce}", without_proof.split(',').next().unwrap());
    let (client, server) = prove("correct horse", "n=alice,r=nonce", &challenge, &without_proof);
    assert_eq!(
        exchange.finish(&format!("{without_proof},p={client}")),
        Ok(format!("v={server}"))
    );
}
