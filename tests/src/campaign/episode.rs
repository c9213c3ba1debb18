//! One episode: a server's life with its lanes, round by round.

use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::check::{self, Checker};
use super::lane::{Lane, Scene};
use super::plan::{Episode, LANES, Rot, Round, ServerEvent, ServerTrouble};
use super::pool::Pool;
use super::report::{Failure, Tally};
use super::{Checked, disk};
use crate::{Direction, Plan, Proxy, Rig};

/// How often it is looked whether enough bytes have passed for what is planned for the server.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Runs the episode of a seed.
pub(super) fn run(seed: u64, rounds: usize, pool: &Pool, tally: &Tally) -> Result<(), Failure> {
    let plan = Episode::new(seed, rounds);
    let mut stage = Stage::new(&plan);
    let mut number = 0;
    // The rig panics where a test would: on what must never happen.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for round in &plan.rounds {
            number += 1;
            stage.round(round, pool, tally)?;
            Tally::add(&tally.rounds, 1);
        }
        stage.end(pool, tally)
    }));
    let what = match outcome {
        Ok(Ok(())) => {
            stage.rig.keep(false);
            return Ok(());
        }
        Ok(Err(what)) => what,
        Err(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (_, Some(text)) => (*text).to_owned(),
            _ => "a panic without words".to_owned(),
        },
    };
    Tally::add(&tally.failures, 1);
    let mut transcript: String = stage.lanes.iter().map(|lane| lane.transcript.as_str()).collect();
    transcript.push_str(&stage.transcript);
    Err(Failure {
        seed,
        round: number,
        what,
        plan: format!("{plan}{}", plan.rounds[number.max(1) - 1]),
        transcript,
        directory: stage.rig.directory().to_owned(),
    })
}

/// Everything that an episode has.
struct Stage {
    rig: Rig,
    lanes: Vec<Lane>,
    checker: Checker,
    tls: bool,
    /// What happened to the server in this round.
    transcript: String,
    reloads: u32,
    quota: String,
}

impl Stage {
    fn new(plan: &Episode) -> Self {
        let quota = plan
            .quota_mib
            .map_or_else(String::new, |mib| format!("quota = \"{mib} MiB\""));
        let durability = if plan.durable { "full" } else { "none" };
        // Damaged logins are no guesses, a busy machine is no fault, and a drain is longer than any stall.
        let mut settings = Plan::new()
            .user("alice", "")
            .user("bob", &quota)
            .server(&format!("durability = \"{durability}\""))
            .limits(
                "login_failures = 1000000\ndrain_timeout = \"2 s\"\ntls_timeout = \"5 min\"\n\
                 hello_timeout = \"5 min\"\nlogin_timeout = \"5 min\"",
            );
        if !plan.tls {
            settings = settings.plaintext();
        }
        // Before the server starts: it counts what lies in a home only once.
        for (user, root) in LANES {
            fs::create_dir_all(settings.home(user).join(root)).unwrap();
        }
        let mut rig = settings.start();
        rig.keep(true);
        let lanes = LANES
            .iter()
            .map(|(user, root)| {
                let mut lane = Lane::new((user, root), &rig);
                lane.has_quota = plan.quota_mib.is_some() && *user == "bob";
                lane
            })
            .collect();
        Self {
            checker: Checker::new(&rig),
            rig,
            lanes,
            tls: plan.tls,
            transcript: String::new(),
            reloads: 0,
            quota,
        }
    }

    fn round(&mut self, round: &Round, pool: &Pool, tally: &Tally) -> Checked {
        self.transcript.clear();
        self.checker.journal.begin_round();
        for lane in &mut self.lanes {
            lane.begin_round();
        }
        let scene = Scene {
            pool,
            tls: self.tls,
            server_trouble: round.server.is_some_and(|event| event.what.disturbs()),
        };
        let lanes = &mut self.lanes;
        let proxies: Vec<Arc<Proxy>> = lanes.iter().map(|lane| Arc::clone(&lane.proxy)).collect();
        let both = |proxy: &Arc<Proxy>| proxy.passed(Direction::Up) + proxy.passed(Direction::Down);
        let passed = || proxies.iter().map(both).sum::<u64>();
        let before = passed();
        let (rig, transcript) = (&mut self.rig, &mut self.transcript);
        let (checker, quota, reloads) = (&mut self.checker, &self.quota, &mut self.reloads);
        let done = thread::scope(|scope| {
            let working: Vec<_> = lanes
                .iter_mut()
                .zip(&round.lanes)
                .map(|(lane, steps)| scope.spawn(|| lane.run(steps, &scene)))
                .collect();
            if let Some(event) = round.server {
                while passed() - before < event.after && working.iter().any(|lane| !lane.is_finished()) {
                    thread::sleep(LOOK_EVERY);
                }
                writeln!(
                    transcript,
                    "the server: {:?} after {} bytes",
                    event.what,
                    passed() - before
                )
                .expect("a string takes any text");
                happen(event, rig, checker, quota, reloads)?;
                for proxy in &proxies {
                    proxy.retarget(rig.address());
                }
            }
            working
                .into_iter()
                .map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Checked<Vec<usize>>>()
        })?;
        Tally::add(&tally.steps, done.iter().sum());
        Tally::add(&tally.servers_ended, usize::from(scene.server_trouble));
        for lane in &self.lanes {
            Tally::add(&tally.uncertain, usize::from(lane.uncertain.is_some()));
            Tally::add(&tally.resumed, lane.resumed);
            Tally::add(&tally.connections_harmed, lane.harmed.0);
            Tally::add(&tally.clients_ended, lane.harmed.1);
        }
        self.check(pool)?;
        if let Some(rot) = &round.rot {
            self.rot(rot);
        }
        Ok(())
    }

    /// Changes a byte of what is kept of a broken transfer: whoever resumes it has to find out.
    fn rot(&mut self, rot: &Rot) {
        let lane = &mut self.lanes[rot.lane];
        let found = if rot.upload {
            let staging = self.rig.home(lane.user).join(".ftpd/staging");
            let mut held = lane.held.iter_mut().filter(|(_, held)| held.bytes > 0);
            held.next().and_then(|(path, held)| {
                held.from = None;
                lane.sent.entry(path.clone()).or_default().push(None);
                disk::part_of(&staging, &format!("/{}/{path}", lane.root))
            })
        } else {
            let mut partials = lane.fetched.iter_mut();
            partials.next().map(|(name, from)| {
                from.push(None);
                lane.directory.join(format!(".{name}.ftp-part"))
            })
        };
        if let Some(path) = found
            && let Some(length) = fs::metadata(&path)
                .ok()
                .map(|meta| meta.len())
                .filter(|length| *length > 0)
        {
            crate::flip_byte(&path, rot.offset % length);
            writeln!(self.transcript, "the disk: a byte of {} changed", path.display())
                .expect("a string takes any text");
        }
    }

    fn check(&mut self, pool: &Pool) -> Checked {
        self.checker.round(&self.rig, &mut self.lanes, self.tls, pool)
    }

    /// What was broken off goes on, what was removed comes back, all of it is fetched whole, and a new server finds it all.
    fn end(&mut self, pool: &Pool, tally: &Tally) -> Checked {
        for lane in &mut self.lanes {
            lane.begin_round();
            Tally::add(&tally.resumed, lane.resume_all(pool, self.tls)?);
        }
        self.check(pool)?;
        for lane in &mut self.lanes {
            lane.begin_round();
            Tally::add(&tally.restored, lane.bring_back(pool, self.tls)?);
        }
        self.check(pool)?;
        for lane in &mut self.lanes {
            lane.fetch_all(pool, self.tls)?;
        }
        for (user, _) in LANES {
            if !check::is_empty(&self.rig.home(user).join(".ftpd/staging")) {
                return Err(format!("all uploads of {user} are done, and something is staged"));
            }
        }
        terminate(&mut self.rig)?;
        self.rig.restart();
        self.checker.server_was_started();
        self.check(pool)
    }
}

/// Does to the server what is planned, and leaves it running.
fn happen(event: ServerEvent, rig: &mut Rig, checker: &mut Checker, quota: &str, reloads: &mut u32) -> Checked {
    let pause = |time| thread::sleep(Duration::from_millis(time));
    match event.what {
        ServerTrouble::Kill(time) => {
            rig.kill();
            checker.journal.server_was_killed();
            pause(time);
            rig.restart();
            checker.server_was_started();
        }
        ServerTrouble::Terminate(time) => {
            terminate(rig)?;
            pause(time);
            rig.restart();
            checker.server_was_started();
        }
        ServerTrouble::Pause(time) => {
            rig.server().signal(Signal::STOP);
            pause(time);
            rig.server().signal(Signal::CONT);
        }
        ServerTrouble::Reload => {
            *reloads += 1;
            let sessions = 32 + *reloads % 2;
            rig.set_user("bob", &format!("{quota}\nmax_sessions = {sessions}"));
            rig.server().signal(Signal::HUP);
        }
    }
    Ok(())
}

fn terminate(rig: &mut Rig) -> Checked {
    match rig.terminate() {
        status if status.success() => Ok(()),
        status => Err(format!("the server was told to end and ended with {status}")),
    }
}
