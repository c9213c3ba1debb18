//! `ftpd`: users, homes and limits around `ftp_store`, served over the network.

// Administration: configuration, users, logs and the command line.
mod audit;
mod cli;
mod config;
mod escape;
mod log_view;
mod logging;
mod output;
mod prompt;
mod table;
mod users_file;

pub use cli::run;
pub use logging::{LogError, LogGuard, start as start_log};

pub use config::{
    Config, ConfigFault, ConfigFaults, Durability, Level, Limits, LogConfig, Rights, ServerConfig, TlsConfig,
    UserConfig,
};

// Service: listening, limits, accounts and the ways in.
mod doors;
mod gate;
mod listen;
mod server;
mod site;
mod tls;

pub use server::Server;
