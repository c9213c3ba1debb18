//! What stands beside the peers: the fastest that this machine can copy, send, hash and encrypt.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ftp_digest::{Algorithm, Hasher};
use rustix::fs::sendfile;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::crypto::cipher::{AeadKey, Iv, OutboundChunks, OutboundPlainMessage};
use rustls::{ContentType, ProtocolVersion, SupportedCipherSuite};

use crate::arena::LARGE;
use crate::plan::MIB;
use crate::report::table::median;
use crate::results::Limit;
use crate::warmer::Warmer;
use crate::workloads::{Bench, target};

/// What goes through a pipe or a system call at once.
const PIECE: usize = MIB as usize;

/// The largest record of TLS.
const RECORD: usize = 16 * 1024;

/// How long a digest or a cipher is timed, once for each round.
const TIMED: Duration = Duration::from_millis(500);

/// How a receiver takes what `sendfile` sends.
#[derive(Clone, Copy, Debug)]
enum Receiver {
    /// Reads and forgets.
    Discard,
    /// Reads and writes to a file.
    Write,
    /// Moves from socket to file through a pipe.
    Splice,
}

/// Measures all limits.
pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    bench.arena.source(LARGE, bench.plan.large, 1)?;
    let bytes = bench.plan.large;
    let source = bench.arena.cli(LARGE);
    limit(bench, "cp", |bench| {
        let copy = target(&bench.arena, "copy.bin")?;
        let _warm = Warmer::start(bytes);
        let began = Instant::now();
        let status = std::process::Command::new("cp").arg(&source).arg(&copy).status()?;
        let rate = bytes as f64 / began.elapsed().as_secs_f64();
        crate::arena::remove(&copy)?;
        if !status.success() {
            bail!("cp failed");
        }
        Ok(rate)
    })?;
    for (what, receiver) in [
        ("sendfile, received and thrown away", Receiver::Discard),
        ("sendfile, received and written to a file", Receiver::Write),
        ("sendfile, received by splice into a file", Receiver::Splice),
    ] {
        limit(bench, what, |bench| {
            let copy = target(&bench.arena, "copy.bin")?;
            let _warm = Warmer::start(if matches!(receiver, Receiver::Discard) {
                0
            } else {
                bytes
            });
            let took = send(&source, bytes, &copy, receiver)?;
            crate::arena::remove(&copy)?;
            Ok(bytes as f64 / took.as_secs_f64())
        })?;
    }
    let timed = if bench.plan.is_tiny() { TIMED / 20 } else { TIMED };
    for algorithm in [
        Algorithm::Sha256,
        Algorithm::Blake3,
        Algorithm::Sha512,
        Algorithm::Sha1,
        Algorithm::Md5,
    ] {
        limit(bench, &format!("digest {algorithm}, one core"), |_| {
            let piece = ftp_tests::noise(PIECE / 4, 5);
            let mut hasher = Hasher::new(algorithm);
            let rate = rate_of(timed, piece.len(), || hasher.update(&piece));
            hasher.finish();
            Ok(rate)
        })?;
    }
    for (name, suite) in [
        ("AES-256-GCM", cipher_suite::TLS13_AES_256_GCM_SHA384),
        ("ChaCha20-Poly1305", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    ] {
        limit(bench, &format!("cipher {name}, records of 16 KiB, one core"), |_| {
            encrypt(suite, timed)
        })?;
    }
    Ok(())
}

/// Measures one limit as often as there are rounds, and notes the median.
fn limit(bench: &mut Bench, what: &str, measure: impl Fn(&Bench) -> Result<f64>) -> Result<()> {
    let rates = (0..bench.plan.rounds)
        .map(|_| measure(bench))
        .collect::<Result<Vec<f64>>>()?;
    let rate = median(rates).context("a round")?;
    println!("  {what:50} {:.2} GB/s", rate / 1e9);
    bench.results.limits.push(Limit {
        what: what.to_owned(),
        rate,
    });
    Ok(())
}

/// Sends a file through the loopback by `sendfile`.
fn send(source: &Path, bytes: u64, copy: &Path, receiver: Receiver) -> Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let file = File::open(source)?;
    let began = Instant::now();
    let sender = thread::spawn(move || -> Result<()> {
        let (socket, _) = listener.accept()?;
        let mut offset = 0;
        while offset < bytes {
            let left = usize::try_from(bytes - offset)?;
            if sendfile(&socket, &file, Some(&mut offset), left)? == 0 {
                bail!("the file has become shorter");
            }
        }
        Ok(())
    });
    let mut socket = TcpStream::connect(address)?;
    let received = match receiver {
        Receiver::Discard => read_all(&mut socket, None)?,
        Receiver::Write => read_all(&mut socket, Some(File::create(copy)?))?,
        Receiver::Splice => splice_all(&socket, &File::create(copy)?)?,
    };
    let took = began.elapsed();
    if let Ok(sent) = sender.join() {
        sent?;
    }
    if received != bytes {
        bail!("{received} of {bytes} bytes arrived");
    }
    Ok(took)
}

fn read_all(socket: &mut TcpStream, mut file: Option<File>) -> Result<u64> {
    let (mut buffer, mut received) = (vec![0; PIECE / 4], 0);
    loop {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Ok(received);
        }
        if let Some(file) = &mut file {
            file.write_all(&buffer[..read])?;
        }
        received += read as u64;
    }
}

fn splice_all(socket: &TcpStream, file: &File) -> Result<u64> {
    let (output, input) = pipe()?;
    fcntl_setpipe_size(&input, PIECE)?;
    let mut received = 0;
    loop {
        let mut moved = splice(socket, None, &input, None, PIECE, SpliceFlags::MOVE)?;
        if moved == 0 {
            return Ok(received);
        }
        received += moved as u64;
        while moved > 0 {
            moved -= splice(&output, None, file, None, moved, SpliceFlags::MOVE)?;
        }
    }
}

/// Bytes a second of something that works on so many at once.
fn rate_of(timed: Duration, bytes: usize, mut work: impl FnMut()) -> f64 {
    let (began, mut done) = (Instant::now(), 0);
    while began.elapsed() < timed {
        work();
        done += bytes;
    }
    done as f64 / began.elapsed().as_secs_f64()
}

/// What the TLS library takes to encrypt records.
fn encrypt(suite: SupportedCipherSuite, timed: Duration) -> Result<f64> {
    let suite = suite.tls13().context("a suite of TLS 1.3")?;
    let mut encrypter = suite.aead_alg.encrypter(AeadKey::from([7; 32]), Iv::from([9; 12]));
    let plain = ftp_tests::noise(RECORD, 6);
    let mut number = 0;
    let mut failed = false;
    let rate = rate_of(timed, RECORD, || {
        let message = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(&plain),
        };
        failed |= encrypter.encrypt(message, number).is_err();
        number += 1;
    });
    if failed {
        bail!("records cannot be encrypted");
    }
    Ok(rate)
}
