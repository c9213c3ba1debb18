//! The program `ftpd`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftp_server::run(std::env::args_os())
}
