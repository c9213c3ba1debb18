//! `ftp-cli`: the command line of [`ftp_client`].

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
