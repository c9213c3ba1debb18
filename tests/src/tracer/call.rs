//! The system calls that matter to files and answers, and how their arguments name files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

/// How much of what is sent is recorded of one call: any answer fits, and of a body there is enough.
const MAX_SENT_BYTES: usize = 64 * 1024;
/// `PATH_MAX` of Linux.
const MAX_PATH_BYTES: usize = 4096;
/// Paths are read piece by piece, so that none is missed because the page behind it is not mapped.
const PIECE_BYTES: u64 = 256;

/// A system call of a traced program, from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its name in the manual.
    pub name: &'static str,
    /// The files it concerns as they are called when it begins; two for a rename. Sockets and pipes look like
    /// `socket:[123]`.
    pub paths: Vec<PathBuf>,
    /// What it returned.
    pub result: Result<u64, Errno>,
    /// Whether a fault was injected into it.
    pub injected: bool,
    /// When it began, on a clock that counts stops of the program.
    pub began: u64,
    /// When it ended, on the same clock; the largest number as long as it has not.
    pub ended: u64,
    /// What a call that sends was given to send.
    pub sent: Vec<u8>,
}

impl Call {
    /// Whether it is one of these.
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name)
    }

    /// Whether it concerns something in this directory, or the directory itself.
    pub fn within(&self, directory: &Path) -> bool {
        self.paths.iter().any(|path| path.starts_with(directory))
    }

    /// The first file it concerns.
    pub fn path(&self) -> &Path {
        &self.paths[0]
    }
}

/// How the arguments of a call name files.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A path from the working directory.
    Path,
    /// A directory handle and a path.
    At,
    /// Two paths.
    Paths,
    /// Two directory handles and paths.
    TwoAt,
    /// A handle.
    Handle,
    /// The handles of what is read and what is written, two arguments apart.
    Handles,
    /// A socket, and the handle of what is sent to it.
    Sent,
    /// A handle; sharing blocks is the only request that matters.
    Clone,
    /// A socket, the bytes and their number.
    Send,
    /// A socket or file, and a list of bytes.
    SendList,
    /// A socket, and a message with a list of bytes.
    SendMessage,
}

/// `FICLONE` of Linux.
const CLONE_REQUEST: u64 = 0x4004_9409;

/// The calls that matter, by number; `None` for all others.
pub(super) fn known(number: i64, arguments: [u64; 6]) -> Option<(&'static str, Shape)> {
    #[cfg(target_arch = "x86_64")]
    let old = match number {
        libc::SYS_open => Some(("open", Shape::Path)),
        libc::SYS_rename => Some(("rename", Shape::Paths)),
        libc::SYS_link => Some(("link", Shape::Paths)),
        libc::SYS_unlink => Some(("unlink", Shape::Path)),
        libc::SYS_rmdir => Some(("rmdir", Shape::Path)),
        libc::SYS_mkdir => Some(("mkdir", Shape::Path)),
        libc::SYS_chmod => Some(("chmod", Shape::Path)),
        _ => None,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let old = None;
    Some(match number {
        libc::SYS_openat => ("openat", Shape::At),
        libc::SYS_openat2 => ("openat2", Shape::At),
        libc::SYS_mkdirat => ("mkdirat", Shape::At),
        libc::SYS_unlinkat => ("unlinkat", Shape::At),
        libc::SYS_newfstatat => ("newfstatat", Shape::At),
        libc::SYS_statx => ("statx", Shape::At),
        libc::SYS_readlinkat => ("readlinkat", Shape::At),
        libc::SYS_utimensat => ("utimensat", Shape::At),
        libc::SYS_renameat => ("renameat", Shape::TwoAt),
        libc::SYS_renameat2 => ("renameat2", Shape::TwoAt),
        libc::SYS_linkat => ("linkat", Shape::TwoAt),
        libc::SYS_read => ("read", Shape::Handle),
        libc::SYS_pread64 => ("pread64", Shape::Handle),
        libc::SYS_preadv2 => ("preadv2", Shape::Handle),
        libc::SYS_write => ("write", Shape::Handle),
        libc::SYS_pwrite64 => ("pwrite64", Shape::Handle),
        libc::SYS_pwritev2 => ("pwritev2", Shape::Handle),
        libc::SYS_fsync => ("fsync", Shape::Handle),
        libc::SYS_fdatasync => ("fdatasync", Shape::Handle),
        libc::SYS_syncfs => ("syncfs", Shape::Handle),
        libc::SYS_ftruncate => ("ftruncate", Shape::Handle),
        libc::SYS_fallocate => ("fallocate", Shape::Handle),
        libc::SYS_fsetxattr => ("fsetxattr", Shape::Handle),
        libc::SYS_fgetxattr => ("fgetxattr", Shape::Handle),
        libc::SYS_fremovexattr => ("fremovexattr", Shape::Handle),
        libc::SYS_getdents64 => ("getdents64", Shape::Handle),
        libc::SYS_fstat => ("fstat", Shape::Handle),
        libc::SYS_fstatfs => ("fstatfs", Shape::Handle),
        libc::SYS_flock => ("flock", Shape::Handle),
        libc::SYS_copy_file_range => ("copy_file_range", Shape::Handles),
        libc::SYS_ioctl if arguments[1] == CLONE_REQUEST => ("ficlone", Shape::Clone),
        libc::SYS_sendfile => ("sendfile", Shape::Sent),
        libc::SYS_sendto => ("sendto", Shape::Send),
        libc::SYS_writev => ("writev", Shape::SendList),
        libc::SYS_sendmsg => ("sendmsg", Shape::SendMessage),
        _ => return old,
    })
}

/// Reads what a call names and sends, from the memory and the handles of the thread that is stopped in it.
pub(super) struct Look {
    pid: Pid,
    memory: Option<File>,
}

impl Look {
    pub(super) fn at(pid: Pid) -> Self {
        Self { pid, memory: None }
    }

    pub(super) fn paths(&mut self, shape: Shape, [a, b, c, d, ..]: [u64; 6]) -> Vec<PathBuf> {
        match shape {
            Shape::Path => vec![self.path(None, a)],
            Shape::At => vec![self.path(Some(a), b)],
            Shape::Paths => vec![self.path(None, a), self.path(None, b)],
            Shape::TwoAt => vec![self.path(Some(a), b), self.path(Some(c), d)],
            Shape::Handle | Shape::Clone | Shape::Send | Shape::SendList | Shape::SendMessage => vec![self.handle(a)],
            Shape::Handles => vec![self.handle(a), self.handle(c)],
            Shape::Sent => vec![self.handle(b)],
        }
    }

    pub(super) fn sent(&mut self, shape: Shape, [_, at, length, ..]: [u64; 6]) -> Vec<u8> {
        match shape {
            Shape::Send => self.bytes(at, length),
            Shape::SendList => self.list(at, length),
            // `struct msghdr`: the list is behind a name and its length, then its own length.
            Shape::SendMessage => {
                let (list, count) = (self.word(at + 16), self.word(at + 24));
                self.list(list, count)
            }
            _ => Vec::new(),
        }
    }

    fn list(&mut self, at: u64, count: u64) -> Vec<u8> {
        let mut all = Vec::new();
        for item in 0..count.min(1024) {
            let (base, length) = (self.word(at + 16 * item), self.word(at + 16 * item + 8));
            all.extend(self.bytes(base, length));
        }
        all
    }

    fn word(&mut self, at: u64) -> u64 {
        let bytes = self.bytes(at, 8);
        bytes.try_into().map_or(0, u64::from_ne_bytes)
    }

    fn bytes(&mut self, at: u64, length: u64) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or(MAX_SENT_BYTES).min(MAX_SENT_BYTES);
        let mut bytes = vec![0; length];
        let read = self
            .memory()
            .and_then(|memory| memory.read_exact_at(&mut bytes, at).ok());
        read.map(|()| bytes).unwrap_or_default()
    }

    fn text(&mut self, at: u64) -> OsString {
        let mut text = Vec::new();
        while at != 0 && text.len() < MAX_PATH_BYTES {
            let from = at + text.len() as u64;
            // Never across the end of a page.
            let piece = self.bytes(from, PIECE_BYTES - from % PIECE_BYTES);
            if piece.is_empty() {
                break;
            }
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&piece[..end]);
                break;
            }
            text.extend(piece);
        }
        OsString::from_vec(text)
    }

    fn memory(&mut self) -> Option<&File> {
        if self.memory.is_none() {
            self.memory = File::open(format!("/proc/{}/mem", self.pid)).ok();
        }
        self.memory.as_ref()
    }

    fn path(&mut self, directory: Option<u64>, at: u64) -> PathBuf {
        let text = PathBuf::from(self.text(at));
        if text.is_absolute() {
            return text;
        }
        let base = match directory {
            // `AT_FDCWD`
            Some(handle) if handle_number(handle) != libc::AT_FDCWD => self.handle(handle),
            _ => fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap_or_default(),
        };
        // An empty path is the handle itself, and so is ".".
        base.join(text).components().collect()
    }

    fn handle(&self, handle: u64) -> PathBuf {
        fs::read_link(format!("/proc/{}/fd/{}", self.pid, handle_number(handle))).unwrap_or_default()
    }
}

/// Handles are 32 bits; what stands above them in a register means nothing.
fn handle_number(handle: u64) -> i32 {
    let [a, b, c, d, ..] = handle.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}
