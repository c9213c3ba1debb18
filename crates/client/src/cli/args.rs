//! What the user typed: one definition of each option, for the command line and for the shell.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use ftp_client::{Algorithm, Resume, Target, TransferOptions};

const AFTER_HELP: &str = "\
Examples:
  ftp-cli login alice@files.example        ask for the password once, save a key
  ftp-cli put demo.mp4                     upload into the remembered directory
  ftp-cli put demo.mp4 films/holiday.mp4   upload under another name
  ftp-cli put -t films *.mp4               upload any number of files into films
  ftp-cli get -r films                     download a directory
  ftp-cli get notes.txt - | less           download to standard output
  ftp-cli shell                            an interactive session

Environment:
  FTP_SERVER           the server, as with --server
  FTP_PASSWORD         the password, for scripts
  FTP_CLI_CONFIG_DIR   where profiles and history are kept (~/.config/ftp-cli)

Exit codes (a list goes on after a failure and ends with the highest):
  0  done                         5  not permitted, or the target exists
  1  other failure                6  quota or disk space
  2  wrong usage                  7  digest mismatch
  3  login refused                8  connection lost or timed out: run again to resume
  4  no such file               130  interrupted by Ctrl-C";

/// Moves files to and from an ftpd: verified, resumable, encrypted.
#[derive(Debug, Parser)]
#[command(name = "ftp-cli", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options before or after any command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// The server; else FTP_SERVER, else the one that was logged in to last
    #[arg(short, long, global = true, value_name = "[USER@]HOST[:PORT]")]
    pub(crate) server: Option<Target>,
    /// Speak without encryption, to a server that has TLS switched off
    #[arg(long, global = true)]
    pub(crate) no_tls: bool,
    /// Read the password from the first line of standard input
    #[arg(long, global = true)]
    pub(crate) password_stdin: bool,
    /// Try so many times again after a lost connection, without any progress in between
    #[arg(long, global = true, value_name = "N", default_value_t = ftp_client::RetryPolicy::default().retries)]
    pub(crate) retries: u32,
    #[command(flatten)]
    pub(crate) mode: Mode,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Mode {
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No bars and no notes, only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// Everything `ftp-cli` does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Remote(RemoteCommand),
    /// Check the password, then save the server and a key in its place
    Login(LoginArgs),
    /// Forget a saved server and its key
    Logout(LogoutArgs),
    /// An interactive session; reads commands from standard input when that is no terminal
    Shell(ShellArgs),
}

/// What needs a session, here and in the shell.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// List directories
    Ls(LsArgs),
    /// Change the remembered directory; without DIR, go home
    Cd(CdArgs),
    /// Print the remembered directory
    Pwd,
    /// Upload files
    #[command(after_help = PUT_HELP)]
    Put(PutArgs),
    /// Download files
    #[command(after_help = GET_HELP)]
    Get(GetArgs),
    /// Make directories
    Mkdir(MkdirArgs),
    /// Remove files, into the trash
    #[command(after_help = PATTERN_HELP)]
    Rm(RmArgs),
    /// Move or rename on the server
    #[command(after_help = PATTERN_HELP)]
    Mv(MvArgs),
    /// Copy files on the server
    #[command(after_help = PATTERN_HELP)]
    Cp(CpArgs),
    /// Show everything about a file
    Stat(StatArgs),
    /// Print digests, computed by the server
    Sum(SumArgs),
    /// Show the quota and its use
    Df(DfArgs),
    /// Measure the round trip
    Ping(PingArgs),
    /// Show uploads that can be resumed, or discard them
    Uploads(UploadsArgs),
    /// Show what was removed or replaced and can be restored, or delete it for good
    Trash(TrashArgs),
    /// Show the older versions of a file
    Versions(VersionsArgs),
    /// Put removed files and older versions back
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreArgs),
}

const RESTORE_HELP: &str = "\
Examples:
  restore report.txt                    the newest version, if the name is free
  restore -f report.txt                 the newest version in place of the present file,
                                        which goes to the trash in its turn
  restore --item 12                     item 12 of `trash` or `versions`, where it was
  restore --item 12 --to old.txt        the same under another name
  restore photos/a.jpg                  also one file of a removed directory";

const PUT_HELP: &str = "\
Where files go:
  put FILE               under its own name into the remembered directory
  put FILE NAME          as NAME, or into it if it is a directory there or ends in `/`
  put FILE... DIR        into DIR, if that is a directory there or ends in `/`;
                         else DIR has to be one more local file, and all keep their names
  put -t DIR FILE...     into DIR, however many there are
  put - NAME             standard input

An upload that broke off goes on where it was, if the file is still the same in size and time.
Nothing is visible under NAME before all of it is stored and its digest is right.";

const GET_HELP: &str = "\
Where files go:
  get FILE               under its own name into the working directory
  get FILE NAME          as NAME, or into it if it is a directory or ends in `/`
  get FILE... DIR        into DIR, if that is a directory or ends in `/`;
                         else DIR has to be one more remote file, and all go here
  get -t DIR FILE...     into DIR, however many there are
  get FILE -             to standard output

`*`, `?` and `[...]` in the last part of a remote name match names there: get '*.mp4'
A download that broke off goes on where it was, if the file is still the same in size and time.
Nothing is visible under NAME before all of it is here and its digest is right.";

const PATTERN_HELP: &str = "\
`*`, `?` and `[...]` in the last part of a name match names on the server, unless something has
exactly this name. A backslash takes one of them as it is: 'a\\*'. In the shell of ftp-cli, names in
quotes are never patterns.";

/// `ls`
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct LsArgs {
    /// Kind, size, time and name
    #[arg(short)]
    pub(crate) long: bool,
    /// Sizes such as 1.2G with -l
    #[arg(short = 'h')]
    pub(crate) human: bool,
    /// For habit: nothing is hidden here anyway
    #[arg(short, hide = true)]
    pub(crate) all: bool,
    /// The digests kept since upload
    #[arg(long, alias = "checksum")]
    pub(crate) digest: bool,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
    /// One name a line
    #[arg(short = '1')]
    pub(crate) one: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Files or directories
    pub(crate) paths: Vec<OsString>,
}

/// In which order `ls` shows entries.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OrderArgs {
    /// Largest first
    #[arg(short = 'S', group = "order")]
    pub(crate) by_size: bool,
    /// Newest first
    #[arg(short = 't', group = "order")]
    pub(crate) by_time: bool,
    /// As the server has them, while they arrive
    #[arg(short = 'U', group = "order")]
    pub(crate) unsorted: bool,
    /// The other way round
    #[arg(short)]
    pub(crate) reverse: bool,
}

/// `cd`
#[derive(Debug, Args)]
pub(crate) struct CdArgs {
    /// The directory; the home if absent
    pub(crate) directory: Option<OsString>,
}

/// What `put` and `get` have in common.
#[derive(Clone, Debug, Args)]
pub(crate) struct TransferArgs {
    /// Take directories with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Go on with a partial transfer, whatever it looks like
    #[arg(long, overrides_with = "no_resume")]
    pub(crate) resume: bool,
    /// Start anew, whatever is there already
    #[arg(long, overrides_with = "resume")]
    pub(crate) no_resume: bool,
    /// Replace existing targets without asking
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Make missing parent directories of the target
    #[arg(short, long)]
    pub(crate) parents: bool,
    /// The proof: sha256, blake3, sha512, sha1 or md5
    #[arg(long, alias = "checksum", value_name = "ALG", default_value_t = Algorithm::default())]
    pub(crate) digest: Algorithm,
    /// Put everything into this directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) target_directory: Option<OsString>,
}

impl TransferArgs {
    /// What the library wants to know.
    pub(crate) fn options(&self) -> TransferOptions {
        TransferOptions {
            algorithm: self.digest,
            resume: match (self.resume, self.no_resume) {
                (true, _) => Resume::Always,
                (_, true) => Resume::Never,
                _ => Resume::Auto,
            },
            force: self.force,
            parents: self.parents,
        }
    }
}

/// `put`
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    /// Local files, then where they go on the server; `-` is standard input
    #[arg(required = true, value_name = "LOCAL... [REMOTE]", hide_possible_values = true)]
    pub(crate) paths: Vec<OsString>,
}

/// `get`
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    /// Files on the server, then where they go; `-` is standard output
    #[arg(required = true, value_name = "REMOTE... [LOCAL]")]
    pub(crate) paths: Vec<OsString>,
}

/// `mkdir`
#[derive(Debug, Args)]
pub(crate) struct MkdirArgs {
    /// Make missing parents, and be content with a directory that exists
    #[arg(short, long)]
    pub(crate) parents: bool,
    /// The directories
    #[arg(required = true)]
    pub(crate) directories: Vec<OsString>,
}

/// `rm`
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Remove directories with everything in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Be content with what is gone already
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Delete for good, not into the trash
    #[arg(long)]
    pub(crate) forever: bool,
    /// The files
    #[arg(required = true)]
    pub(crate) paths: Vec<OsString>,
}

/// `mv`
#[derive(Debug, Args)]
pub(crate) struct MvArgs {
    /// Replace an existing file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// What to move, then the new name or an existing directory
    #[arg(required = true, num_args = 2.., value_name = "FROM... TO")]
    pub(crate) paths: Vec<OsString>,
}

/// `cp`
#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// Replace an existing file
    #[arg(short, long)]
    pub(crate) force: bool,
    /// What to copy, then the new name or an existing directory
    #[arg(required = true, num_args = 2.., value_name = "FROM... TO")]
    pub(crate) paths: Vec<OsString>,
}

/// `stat`
#[derive(Debug, Args)]
pub(crate) struct StatArgs {
    /// Files or directories
    #[arg(required = true)]
    pub(crate) paths: Vec<OsString>,
}

/// `sum`
#[derive(Debug, Args)]
pub(crate) struct SumArgs {
    /// Read the file again even if the digest of its upload is known
    #[arg(long)]
    pub(crate) fresh: bool,
    /// The algorithm: sha256, blake3, sha512, sha1 or md5
    #[arg(long, alias = "checksum", value_name = "ALG", default_value_t = Algorithm::default())]
    pub(crate) digest: Algorithm,
    /// The files
    #[arg(required = true)]
    pub(crate) paths: Vec<OsString>,
}

/// `df`
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct DfArgs {
    /// Rounded sizes only
    #[arg(short = 'h')]
    pub(crate) human: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// `ping`
#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// How many times, one second apart
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
}

/// `uploads`
#[derive(Debug, Args)]
pub(crate) struct UploadsArgs {
    /// Discard the staged upload for this path; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) discard: Vec<OsString>,
}

/// `trash`
#[derive(Debug, Args)]
pub(crate) struct TrashArgs {
    /// Delete everything in the trash for good
    #[arg(long, conflicts_with = "delete")]
    pub(crate) empty: bool,
    /// Delete this item for good; may be repeated
    #[arg(long, value_name = "ITEM")]
    pub(crate) delete: Vec<u64>,
}

/// `versions`
#[derive(Debug, Args)]
pub(crate) struct VersionsArgs {
    /// The file, whether it is there or not
    pub(crate) path: OsString,
}

/// `restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Replace existing files, which go to the trash
    #[arg(short, long)]
    pub(crate) force: bool,
    /// This item, as `trash` and `versions` number them
    #[arg(long, value_name = "ITEM")]
    pub(crate) item: Option<u64>,
    /// Put it here
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Option<OsString>,
    /// What to restore; with --item, only this from the item
    #[arg(required_unless_present = "item")]
    pub(crate) paths: Vec<OsString>,
}

/// `login`
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The server; else as with other commands
    #[arg(value_name = "[USER@]HOST[:PORT]", conflicts_with = "list")]
    pub(crate) target: Option<Target>,
    /// Only show which servers are saved
    #[arg(long)]
    pub(crate) list: bool,
}

/// `logout`
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The server; else as with other commands
    #[arg(value_name = "[USER@]HOST[:PORT]", conflicts_with = "all")]
    pub(crate) target: Option<Target>,
    /// Forget all servers
    #[arg(long)]
    pub(crate) all: bool,
}

/// `shell`
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// In a script, go on after a command that failed
    #[arg(short, long)]
    pub(crate) keep_going: bool,
}

const LINE_HELP: &str = "\
  !COMMAND     run a command of this machine's shell; ! alone starts one
  'a b' \"a b\" a\\ b $'a\\n\\xff'   names are quoted as in a shell
  *.mp4        names match here after `put`, and on the server elsewhere; not in quotes
  # ...        is a comment
Ctrl-C stops a transfer, which can be resumed; Ctrl-D leaves.";

/// Commands of the shell; `help COMMAND` shows the options of one.
#[derive(Debug, Parser)]
#[command(after_help = LINE_HELP)]
#[command(
    name = "",
    no_binary_name = true,
    disable_help_subcommand = true,
    disable_version_flag = true
)]
#[command(
    override_usage = "COMMAND [OPTIONS] [ARGS]",
    subcommand_value_name = "COMMAND",
    subcommand_help_heading = "Commands"
)]
pub(crate) struct Line {
    #[command(flatten)]
    pub(crate) mode: Mode,
    #[command(subcommand)]
    pub(crate) command: LineCommand,
}

/// What the shell understands.
#[derive(Debug, Subcommand)]
pub(crate) enum LineCommand {
    #[command(flatten)]
    Remote(RemoteCommand),
    /// Change the local directory; without DIR, go home
    Lcd(LcdArgs),
    /// List a local directory with the local ls
    #[command(disable_help_flag = true)]
    Lls(LlsArgs),
    /// Print the local directory
    Lpwd,
    /// Leave
    #[command(visible_alias = "quit")]
    Exit,
    /// Show the commands, or the options of one
    Help(HelpArgs),
}

/// `lcd`
#[derive(Debug, Args)]
pub(crate) struct LcdArgs {
    /// The directory; the home if absent
    pub(crate) directory: Option<PathBuf>,
}

/// `lls`
#[derive(Debug, Args)]
pub(crate) struct LlsArgs {
    /// Whatever the local ls takes
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// `help`
#[derive(Debug, Args)]
pub(crate) struct HelpArgs {
    /// The command
    pub(crate) command: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        CommandLine::command().debug_assert();
        Line::command().debug_assert();
    }

    #[test]
    fn options_may_stand_after_the_command() {
        let line = CommandLine::try_parse_from(["ftp-cli", "ls", "-lh", "--json", "-s", "alice@host"]).unwrap();
        assert!(line.global.mode.json);
        assert_eq!(
            line.global.server.map(|server| server.to_string()).as_deref(),
            Some("alice@host:2121")
        );
        assert!(matches!(line.command, Command::Remote(RemoteCommand::Ls(ls)) if ls.long && ls.human));
    }

    #[test]
    fn the_last_word_on_resuming_counts() {
        let resume = |args: &[&str]| {
            let line = CommandLine::try_parse_from([&["ftp-cli", "put"], args].concat()).unwrap();
            match line.command {
                Command::Remote(RemoteCommand::Put(put)) => put.transfer.options().resume,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(resume(&["a"]), Resume::Auto);
        assert_eq!(resume(&["--resume", "a"]), Resume::Always);
        assert_eq!(resume(&["--resume", "--no-resume", "a"]), Resume::Never);
    }

    #[test]
    fn a_password_is_never_an_argument() {
        assert!(CommandLine::try_parse_from(["ftp-cli", "--password", "x", "ls"]).is_err());
        assert!(CommandLine::try_parse_from(["ftp-cli", "-p", "x", "ls"]).is_err());
    }

    #[test]
    fn names_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(b"a\xff".to_vec());
        let line = CommandLine::try_parse_from([OsString::from("ftp-cli"), "get".into(), odd.clone()]).unwrap();
        assert!(matches!(line.command, Command::Remote(RemoteCommand::Get(get)) if get.paths == [odd]));
    }
}
