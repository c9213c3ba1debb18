//! What was promised, and whether it holds.

use crate::report::table::{Row, rows};
use crate::results::{Results, Sample};

/// A promise with the figure that decides.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) wanted: String,
    /// `None` when it was not measured.
    pub(crate) measured: Option<String>,
    pub(crate) met: bool,
}

/// Workloads in which one client works at a time.
const SINGLE: [&str; 9] = [
    "large-plain",
    "large-tls",
    "default-plain",
    "default-tls",
    "checksum",
    "tree",
    "listing",
    "resume",
    "delayed",
];

/// The most memory of either side there, in bytes.
const MOST_MEMORY: u64 = 64 << 20;

/// All promises.
pub(crate) fn all(results: &Results) -> Vec<Target> {
    let book = Book {
        results,
        targets: Vec::new(),
    };
    book.large()
        .checksum()
        .tree()
        .delayed()
        .crowd()
        .sessions()
        .resume()
        .memory()
        .processor()
        .targets
}

struct Book<'a> {
    results: &'a Results,
    targets: Vec<Target>,
}

const DIGESTS: [(&str, &str); 2] = [("own-sha256", "SHA-256"), ("own-blake3", "BLAKE3")];

impl<'a> Book<'a> {
    fn rows(&self, workload: &str, op: &str) -> Vec<Row<'a>> {
        rows(self.results, workload, op)
    }

    fn row(&self, workload: &str, op: &str, id: &str) -> Option<Row<'a>> {
        self.rows(workload, op)
            .into_iter()
            .find(|row| row.candidate == id && row.wall().is_some())
    }

    /// How many times as long the fastest of the chosen peers takes as we do.
    fn ratio(&self, workload: &str, op: &str, own: &str, peer: impl Fn(&str) -> bool) -> Option<f64> {
        let own = self.row(workload, op, own)?.wall()?;
        let rows = self.rows(workload, op);
        let peers = rows
            .iter()
            .filter(|row| !row.own && peer(row.candidate))
            .filter_map(Row::wall);
        Some(peers.min_by(f64::total_cmp)? / own)
    }

    fn add(&mut self, what: String, wanted: String, measured: Option<(String, bool)>) {
        let (measured, met) = measured.map_or((None, false), |(text, met)| (Some(text), met));
        self.targets.push(Target {
            what,
            wanted,
            measured,
            met,
        });
    }

    fn at_least(&mut self, what: String, times: f64, measured: Option<f64>) {
        let measured = measured.map(|ratio| (format!("{ratio:.2}x"), ratio >= times));
        self.add(what, format!("≥ {times:.2}x"), measured);
    }

    fn at_most(&mut self, what: String, most: f64, unit: &str, measured: Option<f64>) {
        let measured = measured.map(|value| (format!("{value:.2}{unit}"), value <= most));
        self.add(what, format!("≤ {most:.2}{unit}"), measured);
    }

    fn large(mut self) -> Self {
        let machine = &self.results.machine;
        let mut runs = vec![("large-plain", machine.congestion.clone())];
        if machine.machine_congestion != machine.congestion {
            runs.push(("default-plain", machine.machine_congestion.clone()));
        }
        for (workload, congestion) in runs {
            let wanted = match congestion.as_str() {
                "bbr" => [[0.8, 0.6], [1.1, 1.0]],
                _ => [[0.6, 0.4], [0.9, 0.75]],
            };
            for ((id, digest), wanted) in DIGESTS.into_iter().zip(wanted) {
                for (op, times) in ["get", "put"].into_iter().zip(wanted) {
                    // rsync's own check makes it no unverified peer.
                    let ratio = self.ratio(workload, op, id, |peer| peer != "rsyncd");
                    let what =
                        format!("large file, plain, {congestion}, {digest}, {op}: the fastest unverified plain peer");
                    self.at_least(what, times, ratio);
                }
            }
        }
        let tls = [[1.0, 0.8], [1.3, 1.2]];
        for ((id, digest), wanted) in DIGESTS.into_iter().zip(tls) {
            let id = format!("{id}-tls");
            for (op, times) in ["get", "put"].into_iter().zip(wanted) {
                let ratio = self.ratio("large-tls", op, &id, |_| true);
                let what = format!("large file, TLS, {digest}, {op}: the fastest unverified TLS peer");
                self.at_least(what, times, ratio);
                let ratio = self.ratio("large-tls", op, &id, |peer| peer == "openssh");
                self.at_least(format!("large file, TLS, {digest}, {op}: OpenSSH's sftp"), 1.5, ratio);
            }
        }
        self
    }

    fn checksum(mut self) -> Self {
        for (id, digest) in DIGESTS {
            for op in ["get plain", "put plain", "get TLS", "put TLS"] {
                let id = if op.ends_with("TLS") {
                    format!("{id}-tls")
                } else {
                    id.to_owned()
                };
                let ratio = self.ratio("checksum", op, &id, |_| true);
                let what = format!("large file, {op}, {digest}: the fastest peer and its checksum by hand");
                self.at_least(what, 1.7, ratio);
            }
        }
        self
    }

    fn tree(mut self) -> Self {
        let id = "own-sha256-tls";
        for op in ["get", "put"] {
            let ratio = self.ratio("tree", op, id, |peer| peer == "rsyncd");
            self.at_least(format!("small files, TLS, {op}: the rsync daemon"), 1.0, ratio);
            let ratio = self.ratio("tree", op, id, |peer| {
                peer.starts_with("nginx") || peer == "openssh+tar"
            });
            self.at_least(
                format!("small files, TLS, {op}: tar through ssh, and nginx"),
                2.0,
                ratio,
            );
            let ratio = self.ratio("tree", op, id, |peer| peer == "openssh" || peer.ends_with("+lftp"));
            self.at_least(format!("small files, TLS, {op}: sftp and lftp"), 10.0, ratio);
        }
        self
    }

    fn delayed(mut self) -> Self {
        let id = "own-sha256-tls";
        for op in ["get", "put"] {
            let near = self.row("tree", op, id).and_then(|row| row.wall());
            let far = self
                .row("delayed", &format!("{op} small"), id)
                .and_then(|row| row.wall());
            let what = format!("small files, TLS, {op}, 50 ms of round trip: 1.5 times the time without, and 1 s");
            let measured = near
                .zip(far)
                .map(|(near, far)| (format!("{far:.2} s"), far <= 1.5 * near + 1.0));
            let wanted = near.map_or("-".to_owned(), |near| format!("≤ {:.2} s", 1.5 * near + 1.0));
            self.add(what, wanted, measured);
        }
        self
    }

    fn crowd(mut self) -> Self {
        let (id, op, clients) = ("own-sha256-tls", "get TLS", self.results.plan.clients);
        let ratio = self.ratio("crowd", op, id, |_| true);
        self.at_least(
            format!("{clients} clients at once, TLS: the fastest TLS peer"),
            1.0,
            ratio,
        );
        let row = self.row("crowd", op, id);
        let spread = row.as_ref().and_then(|row| row.extra("slowest/fastest"));
        self.at_most(
            format!("{clients} clients at once: the slowest to the fastest"),
            1.5,
            "",
            spread,
        );
        let failed = self
            .rows("crowd", op)
            .into_iter()
            .find(|row| row.candidate == id)
            .map(|row| row.failures.len());
        let measured = failed.map(|count| (format!("{count} runs"), count == 0));
        self.add(
            format!("{clients} clients at once: failures"),
            "none".to_owned(),
            measured,
        );
        self
    }

    fn sessions(mut self) -> Self {
        for count in self.results.plan.idle.clone() {
            let row = self.row("idle", &format!("{count} TLS"), "own-sha256-tls");
            let each = row.and_then(|row| row.extra("KiB each"));
            self.at_most(
                format!("memory of the server for each of {count} idle TLS sessions"),
                24.0,
                " KiB",
                each,
            );
        }
        let rows = self.rows("logins", "login TLS");
        let rate = |row: &Row<'_>| row.extra("logins/s");
        let own = rows.iter().find(|row| row.own).and_then(rate);
        let peer = rows
            .iter()
            .filter(|row| !row.own)
            .filter_map(rate)
            .max_by(f64::total_cmp);
        let measured = own.map(|rate| (format!("{rate:.0}/s"), rate >= 1000.0));
        self.add("logins over TLS".to_owned(), "≥ 1000/s".to_owned(), measured);
        let ratio = own.zip(peer).map(|(own, peer)| own / peer);
        self.at_least("logins over TLS: the fastest FTP peer".to_owned(), 10.0, ratio);
        self
    }

    fn resume(mut self) -> Self {
        for (id, digest) in DIGESTS {
            let id = format!("{id}-tls");
            for op in ["get", "put"] {
                let time = |kind: &str| {
                    self.row("resume", &format!("{op} {kind}"), &id)
                        .and_then(|row| row.wall())
                };
                let part = time("rest").zip(time("whole")).map(|(rest, whole)| rest / whole);
                self.at_most(
                    format!("resume at half, TLS, {digest}, {op}: part of the whole transfer"),
                    0.6,
                    "",
                    part,
                );
            }
        }
        self
    }

    fn memory(mut self) -> Self {
        let ours = |it: &&Sample| it.own && it.failure.is_none() && SINGLE.contains(&it.workload.as_str());
        let most = |figure: fn(&Sample) -> u64| self.results.samples.iter().filter(ours).map(figure).max();
        let both = [
            ("client", most(|it| it.client_memory)),
            ("server", most(|it| it.server_memory)),
        ];
        for (side, bytes) in both {
            let measured = bytes.map(|it| (format!("{:.0} MiB", it as f64 / 1_048_576.0), it <= MOST_MEMORY));
            self.add(
                format!("memory of the {side} with one client"),
                "≤ 64 MiB".to_owned(),
                measured,
            );
        }
        self
    }

    fn processor(mut self) -> Self {
        let cpu = |row: &Row<'_>| {
            let gib = row.good.first()?.bytes as f64 / (1_u64 << 30) as f64;
            Some(row.median(|it| it.client_cpu + it.server_cpu)? / gib)
        };
        for (workload, suffix) in [("large-plain", ""), ("large-tls", "-tls")] {
            for (id, digest) in DIGESTS {
                for op in ["get", "put"] {
                    let own = self.row(workload, op, &format!("{id}{suffix}")).as_ref().and_then(cpu);
                    // Rows are sorted by time.
                    let peer = self
                        .rows(workload, op)
                        .iter()
                        .find(|row| !row.own && row.wall().is_some())
                        .and_then(cpu);
                    let kind = if suffix.is_empty() { "plain" } else { "TLS" };
                    let what = format!("processor seconds a GiB, {kind}, {digest}, {op}: the fastest peer's");
                    let wanted = peer.map_or("-".to_owned(), |peer| format!("< {peer:.2} s"));
                    let measured = own.zip(peer).map(|(own, peer)| (format!("{own:.2} s"), own < peer));
                    self.add(what, wanted, measured);
                }
            }
        }
        self
    }
}
