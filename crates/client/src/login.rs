//! From nothing to a [`Link`]: connect, hello, SCRAM.

use std::io;
use std::time::Duration;

use ftp_proto::scram::{Binding, ClientExchange, Credential, DerivedKeys, ScramError};
use ftp_proto::{
    ClientHello, Code, Fault, Frame, FrameReader, FrameWriter, LoginReply, LoginRequest, PROTOCOL_VERSION,
    ProtocolError,
};
use serde::Serialize;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::time::timeout;
use zeroize::Zeroize as _;

use crate::link::Link;
use crate::stream::{self, Io};
use crate::{ConnectOptions, Error};

/// How long TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the server may take for an answer during login; it slows down after failures.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

struct Greeter {
    reader: FrameReader<ReadHalf<Box<dyn Io>>>,
    writer: FrameWriter<WriteHalf<Box<dyn Io>>>,
}

/// Connects and logs in. The keys may be kept instead of the password.
pub(crate) async fn connect(options: &ConnectOptions) -> Result<(Link, DerivedKeys), Error> {
    let address = options.address.to_string();
    let (io, binding) = match timeout(CONNECT_TIMEOUT, stream::connect(&options.address, options.tls)).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(source)) => return Err(Error::Connect { address, source }),
        Err(_) => {
            return Err(Error::Connect {
                address,
                source: io::ErrorKind::TimedOut.into(),
            });
        }
    };
    over(io, binding, options).await
}

/// Logs in over a connected stream, on which nothing was said yet.
pub(crate) async fn over(
    io: Box<dyn Io>,
    binding: Binding,
    options: &ConnectOptions,
) -> Result<(Link, DerivedKeys), Error> {
    let (read, write) = tokio::io::split(io);
    let mut greeter = Greeter {
        reader: FrameReader::new(read),
        writer: FrameWriter::new(write),
    };

    let (mut exchange, first) = ClientExchange::start(&options.user, binding)?;
    greeter.queue(&LoginRequest::Hello(ClientHello {
        version: PROTOCOL_VERSION,
        agent: concat!("ftp-cli ", env!("CARGO_PKG_VERSION")).to_owned(),
    }))?;
    // Sent along without waiting: the mechanism follows from the channel, not from what is offered,
    // so a server in the middle has nothing to talk down.
    greeter.queue(&LoginRequest::Login {
        mechanism: binding.mechanism().to_owned(),
        message: first,
    })?;
    greeter.writer.flush().await?;

    let hello = match greeter.answer().await? {
        LoginReply::Hello(hello) => hello,
        LoginReply::Error(fault) => return Err(refusal(fault)),
        _ => return Err(Error::Misbehaved("an answer before the hello".to_owned())),
    };
    if hello.version != PROTOCOL_VERSION {
        return Err(Error::Login(format!(
            "the server speaks protocol version {}, this client speaks {PROTOCOL_VERSION}; update the older one",
            hello.version
        )));
    }
    let challenge = match greeter.answer().await? {
        LoginReply::Challenge { message } => message,
        LoginReply::Error(fault) => return Err(refusal(fault)),
        _ => return Err(Error::Misbehaved("no challenge".to_owned())),
    };

    let credential = options.credential.clone();
    let (exchange, proof) = tokio::task::spawn_blocking(move || {
        let proof = exchange.respond(&challenge, &credential);
        (exchange, proof)
    })
    .await
    .map_err(|error| Error::Login(error.to_string()))?;
    let message = proof.map_err(|error| stale(error, &options.credential))?;
    let mut answer = LoginRequest::Proof { message };
    greeter.queue(&answer)?;
    if let LoginRequest::Proof { message } = &mut answer {
        message.zeroize();
    }
    greeter.writer.flush().await?;
    let keys = match greeter.answer().await? {
        LoginReply::Welcome { message } => exchange.finish(&message)?,
        LoginReply::Error(fault) => return Err(refusal(fault)),
        _ => return Err(Error::Misbehaved("no end of the login".to_owned())),
    };
    Ok((
        Link::new(greeter.reader, greeter.writer, hello.limits, hello.agent),
        keys,
    ))
}

impl Greeter {
    fn queue(&mut self, message: &impl Serialize) -> Result<(), ProtocolError> {
        self.writer.header(message)
    }

    async fn answer(&mut self) -> Result<LoginReply, Error> {
        let frame = timeout(ANSWER_TIMEOUT, self.reader.next())
            .await
            .map_err(|_| Error::TimedOut(ANSWER_TIMEOUT))??;
        match frame {
            Some(Frame::Header(json)) => {
                serde_json::from_slice(&json).map_err(|error| Error::Misbehaved(error.to_string()))
            }
            Some(Frame::Data(_)) => Err(Error::Misbehaved("file data during login".to_owned())),
            None => Err(Error::Closed),
        }
    }
}

/// A refused login is the user's affair; a full or stopping server is not, and may be tried again.
fn refusal(fault: Fault) -> Error {
    match fault.code {
        Code::LoginFailed | Code::Version | Code::Protocol => Error::Login(fault.message),
        _ => Error::Refused(fault),
    }
}

fn stale(error: ScramError, credential: &Credential) -> Error {
    match (error, credential) {
        (ScramError::StaleKey, Credential::Keys(_)) => {
            Error::Login("the saved login does not fit any more: the password was changed; log in again".to_owned())
        }
        (error, _) => error.into(),
    }
}
