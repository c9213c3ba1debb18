//! Logins a second: connection, TLS where there is one, greeting, password or key.

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use super::sessions::{Door, check, enter};
use super::{Bench, Extra};
use crate::measure::around;
use crate::meter::Meter;
use crate::peers::{Client, ftp_peers, own};

const NAME: &str = "logins";

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let runtime = Runtime::new().context("a runtime")?;
    for tls in [true, false] {
        let mut all = own(tls);
        all.truncate(1);
        all.extend(ftp_peers(Client::Curl, tls));
        let candidates = bench.able(NAME, all);
        let op = if tls { "login TLS" } else { "login plain" };
        bench.rounds(NAME, &[op], &candidates, 0, |bench, running, candidate, _| {
            let own = candidate.is_own();
            // Those that hash a password at each login take forty milliseconds for it.
            let count = if own {
                bench.plan.logins
            } else {
                (bench.plan.logins / 20).max(10)
            };
            let door = runtime.block_on(Door::new(candidate, running.port))?;
            let meter = Meter::new("client");
            let ((), used) = around(&meter, &running.meter, || {
                check(&runtime.block_on(enter(&door, count, false)))
            })?;
            let count = f64::from(count);
            let extra = Extra::from([
                ("logins/s".to_owned(), count / used.wall),
                ("server ms each".to_owned(), 1000.0 * used.server_cpu / count),
            ]);
            Ok((used, extra))
        });
    }
    Ok(())
}
