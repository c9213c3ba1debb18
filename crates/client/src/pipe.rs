//! Standard input and output as source and target: no length known before, no second try.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use ftp_digest::Hasher;
use ftp_proto::{Code, DATA_HEAD_BYTES, Op, Re, Reply, ResumeMode, begin_data, seal_data};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout_at;

use crate::conflict::decide;
use crate::damage::mismatch;
use crate::link::{Incoming, Link, early_answer, unexpected, wrong_reply};
use crate::observer::{Decision, Ends, Event};
use crate::upload::proven;
use crate::{Client, Error, RemotePath, TransferOptions, Transferred};

/// The path under which errors name a pipe.
const PIPE: &str = "-";

/// How long bytes of a slow producer may wait for more to travel with.
const GATHER: Duration = Duration::from_secs(1);

impl Client {
    /// Uploads what can be read once, such as standard input.
    ///
    /// # Errors
    /// [`Error`]; nothing is published then, and nothing is tried again, for the input is gone.
    ///
    /// # Cancel safety
    /// A dropped upload publishes nothing.
    pub async fn put_stream(
        &mut self,
        input: impl AsyncRead + Unpin + Send,
        remote: &RemotePath,
        options: &TransferOptions,
    ) -> Result<Transferred, Error> {
        let result = self.send_stream(input, remote, options).await;
        self.tell(remote, &result);
        result
    }

    async fn send_stream(
        &mut self,
        mut input: impl AsyncRead + Unpin + Send,
        remote: &RemotePath,
        options: &TransferOptions,
    ) -> Result<Transferred, Error> {
        let began = Instant::now();
        let observer = Arc::clone(&self.observer);
        observer.event(&Event::Started {
            id: 0,
            ends: ends(remote),
            size: None,
        });
        let mut link = self.take().await?;
        let id = match ask(&mut link, remote, options, options.force).await {
            Err(error) if error.code() == Some(Code::Exists) => {
                let Error::Refused(fault) = &error else {
                    return Err(error);
                };
                let Some(entry) = fault.existing.clone() else {
                    return Err(error);
                };
                let local = Path::new(PIPE);
                match decide(&mut link, &observer, local, None, remote, &entry, true).await? {
                    Decision::Replace => ask(&mut link, remote, options, true).await?,
                    Decision::Keep => return Err(error),
                }
            }
            asked => asked?,
        };
        let mut whole = Hasher::new(options.algorithm);
        let chunk_bytes = link.chunk_bytes();
        loop {
            let chunk = match link.busy(fill(&mut input, chunk_bytes)).await? {
                Ok(chunk) => chunk,
                Err(source) => {
                    link.fail(id, "the input failed".to_owned()).await;
                    return Err(Error::local("cannot read", Path::new(PIPE))(source));
                }
            };
            if chunk.len() == DATA_HEAD_BYTES {
                break;
            }
            whole.update(&chunk[DATA_HEAD_BYTES..]);
            link.data(&seal_data(chunk)?);
            if let Some(incoming) = link.flush_unless_answered().await? {
                return Err(early_answer(incoming, id));
            }
            observer.event(&Event::Moved {
                id: 0,
                done: whole.length(),
            });
        }
        // Whoever gives this up because of what ended the input can still do so.
        tokio::task::yield_now().await;
        observer.event(&Event::Verifying { id: 0 });
        let (length, digest) = (whole.length(), whole.finish());
        link.part(id, Op::End { length, digest })?;
        link.flush().await?;
        let stored = match link.reply(id).await? {
            Re::Stored(stored) if stored.digest == digest => proven(stored, length)?,
            Re::Stored(stored) => {
                return Err(Error::DigestMismatch {
                    expected: digest,
                    found: stored.digest,
                });
            }
            other => return Err(wrong_reply(other)),
        };
        self.keep(link);
        Ok(Transferred {
            size: stored.size,
            kept: 0,
            repaired: 0,
            moved: length,
            digest,
            mtime: stored.mtime,
            elapsed: began.elapsed(),
            replaced: stored.replaced,
            identical: false,
        })
    }

    /// Downloads to what can be written once, such as standard output. Bytes leave before the digest is
    /// checked; a mismatch is an error, and whoever reads the other end must look at it.
    ///
    /// # Errors
    /// [`Error`]. A lost connection is made again and the download goes on at the byte it stopped at, if the
    /// file is still the same.
    ///
    /// # Cancel safety
    /// A dropped download gives up the connection.
    pub async fn get_stream(
        &mut self,
        remote: &RemotePath,
        output: impl AsyncWrite + Unpin + Send,
        options: &TransferOptions,
    ) -> Result<Transferred, Error> {
        let result = self.receive_stream(remote, output, options).await;
        self.tell(remote, &result);
        result
    }

    async fn receive_stream(
        &mut self,
        remote: &RemotePath,
        mut output: impl AsyncWrite + Unpin + Send,
        options: &TransferOptions,
    ) -> Result<Transferred, Error> {
        let began = Instant::now();
        let observer = Arc::clone(&self.observer);
        let mut stream = Stream {
            whole: Hasher::new(options.algorithm),
            known: None,
        };
        let mut retry = self.retry();
        let (size, mtime, digest) = loop {
            let before = stream.whole.length();
            let result = match self.take().await {
                Ok(mut link) => {
                    let result = stream.run(&mut link, remote, options, &mut output, &*observer).await;
                    if matches!(result, Ok(_) | Err(Error::Refused(_))) {
                        self.keep(link);
                    }
                    result
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(done) => break done,
                // What is written can not be taken back.
                Err(error @ (Error::DigestMismatch { .. } | Error::StoredDamaged { .. })) => return Err(error),
                Err(error) => {
                    if stream.whole.length() > before {
                        retry.progress();
                    }
                    retry.pause(error).await?;
                }
            }
        };
        output
            .flush()
            .await
            .map_err(Error::local("cannot write", Path::new(PIPE)))?;
        Ok(Transferred {
            size,
            kept: 0,
            repaired: 0,
            moved: size,
            digest,
            mtime,
            elapsed: began.elapsed(),
            replaced: false,
            identical: false,
        })
    }

    /// Tells what became of the transfer.
    fn tell(&self, remote: &RemotePath, result: &Result<Transferred, Error>) {
        let (id, ends) = (0, ends(remote));
        self.observer.event(&match result {
            Ok(result) => Event::Finished { id, ends, result },
            Err(error) => Event::Failed { id, ends, error },
        });
    }
}

fn ends(remote: &RemotePath) -> Ends<'_> {
    Ends {
        local: Path::new(PIPE),
        remote,
    }
}

async fn ask(link: &mut Link, remote: &RemotePath, options: &TransferOptions, replace: bool) -> Result<u64, Error> {
    let id = link.request(Op::Put {
        path: remote.as_wire().to_owned(),
        size: None,
        mtime: None,
        digest: options.algorithm,
        replace,
        parents: options.parents,
        ask: true,
        resume: ResumeMode::Never,
    })?;
    link.flush().await?;
    match link.reply(id).await? {
        Re::Go { have: None } => Ok(id),
        other => Err(wrong_reply(other)),
    }
}

/// Reads a full chunk, or what comes soon after the first byte; an empty one is the end.
async fn fill(input: &mut (impl AsyncRead + Unpin), length: usize) -> std::io::Result<BytesMut> {
    let mut chunk = begin_data(length).limit(length);
    if input.read_buf(&mut chunk).await? > 0 {
        let deadline = tokio::time::Instant::now() + GATHER;
        while chunk.has_remaining_mut() {
            match timeout_at(deadline, input.read_buf(&mut chunk)).await {
                Ok(Ok(0)) | Err(_) => break,
                Ok(read) => read?,
            };
        }
    }
    Ok(chunk.into_inner())
}

/// A download to a pipe, over as many connections as it takes.
struct Stream {
    /// Over every byte written so far.
    whole: Hasher,
    /// The file's length and time at the first try.
    known: Option<(u64, ftp_proto::Timestamp)>,
}

impl Stream {
    async fn run(
        &mut self,
        link: &mut Link,
        remote: &RemotePath,
        options: &TransferOptions,
        output: &mut (impl AsyncWrite + Unpin),
        observer: &dyn crate::Observer,
    ) -> Result<(u64, ftp_proto::Timestamp, ftp_digest::Digest), Error> {
        // What is written can not be taken back, so the digest of the whole is asked for apart when the
        // download goes on in the middle.
        let offset = self.whole.length();
        let id = link.request(Op::Get {
            path: remote.as_wire().to_owned(),
            offset,
            length: None,
            digest: options.algorithm,
            have: None,
        })?;
        link.flush().await?;
        let (size, mtime, body) = match link.reply(id).await? {
            Re::Begin { size, mtime, body, .. } => (size, mtime, body),
            other => return Err(wrong_reply(other)),
        };
        match self.known {
            None => {
                self.known = Some((size, mtime));
                observer.event(&Event::Started {
                    id: 0,
                    ends: ends(remote),
                    size: Some(size),
                });
            }
            Some(known) if known != (size, mtime) => return Err(Error::SourceChanged),
            Some(_) => {}
        }
        if offset.checked_add(body) != Some(size) {
            return Err(Error::Misbehaved(format!(
                "a body of {body} bytes from {offset} on for a file of {size}"
            )));
        }
        let mut left = body;
        let promised = loop {
            match link.receive_part().await? {
                Incoming::Data(bytes) => {
                    left = left
                        .checked_sub(bytes.len() as u64)
                        .ok_or_else(|| Error::Misbehaved(format!("more than the {body} bytes that were announced")))?;
                    // A chunk that was begun is ended and counted, or the next try would write a part of it again.
                    let mut written = Ok(());
                    let writing = async { written = output.write_all(&bytes).await };
                    let done = link.busy_to_the_end(writing).await;
                    written.map_err(Error::local("cannot write", Path::new(PIPE)))?;
                    self.whole.update(&bytes);
                    done?;
                    observer.event(&Event::Moved {
                        id: 0,
                        done: self.whole.length(),
                    });
                }
                Incoming::Reply(Reply { id: answered, re }) if answered == id => match re {
                    Re::End { length, digest } if left == 0 && length == body => break digest,
                    Re::Error(fault) => return Err(Error::Refused(fault)),
                    other => return Err(wrong_reply(other)),
                },
                other => return Err(unexpected(&other)),
            }
        };
        let expected = if offset == 0 {
            promised
        } else {
            let op = Op::Sum {
                path: remote.as_wire().to_owned(),
                digest: options.algorithm,
                fresh: false,
            };
            match link.call(op).await? {
                Re::Digest { digest, .. } => digest,
                other => return Err(wrong_reply(other)),
            }
        };
        let found = self.whole.clone().finish();
        if found == expected {
            Ok((size, mtime, found))
        } else {
            Err(mismatch(link, remote, expected, found).await)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use ftp_proto::{FrameReader, FrameWriter, Limits, Timestamp};

    use super::*;
    use crate::ConnectOptions;
    use crate::observer::{Conflict, Observer};
    use crate::stream::Io;

    struct Nobody;

    impl Observer for Nobody {
        fn event(&self, _: &Event<'_>) {}

        fn decide(&self, _: &Conflict<'_>) -> Decision {
            Decision::Keep
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_breaks_while_a_slow_reader_takes_a_chunk_has_that_chunk_written_once() {
        let (near, far) = tokio::io::duplex(4096);
        let (read, write) = tokio::io::split(Box::new(near) as Box<dyn Io>);
        let (reader, writer) = (FrameReader::new(read), FrameWriter::new(write));
        let mut link = Link::new(reader, writer, Limits::default(), String::new());
        let server = async {
            let (read, write) = tokio::io::split(far);
            let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
            reader.next().await.unwrap();
            let re = Re::Begin {
                size: 200,
                mtime: Timestamp { seconds: 0, nanos: 0 },
                digest: None,
                body: 200,
            };
            writer.send(&Reply { id: 1, re }).await.unwrap();
            let mut chunk = begin_data(100);
            chunk.put_bytes(7, 100);
            writer.data(&seal_data(chunk).unwrap());
            writer.flush().await.unwrap();
        };
        let (mut output, mut end) = tokio::io::duplex(10);
        let slow = async {
            tokio::time::sleep(GATHER).await;
            let mut taken = Vec::new();
            end.read_to_end(&mut taken).await.unwrap();
            taken.len() as u64
        };
        let mut stream = Stream {
            whole: Hasher::new(ftp_digest::Algorithm::default()),
            known: None,
        };
        let remote = RemotePath::from("/f");
        let options = TransferOptions::default();
        let client = async {
            let ran = stream.run(&mut link, &remote, &options, &mut output, &Nobody);
            let error = ran.await.unwrap_err();
            drop(output);
            error
        };
        let ((), taken, error) = tokio::join!(server, slow, client);
        assert!(error.may_retry(), "{error}");
        assert_eq!((taken, stream.whole.length()), (100, 100));
    }

    /// Ends at once, and interrupts by that whoever waits for it.
    struct Interrupting(Option<tokio::sync::oneshot::Sender<()>>);

    impl AsyncRead for Interrupting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.0.take().map(|interrupt| interrupt.send(()));
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_input_that_ends_by_what_interrupts_the_upload_is_not_published() {
        let (near, far) = tokio::io::duplex(4096);
        let (read, write) = tokio::io::split(Box::new(near) as Box<dyn Io>);
        let (reader, writer) = (FrameReader::new(read), FrameWriter::new(write));
        let options = ConnectOptions {
            address: "localhost".parse::<crate::Target>().unwrap().address,
            user: String::new(),
            credential: crate::Credential::Password(crate::Secret::new(String::new())),
            tls: false,
            retry: crate::RetryPolicy::default(),
            directory: None,
        };
        let mut client = Client::new(options, Arc::new(Nobody));
        client.keep(Link::new(reader, writer, Limits::default(), String::new()));
        let server = async {
            let (read, write) = tokio::io::split(far);
            let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
            reader.open();
            assert!(reader.next().await.unwrap().is_some(), "it asks");
            let re = Re::Go { have: None };
            writer.send(&Reply { id: 1, re }).await.unwrap();
            assert!(reader.next().await.unwrap().is_none(), "the end was said");
        };
        let (interrupt, interrupted) = tokio::sync::oneshot::channel();
        let (remote, transfer) = (RemotePath::from("/f"), TransferOptions::default());
        let upload = async {
            tokio::select! {
                biased;
                _ = interrupted => {}
                done = client.put_stream(Interrupting(Some(interrupt)), &remote, &transfer) => panic!("{done:?}"),
            }
        };
        tokio::join!(server, upload);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_slow_producer_wrote_does_not_wait_for_a_full_chunk() {
        let (mut producer, mut input) = tokio::io::duplex(64);
        producer.write_all(b"slow").await.unwrap();
        let chunk = fill(&mut input, 1024).await.unwrap();
        assert_eq!(&chunk[DATA_HEAD_BYTES..], b"slow");
        producer.write_all(b"more than fits").await.unwrap();
        assert_eq!(&fill(&mut input, 9).await.unwrap()[DATA_HEAD_BYTES..], b"more than");
        drop(producer);
        assert_eq!(&fill(&mut input, 9).await.unwrap()[DATA_HEAD_BYTES..], b" fits");
        assert_eq!(fill(&mut input, 9).await.unwrap().len(), DATA_HEAD_BYTES);
    }
}
