//! ProFTPD with Debian's defaults and raised limits, from its installed or unpacked package.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::pureftpd::libraries;
use super::{Site, program};
use crate::arena::ACCOUNT;
use crate::measure::Job;

pub(super) fn daemon(site: Site<'_>, tls: bool) -> Result<Job> {
    let arena = site.arena;
    let proftpd = program("proftpd")?;
    let root = proftpd.ancestors().nth(3).context("the package's root")?;
    let pam = Path::new("/etc/pam.d/proftpd");
    if !pam.exists() {
        fs::copy(root.join("etc/pam.d/proftpd"), pam).context("PAM's rules of ProFTPD")?;
    }
    let path = |path: &Path| path.display().to_string();
    let load = if tls { "LoadModule mod_tls.c\n" } else { "" };
    let mut text = format!(
        "ModulePath {modules}\n{load}UseIPv6 off\nServerName bench\nServerType standalone\nDefaultAddress 127.0.0.1\n\
         Port {port}\nSocketBindTight on\nDeferWelcome off\nTimeoutNoTransfer 600\nTimeoutStalled 600\n\
         TimeoutIdle 1200\nListOptions \"-l\"\nMaxInstances 3000\nUser {ACCOUNT}\nGroup nogroup\nUmask 022 022\n\
         AllowOverwrite on\nAllowStoreRestart on\nTransferLog {transfers}\nSystemLog {system}\nPidFile {pid}\n\
         ScoreboardFile {scores}\nDelayEngine on\nDelayTable {delays}\nControlsEngine off\n",
        modules = path(&root.join("usr/lib/proftpd")),
        port = site.port,
        transfers = path(&arena.log("proftpd.transfers")),
        system = path(&arena.log("proftpd.log")),
        pid = path(&arena.run("proftpd.pid")),
        scores = path(&arena.run("proftpd.scoreboard")),
        delays = path(&arena.run("proftpd.delay")),
    );
    if tls {
        text += &format!(
            "TLSEngine on\nTLSLog {}\nTLSProtocol TLSv1.2 TLSv1.3\nTLSECCertificateFile {}\n\
             TLSECCertificateKeyFile {}\nTLSRequired on\n",
            path(&arena.log("proftpd.tls")),
            path(&arena.key("cert.pem")),
            path(&arena.key("key.pem"))
        );
    }
    let config = arena.run("proftpd.conf");
    fs::write(&config, text)?;
    Ok(libraries(Job::new(&proftpd), root).args(["-n", "-q", "-c"]).arg(config))
}
