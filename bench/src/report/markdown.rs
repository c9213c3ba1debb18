//! `docs/performance.md`: words that stay, and tables that are made.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::report::table;
use crate::report::targets;
use crate::results::Results;
use crate::workloads::WORKLOADS;

const HEAD: &str = "\
# Performance

`ftpd` and `ftp-cli` beside other servers and their clients: the same files, the same machine, one after the other.
This page is made by `cargo run --release -p ftp-bench -- run --report`; its words stand in
`bench/src/report/markdown.rs`. Each workload is one run, with the rounds that stand above its tables; different workloads may
come from different runs, of which the machine's table shows the last. [bench/README.md](../bench/README.md) says how it works.

How to read it:

- **Everything of ours is verified end to end**, every time: a transfer counts when the digest of the whole file agrees
  at both ends and the file is durable under its name. The peers verify nothing but where the table says so; their
  files are compared outside of the timed part.
- A ratio is the time of the fastest peer divided by ours: above 1 we are faster.
- All is loopback and memory file systems: no network and no disk hides what the programs themselves cost. Client and
  server share the processors, so the time is at best half of the sum of both sides' processor time on two cores.
- Candidates take turns (A B C, A B C), each with a fresh daemon. Figures are medians; the spread is from the fastest
  to the slowest run. Memory is the most resident memory of one side, the sum over its processes.
- Figures of different runs, or of other machines, cannot be compared: noise between runs is 10 to 30 %.
";

/// What profiles have shown. To be looked at again with every run.
const LIMITS: &str = "
## What stands in the way of the targets that are not met

Found with `perf record -a` during single runs of the workload, on this machine.

- **SHA-256, put.** One core hashes 1.8 GB/s (OpenSSL, AWS-LC, ring and the `sha2` crate alike, so this is the instruction's
  limit), and both sides have to hash everything: 1.2 s of the two cores for each
  GiB, where the fastest peer with TLS takes 1.6 s for all of its work in a quiet hour and 1.9 in a noisy one. 1.6 / (1.6 + 1.2) bounds the
  ratio at about 0.57, and 1.9 / (1.9 + 1.2) at 0.61, for whoever is as fast as that peer otherwise; without TLS it is less. Get costs one hash, for the server's is kept. To hash on a
  thread of its own, beside the one that writes, made plain downloads 7 % faster and all other transfers with SHA-256 3 to 10 %
  slower on two cores, for the third thread only takes turns with the others. To hash the bytes of a large file where they arrive, with only the
  writing on another thread, made downloads 18 to 30 % slower. A receiving thread that writes, in order, what the hashing one
  has not come to changed nothing (2.02 s in place of 2.06 for 2 GiB), nor did queues of 64 KiB to 4 MiB in the server: 10 to
  20 % of the two cores' time stay idle, for the peers as well. `perf sched` shows threads that wait for the core where they ran
  last while the other one is free.
- **BLAKE3 with TLS.** Of the time of both sides in an upload, BLAKE3 has 19 %, reading the source 14 %, the two copies in and out
  of the socket 15 %, writing the file 12 %, AES 7 %, copies within the TLS library 4 %. All but the digest every peer pays as
  well, so 1.2 or 1.3 times its speed would take two thirds of its work.
  Longer queues between network and disk (6 MiB in place of 256 KiB), chunks of 1 MiB, and other sizes of the sockets' buffers
  (512 KiB to 32 MiB) changed less than the noise. Uploads are written where they arrive while no core is idle: 11 % faster
  without TLS, 8 % with it. Downloads were not: as fast with TLS, and 17 to 33 % slower without it, where the client has nearly
  all of the work and both cores are its own.
- **Under `bbr`.** Its pacing lets a download arrive in smaller pieces: the client of ours takes 4.8 s of processor time in place
  of 3.9, the server 1.2 in place of 0.6, and `nginx` and vsftpd lose as much. Pure-FTPd loses less, and decides. From run to run
  its downloads took 2.7 to 4.8 s, ours 3.6 to 5.0: three rounds of an earlier run had the ratios at 1.05, 0.78, 0.98 and 0.54.
  To wake the client for whole frames only (`SO_RCVLOWAT`) changed nothing: 1.8 to 1.9 s for 2 GiB with it, 1.8 without. To copy in
  place of `sendfile`, as Pure-FTPd does, made downloads 11 % faster there and 5 % slower under reno, for two to three times
  the server's processor time: left out.
- **Processor seconds.** They include the proof, which the peers do not have. Without TLS a download costs the server a quarter
  of what it did (`sendfile`); the client's digest alone is more than what is left between the peers.
- **Small files.** How far the rsync daemon is away depends on the hour: in a quiet one, before the last two improvements, downloads came out at
  1.13 times its speed (BLAKE3 1.22) and uploads at 0.86 (0.89); in a noisy one, in which the machine's neighbours make all candidates 1.3 to 1.7 times as slow, ours suffer most, for
  they keep both processors busy by more threads. In the run above, a noisy one, both directions are ahead of it with BLAKE3. What is left with
  SHA-256 is SHA-256, which both sides take of every upload: 8 % of the time of the two cores.
  Twice nginx without TLS or `tar` through ssh, and ten times lftp (eight connections, no encryption), would be 0.33 to 0.39 s in
  the run above, which is faster than the rsync daemon, and that one encrypts, proves and syncs nothing.
- **Small files, profiles.** Of the time of the two cores, uploads and downloads: files in the kernel 33 and 34 %, sockets 4 and 5, SHA-256 8 and 6,
  the allocator 9 and 7, JSON 5 and 6, the log's two lines a file 4 and 5, TLS 3 and 4, waking threads 3 and 3, page faults 2 and 1, idle 6 and 12,
  all other code of ours and of the runtime 20 and 17. The rsync daemon has the first two as well, on one connection without answers.
  The rest is spread thin: no function of ours has more than 1 % by itself. Of one file in an upload the server makes seven system calls
  (`openat`, `pwrite64`, `utimensat`, `fstat`, `fsetxattr`, `linkat`, `close`) and the client six; each has its purpose.
- **Small files, what was tried.** Kept: one thread that goes on from group to group and paths that share their memory (23 % of an upload's time);
  half of the allocations, and no buffer of 64 KiB thrown away for each frame (2 to 4 % of the processor time); short files hashed where they arrive (2 to 9 %: the thread that
  writes is the one that all wait for); files without a name until they are whole (`O_TMPFILE`, 7 % of both sides' processor time); no look at a name that the
  rename finds taken, links by a handle in place of a name in `/proc`, and no bars that nobody sees (together 7 %); a walk that goes on while files are sent
  (5 to 7 %). Left out, for it changed less than the noise: the next files read while the last ones are sent (4 %); trees of the server listed
  while their files arrive (2 %, and directories would be made before the whole listing is known to make sense); used memory for small uploads; memory given
  back to the thread that it came from; a session woken once for each group; another allocator (mimalloc). Slower: two threads that store, one staging while
  the other one publishes (6 %); requests read in two passes in place of serde's buffers (10 to 15 % a message).
- **200 clients.** 5.9 s of processor time on two cores in a quiet hour, 1.7 s of it SHA-256; without it the ratio is above 1. One thread in place of
  several in the client made it 8 % faster. The slowest is so much slower than the fastest because the first of 200 processes
  that begin in the same moment has logged in after 0.01 s and the last after 1.4 s, all on two cores; nine of ten end within
  1.3 times of each other's time. Longer turns of the server (16 chunks in place of 4) made it 8 to 17 % faster, and the
  slowest 2.3 to 5 times as slow as the fastest; turns of one chunk made it 20 to 30 % slower and nothing fairer, of two 15 %
  slower. A queue for turns (1 to 8 at a time) was 5 % faster and 4 to 8 times unfair, or fair and 17 % slower. Fewer turns for
  transfers that are ahead of the others (one of 4, of 16, of 64) changed nothing. Downloads that wait while anybody logs in
  brought the slowest to 1.4 to 1.5 times the fastest and cost 2 %; it was left out, for a login that waits for its line, and not for a
  processor as here, would hold everybody back for nothing.
- **Resume.** Nothing is compared before bytes move any more, and the server still has the digest of a prefix that it took in itself.
  What is left beside half of the transfer is the client's. It has to hash the whole file, from the first byte on: with SHA-256
  2.3 s for 4 GiB on one core, nearly half of a whole download here. An upload's rest is read twice, to be sent and to be
  hashed. One thread reads ahead of the one that hashes, which made the rest of an upload 20 % faster with SHA-256 and 9 %
  with BLAKE3 (2 GiB, the cores not yet full). A saved state of SHA-256 would spare that, and prove the bytes that once passed
  by, not those that lie on the disk.
";

/// The text of the page.
pub(crate) fn page(results: &Results, charts: &[&str]) -> String {
    let mut text = HEAD.to_owned();
    targets_table(results, &mut text);
    machine(results, &mut text);
    if !results.limits.is_empty() {
        text += "\n## limits\n\nWhat the machine can do at best.\n\n| | GB/s |\n| --- | ---: |\n";
        for limit in &results.limits {
            let _ = writeln!(text, "| {} | {:.2} |", limit.what, limit.rate / 1e9);
        }
    }
    for (name, what, _) in WORKLOADS {
        let tables = table::of(results, name);
        if tables.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "\n## {name}\n\n{}. Rounds: {}.\n",
            capital(what),
            rounds(results, name)
        );
        if let Some(words) = words(name) {
            let _ = writeln!(text, "{words}\n");
        }
        if charts.contains(&name) {
            let _ = writeln!(text, "![{name}](performance-{name}.svg)\n");
        }
        text += &tables.join("\n");
        let skips: Vec<_> = results.skips.iter().filter(|skip| skip.workload == name).collect();
        if !skips.is_empty() {
            text += "\nNot run:\n\n";
        }
        for skip in skips {
            let _ = writeln!(text, "- {}: {}", skip.candidate, skip.why);
        }
    }
    text + LIMITS
}

/// How often each candidate was measured at a workload; peers that are slow were less often.
fn rounds(results: &Results, workload: &str) -> usize {
    let mut counts = HashMap::new();
    for sample in results.samples.iter().filter(|sample| sample.workload == workload) {
        *counts.entry((&sample.op, &sample.candidate)).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

/// What a reader has to know about a workload.
fn words(name: &str) -> Option<&'static str> {
    Some(match name {
        "large-plain" | "large-tls" => {
            "Downloads end in a memory file system like uploads. Memory that the files grow into is warm for all."
        }
        "default-plain" | "default-tls" => {
            "As above in all else. Where that is `bbr`, it paces what is sent, which is slower than the loopback and \
             costs time for each send."
        }
        "checksum" => {
            "What a user of a peer does who wants to know that the file arrived: `openssl dgst -sha256` of both sides \
             at once, after the transfer."
        }
        "tree" => {
            "`ftpd` here is encrypted unless the table says otherwise, proves each file and makes it durable; the \
             rsync daemon is not encrypted and makes nothing durable. curl is told all names beforehand."
        }
        "crowd" => {
            "Each client is a process: `ftp-cli get FILE - >/dev/null`, `curl -o /dev/null`. They are \
             started first and held, and all begin in the same moment."
        }
        "logins" => {
            "Driven from one process, 32 at a time. FTP servers check a password hash each time, which is most of \
             their work; a saved login of ours carries a key."
        }
        "idle" => "Growth of the server's proportional memory (PSS), divided by the sessions.",
        "resume" => {
            "The client is killed when half has arrived, and the time of the second command is taken. Ours and \
             `rsync --append-verify` prove the whole file with what had arrived; the others believe that."
        }
        "delayed" => {
            "The way is a proxy of the bench's own, with 50 ms of round trip and 1 Gbit/s each way shared by all \
             connections. It loses nothing, and the kernels on both ends see a short way: slow start is not shown."
        }
        _ => return None,
    })
}

fn targets_table(results: &Results, text: &mut String) {
    let all = targets::all(results);
    let (met, measured) = (
        all.iter().filter(|it| it.met).count(),
        all.iter().filter(|it| it.measured.is_some()).count(),
    );
    let _ = writeln!(
        text,
        "\n## Targets\n\n{met} of {measured} that were measured are met.\n"
    );
    *text += "| against what | wanted | measured | |\n| --- | ---: | ---: | --- |\n";
    for target in all {
        let verdict = match (&target.measured, target.met) {
            (None, _) => "not measured",
            (_, true) => "met",
            (_, false) => "**not met**",
        };
        let measured = target.measured.as_deref().unwrap_or("-");
        let _ = writeln!(text, "| {} | {} | {measured} | {verdict} |", target.what, target.wanted);
    }
}

fn machine(results: &Results, text: &mut String) {
    let machine = &results.machine;
    let isolated = if machine.isolated {
        "network, process and mount namespaces of the bench's own"
    } else {
        "no namespaces: the bench was not root"
    };
    let _ = writeln!(
        text,
        "\n## Machine\n\n| | |\n| --- | --- |\n| date | {} |\n| ftpd and ftp-cli | {} |\n| command | `{}` |\n\
         | sizes, and rounds of the last run | {}, {}, large file of {} MiB |\n| processor | {}, {} cores |\n| memory | {:.0} GiB |\n\
         | system | {}, {} |\n| congestion control | {} (the machine's default: {}) |\n| isolation | {isolated} |\n\
         | processor time | {} |",
        machine.date,
        machine.commit,
        machine.command,
        results.plan.name,
        results.plan.rounds,
        results.plan.large >> 20,
        machine.cpu,
        machine.cores,
        machine.memory as f64 / (1_u64 << 30) as f64,
        machine.distribution,
        machine.kernel,
        machine.congestion,
        machine.machine_congestion,
        machine.meter,
    );
    for (name, version) in &machine.versions {
        let _ = writeln!(text, "| {name} | {} |", version.replace('|', " "));
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
