//! vsftpd with Debian's defaults, writing allowed, and raised limits.

use std::fs;

use anyhow::Result;

use super::{Site, program};
use crate::measure::Job;

pub(super) fn daemon(site: Site<'_>, tls: bool) -> Result<Job> {
    let arena = site.arena;
    fs::create_dir_all("/run/vsftpd/empty")?;
    let log = arena.log("vsftpd.log").display().to_string();
    let mut text = format!(
        "listen=YES\nlisten_address=127.0.0.1\nlisten_port={}\nbackground=NO\nanonymous_enable=NO\nlocal_enable=YES\n\
         write_enable=YES\ndirmessage_enable=YES\nuse_localtime=YES\nxferlog_enable=YES\nxferlog_file={log}\n\
         connect_from_port_20=NO\nsecure_chroot_dir=/run/vsftpd/empty\npam_service_name=vsftpd\n\
         max_clients=3000\nmax_per_ip=3000\n",
        site.port
    );
    if tls {
        text += &format!(
            "ssl_enable=YES\nforce_local_data_ssl=YES\nforce_local_logins_ssl=YES\nssl_ciphers=HIGH\n\
             rsa_cert_file={}\nrsa_private_key_file={}\nrequire_ssl_reuse=YES\n",
            arena.key("cert.pem").display(),
            arena.key("key.pem").display()
        );
    }
    let config = arena.run("vsftpd.conf");
    fs::write(&config, text)?;
    Ok(Job::new(program("vsftpd")?).arg(config))
}
