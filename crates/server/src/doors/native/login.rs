//! From a stream of frames to a user: hello and SCRAM, under time limits, with the same answer in the
//! same time for unknown users and wrong passwords.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ftp_digest::Algorithm;
use ftp_proto::scram::{Binding, ClientFirst, ScramError, ServerExchange};
use ftp_proto::{
    Code, Fault, Frame, FrameReader, FrameWriter, Limits, LoginReply, LoginRequest, PROTOCOL_VERSION, ProtocolError,
    ServerHello,
};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::Door;
use super::wire::{Ingoing, Outgoing, Reader, Writer};
use crate::audit;
use crate::site::{Account, Seat};

/// A user who has come in.
pub(super) struct Entered {
    pub(super) user: String,
    pub(super) account: Arc<Account>,
    pub(super) seat: Seat,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Why nobody comes in.
enum Denied {
    /// The peer is told and the log is.
    Refused {
        fault: Box<Fault>,
        user: Option<String>,
        cause: String,
    },
    /// User or password is wrong: counts against the address.
    Wrong { user: String, cause: ScramError },
    /// The peer is gone, or was silent for too long.
    Gone(String),
}

impl From<ProtocolError> for Denied {
    fn from(error: ProtocolError) -> Self {
        match error.code() {
            Some(code) => Self::Refused {
                fault: Fault::new(code, error.to_string()).into(),
                user: None,
                cause: error.to_string(),
            },
            None => Self::Gone(error.to_string()),
        }
    }
}

/// Runs hello and login. `None` when nobody came in; that is logged already.
pub(super) async fn run(
    door: &Door,
    read: Ingoing,
    write: Outgoing,
    binding: Binding,
    peer: SocketAddr,
    session: u64,
) -> Option<Entered> {
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let limits = door.gate.limits();
    let denied = match timeout(limits.hello_timeout, hello(&mut reader, &mut writer, &binding)).await {
        Err(_) => Denied::Gone("no hello in time".to_owned()),
        Ok(Err(denied)) => denied,
        Ok(Ok(())) => {
            let login = timeout(
                limits.login_timeout,
                login(door, &mut reader, &mut writer, &binding, peer.ip()),
            );
            match login.await {
                Err(_) => Denied::Gone("no login in time".to_owned()),
                Ok(Err(denied)) => denied,
                Ok(Ok((user, account, seat))) => {
                    door.gate.succeeded(peer.ip(), &user);
                    return Some(Entered {
                        user,
                        account,
                        seat,
                        reader,
                        writer,
                    });
                }
            }
        }
    };
    let fault = match denied {
        Denied::Gone(cause) => {
            door.login_failed(session, peer, None, &cause);
            return None;
        }
        Denied::Refused { fault, user, cause } => {
            door.login_failed(session, peer, user.as_deref(), &cause);
            *fault
        }
        Denied::Wrong { user, cause } => {
            door.login_failed(session, peer, Some(&user), &cause.to_string());
            let (pause, shut_out) = door.gate.failed(peer.ip(), &user);
            if let Some(failures) = shut_out {
                audit::shut_out(peer.ip(), failures, limits.shut_out);
            }
            sleep(pause).await;
            Fault::new(
                Code::LoginFailed,
                "user or password is wrong, or somebody is in the middle",
            )
        }
    };
    let _ = timeout(limits.hello_timeout, async {
        writer.send(&LoginReply::Error(fault)).await?;
        writer.shutdown().await?;
        reader.drain().await
    })
    .await;
    None
}

async fn hello(reader: &mut Reader, writer: &mut Writer, binding: &Binding) -> Result<(), Denied> {
    writer
        .send(&LoginReply::Hello(ServerHello {
            version: PROTOCOL_VERSION,
            agent: concat!("ftpd ", env!("CARGO_PKG_VERSION")).to_owned(),
            mechanisms: vec![binding.mechanism().to_owned()],
            digests: Algorithm::ALL.iter().map(ToString::to_string).collect(),
            limits: Limits::default(),
        }))
        .await?;
    match message(reader).await? {
        LoginRequest::Hello(hello) if hello.version == PROTOCOL_VERSION => Ok(()),
        LoginRequest::Hello(hello) => {
            let cause = format!(
                "the client speaks protocol version {}, this server speaks {PROTOCOL_VERSION}; update the older one",
                hello.version
            );
            Err(Denied::Refused {
                fault: Fault::new(Code::Version, cause.clone()).into(),
                user: None,
                cause,
            })
        }
        _ => Err(out_of_order()),
    }
}

async fn login(
    door: &Door,
    reader: &mut Reader,
    writer: &mut Writer,
    binding: &Binding,
    peer: IpAddr,
) -> Result<(String, Arc<Account>, Seat), Denied> {
    refuse_shut_out(door, peer)?;
    let LoginRequest::Login {
        mechanism,
        message: first,
    } = message(reader).await?
    else {
        return Err(out_of_order());
    };
    if mechanism != binding.mechanism() {
        let cause = format!(
            "{} is offered here, not {}: a login that is not bound to its connection is refused",
            binding.mechanism(),
            mechanism.escape_debug()
        );
        return Err(Denied::Refused {
            fault: Fault::new(Code::LoginFailed, cause.clone()).into(),
            user: None,
            cause,
        });
    }
    let first = ClientFirst::parse(&first, binding).map_err(|error| refused(error, None))?;
    let user = first.user().to_owned();
    let (verifier, account) = door.site.look_up(&user);
    let (exchange, challenge) = ServerExchange::start(&first, &verifier, account.is_some(), binding)
        .map_err(|error| refused(error, Some(&user)))?;
    writer.send(&LoginReply::Challenge { message: challenge }).await?;
    let LoginRequest::Proof { message: proof } = message(reader).await? else {
        return Err(out_of_order());
    };
    // Again, for many logins may have been begun before the first one failed.
    refuse_shut_out(door, peer)?;
    let proof = Zeroizing::new(proof);
    let answer = exchange.finish(&proof).map_err(|cause| match cause {
        ScramError::Proof | ScramError::Binding | ScramError::Nonce => Denied::Wrong {
            user: user.clone(),
            cause,
        },
        other => refused(other, Some(&user)),
    })?;
    let Some(account) = account else {
        return Err(Denied::Wrong {
            user,
            cause: ScramError::Proof,
        });
    };
    let seat = account.take_seat().map_err(|error| {
        let most = error.0 as u64;
        let fault = Fault::new(Code::TooManySessions, error.to_string()).with_figures(most, most, 1);
        Denied::Refused {
            fault: fault.into(),
            user: Some(user.clone()),
            cause: error.to_string(),
        }
    })?;
    // The password was changed, or the user removed, since the challenge was made.
    if account.revoked().is_cancelled() {
        let cause = ScramError::Proof;
        return Err(Denied::Wrong { user, cause });
    }
    writer.send(&LoginReply::Welcome { message: answer }).await?;
    Ok((user, account, seat))
}

fn refuse_shut_out(door: &Door, peer: IpAddr) -> Result<(), Denied> {
    let Some(left) = door.gate.shut_out(peer) else {
        return Ok(());
    };
    let message = format!(
        "too many failed logins from this address; try again in {} s",
        left.as_secs() + 1
    );
    let mut fault = Fault::new(Code::TryLater, message);
    fault.retry_after_ms = u64::try_from(left.as_millis()).ok();
    Err(Denied::Refused {
        fault: fault.into(),
        user: None,
        cause: "the address is shut out".to_owned(),
    })
}

async fn message(reader: &mut Reader) -> Result<LoginRequest, Denied> {
    match reader.next().await? {
        Some(Frame::Header(json)) => Ok(serde_json::from_slice(&json).map_err(ProtocolError::Malformed)?),
        Some(Frame::Data(_)) => Err(ProtocolError::Unexpected("file data").into()),
        None => Err(Denied::Gone("closed by the client before the login".to_owned())),
    }
}

fn refused(error: ScramError, user: Option<&str>) -> Denied {
    let code = if error == ScramError::Syntax {
        Code::Protocol
    } else {
        Code::LoginFailed
    };
    Denied::Refused {
        fault: Fault::new(code, error.to_string()).into(),
        user: user.map(str::to_owned),
        cause: error.to_string(),
    }
}

fn out_of_order() -> Denied {
    ProtocolError::Unexpected("message at this point of the login").into()
}
