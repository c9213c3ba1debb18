//! `ftpd`: users, homes and limits around `ftp_store`, served over the network.

// Administration: configuration, users, logs and the command line.
mod audit;
mod config;
mod escape;
pub mod logging;
mod table;

pub use config::{
    Config, ConfigFault, ConfigFaults, Durability, Level, Limits, LogConfig, Rights, ServerConfig, TlsConfig,
    UserConfig,
};
