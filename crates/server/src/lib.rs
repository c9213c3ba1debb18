//! `ftpd`: users, homes and limits around `ftp_store`, served over the network.

// Administration: configuration, users, logs and the command line.
mod audit;
mod cli;
mod config;
mod escape;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod log_view;
mod logging;
mod output;
mod prompt;
mod table;
mod users_file;

pub use cli::run;
pub use logging::{LogError, LogGuard, start as start_log};

pub use config::{
    CareConfig, Config, ConfigFault, ConfigFaults, Durability, Level, Limits, LogConfig, Rights, ServerConfig,
    TlsConfig, UserConfig,
};

// Service: listening, limits, accounts, the ways in, and care for what is stored.
mod care;
mod control;
mod doors;
mod gate;
mod listen;
mod pace;
mod secret;
mod server;
mod site;
mod tls;
mod transfers;
mod walls;

pub use server::{Foundation, Server};
