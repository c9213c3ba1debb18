//! One user at work in a directory of their own: runs the steps, does them harm, and keeps the books.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::Checked;
use super::command;
use super::disk::Digests;
use super::judge;
use super::local;
use super::model::{Model, Node, Op, Stored, Time, Tree, exit};
use super::plan::{Harm, Step, Trouble};
use super::pool::{Content, Pool};
use super::trash::Lost;
use crate::proxy::{Break, Fault, Proxy};
use crate::{Cli, Ran, Rig, Running};

/// How long a command may take before it counts as hanging. A peer that is silent is given up after a
/// minute, and there may be several of those.
const PATIENCE: Duration = Duration::from_secs(400);

/// How often the driver looks at a running command.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What all lanes have in common in a round.
pub(super) struct Scene<'a> {
    pub(super) pool: &'a Pool,
    pub(super) tls: bool,
    /// Whether the server is killed or ended somewhen in this round.
    pub(super) server_trouble: bool,
}

/// What may stand on the server after an operation whose end is not known.
#[derive(Debug)]
pub(super) struct Uncertain {
    pub(super) op: Op,
    pub(super) before: Tree,
    pub(super) after: Vec<Tree>,
    pub(super) atomic: bool,
    /// Names that were acknowledged one by one.
    pub(super) acknowledged: BTreeSet<String>,
}

/// An upload that can be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) bytes: u64,
    /// What all of it came from, where that is known.
    pub(super) from: Option<Origin>,
}

/// What bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) content: Content,
    /// Whether size and time were announced with them.
    pub(super) announced: bool,
}

/// A user at work in a directory of their own.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) user: &'static str,
    pub(super) root: &'static str,
    pub(super) proxy: Arc<Proxy>,
    pub(super) cli: Cli,
    pub(super) directory: PathBuf,
    /// On the server's disk.
    pub(super) home: PathBuf,
    pub(super) digests: Digests,
    /// Whether there may be no room, or the trash have given way.
    pub(super) has_quota: bool,
    pub(super) model: Model,
    pub(super) uncertain: Option<Uncertain>,
    pub(super) held: BTreeMap<String, Held>,
    /// What has to be in the trash, unless there is a quota.
    pub(super) lost: Lost,
    /// What was sent to each target since nothing was staged for it; `None` once bytes of unknown
    /// origin may be among it.
    pub(super) sent: BTreeMap<String, Vec<Option<Origin>>>,
    /// The same for partial downloads.
    pub(super) fetched: BTreeMap<String, Vec<Option<Stored>>>,
    /// Names that this round was about.
    pub(super) touched: BTreeSet<String>,
    /// How many transfers of each name were acknowledged in this round, by operation.
    pub(super) transfers: BTreeMap<(&'static str, String), usize>,
    /// Whether anything in this round could have been noticed.
    pub(super) disturbed: bool,
    /// Connections harmed and clients ended in this round.
    pub(super) harmed: (usize, usize),
    /// Transfers of this round that went on from what an earlier command had left.
    pub(super) resumed: usize,
    pub(super) transcript: String,
    pub(super) step: u64,
}

/// How a command ended, and what harm was done to it.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    /// The whole lines on standard output.
    pub(super) lines: Vec<Value>,
    pub(super) stderr: String,
    pub(super) fired: Vec<Harm>,
}

impl Ended {
    pub(super) fn disturbed(&self) -> bool {
        self.fired.iter().any(|harm| harm.what.disturbs())
    }
}

impl Lane {
    pub(super) fn new((user, root): (&'static str, &'static str), rig: &Rig) -> Self {
        let (cli, directory, proxy) = (rig.cli(user), rig.local(root), Proxy::start(rig.address()));
        fs::create_dir_all(&directory).unwrap();
        let cli = cli.via(proxy.address()).within(&directory);
        Self {
            user,
            root,
            cli,
            proxy: Arc::new(proxy),
            directory,
            home: rig.home(user),
            digests: Digests::default(),
            has_quota: false,
            model: Model::default(),
            uncertain: None,
            held: BTreeMap::new(),
            lost: Lost::default(),
            sent: BTreeMap::new(),
            fetched: BTreeMap::new(),
            touched: BTreeSet::new(),
            transfers: BTreeMap::new(),
            disturbed: false,
            harmed: (0, 0),
            resumed: 0,
            transcript: String::new(),
            step: 0,
        }
    }

    /// Forgets what belongs to the round before.
    pub(super) fn begin_round(&mut self) {
        self.touched.clear();
        self.transfers.clear();
        self.disturbed = false;
        self.harmed = (0, 0);
        self.resumed = 0;
        self.transcript.clear();
    }

    /// The path on the server.
    pub(super) fn remote(&self, path: &str) -> String {
        format!("/{}/{path}", self.root)
    }

    /// Runs steps until the end of one is not known, which the round's check finds out.
    pub(super) fn run(&mut self, steps: &[Step], scene: &Scene<'_>) -> Checked<usize> {
        self.disturbed |= scene.server_trouble;
        let mut done = 0;
        for step in steps {
            self.step(step, scene)?;
            done += 1;
            if self.uncertain.is_some() {
                break;
            }
        }
        Ok(done)
    }

    fn step(&mut self, step: &Step, scene: &Scene<'_>) -> Checked {
        self.step += 1;
        self.model.staged = self.held.keys().cloned().collect();
        let op = &self.look_into_trash(&step.op, scene.pool)?;
        let expected = self.model.expect(op, self.step);
        let part = match op {
            Op::Get { to, .. } => local::part(&self.directory, to),
            _ => None,
        };
        let tree = self.directory.join(format!("t{}", self.step));
        let commands = command::lines(op, self.root, self.step, scene);
        let ended = self.perform(&commands, step, scene.pool)?;
        for (command, ended) in commands.iter().zip(&ended) {
            writeln!(
                self.transcript,
                "/{}: ftp-cli {}\n  expected {}, ended with {:?}, harmed by {:?}\n  stdout {:?}\n  stderr {}",
                self.root,
                command.join(" "),
                expected.exit,
                ended.code,
                ended.fired,
                ended.lines.iter().map(Value::to_string).collect::<Vec<_>>(),
                ended.stderr.trim_end().replace('\n', "\n         "),
            )
            .expect("a string takes any text");
        }
        self.disturbed |= ended.iter().any(Ended::disturbed);
        self.harmed.0 += ended[0].fired.len();
        self.harmed.1 += ended.iter().filter(|ended| ended.code.is_none()).count();
        for ended in &ended {
            judge::ending(op, &expected, ended, self.has_quota, scene)?;
        }
        match op {
            Op::Get { from, to, resume, .. } => {
                let source = judge::file(&self.model.remote, from);
                let fetched = ended[0].code == Some(exit::DONE);
                local::check(self, to, source, fetched, scene.pool)?;
                if let Some(source) = source.filter(|_| fetched) {
                    judge::fetched_figures(self, to, source, *resume, part, &ended[0], scene)?;
                    self.model.local.insert(to.clone(), source);
                    self.fetched.remove(to);
                } else if let Some(source) = source {
                    let clean = scene.tls || !ended[0].fired.iter().any(|harm| harm.what == Trouble::Flip);
                    let origins = self.fetched.entry(to.clone()).or_default();
                    origins.push(clean.then_some(source));
                }
            }
            Op::GetTree { from } => {
                local::check_tree(self, &tree, from, ended[0].code == Some(exit::DONE), scene.pool)?;
            }
            Op::Put {
                content, to, resume, ..
            } if ended[0].code == Some(exit::DONE) => {
                judge::sent_figures(self, to, *content, *resume, &ended[0], scene)?;
            }
            Op::Versions { path } if ended[0].code == Some(exit::DONE) => judge::versions(self, path, &ended[0])?,
            _ => {}
        }
        self.count_transfers(op, &ended);
        self.keep_books(op, &ended, &expected, scene);
        Ok(())
    }

    /// What is known now of the server's files.
    fn keep_books(&mut self, op: &Op, ended: &[Ended], expected: &super::model::Expected, scene: &Scene<'_>) {
        self.touched.insert(op.subject().to_owned());
        if let Op::Purge {
            item: Some((_, tree)), ..
        } = op
        {
            // It may be gone, however that ended.
            tree.iter().for_each(|(path, node)| self.lost.left(path, node));
        }
        if let Op::Mv { to, .. } | Op::Cp { to, .. } = op {
            self.touched.insert(to.clone());
        }
        let codes: Vec<Option<i32>> = ended.iter().map(|ended| ended.code).collect();
        let is_race = ended.len() > 1;
        let is_known = codes.iter().all(|code| *code == Some(expected.exit)) && !is_race;
        let sent = |content: Content, announced: bool| {
            let flipped = ended
                .iter()
                .any(|ended| ended.fired.iter().any(|harm| harm.what == Trouble::Flip));
            (scene.tls || !flipped).then_some(Origin { content, announced })
        };
        match op {
            Op::Put { content, to, .. } => self.sent.entry(to.clone()).or_default().push(sent(*content, true)),
            Op::PutStdin { content, to, .. } => self.sent.entry(to.clone()).or_default().push(sent(*content, false)),
            Op::Race { to, .. } => self.sent.entry(to.clone()).or_default().push(None),
            Op::PutTree { variant } => {
                for (name, content) in super::pool::tree(*variant) {
                    self.sent
                        .entry(format!("tree/{name}"))
                        .or_default()
                        .push(sent(content, true));
                }
            }
            _ => {}
        }
        if is_known {
            if expected.exit == exit::DONE {
                self.lost.changed(op, &self.model.remote, &expected.after[0]);
                self.model.remote = expected.after[0].clone();
                match op {
                    Op::Put { to, .. } if ended[0].lines.iter().any(|line| line["outcome"] == "identical") => {
                        self.sent.get_mut(to).map(Vec::pop);
                    }
                    Op::Put { to, .. } | Op::PutStdin { to, .. } | Op::Discard { path: to } => self.settled(to),
                    Op::PutTree { variant } => {
                        for (name, _) in super::pool::tree(*variant) {
                            self.settled(&format!("tree/{name}"));
                        }
                    }
                    _ => {}
                }
            } else if let Op::Put { to, .. } | Op::PutStdin { to, .. } = op {
                // Refused before a byte.
                self.sent.get_mut(to).map(Vec::pop);
            }
            return;
        }
        let mut after = expected.after.clone();
        let mut before = self.model.remote.clone();
        if codes.contains(&Some(exit::DONE)) {
            // One of two is there, and which one is not known: the first acknowledged may be overwritten.
            before = after[0].clone();
            if codes == [Some(exit::DONE), Some(exit::DONE)] && after[0] == after[1] {
                after.truncate(1);
            }
        }
        self.uncertain = Some(Uncertain {
            op: op.clone(),
            before,
            after,
            atomic: expected.atomic,
            acknowledged: match op {
                Op::PutTree { .. } => judge::acknowledged(&ended[0].lines, self.root),
                _ => BTreeSet::new(),
            },
        });
    }

    /// Nothing is staged for this target any more.
    fn settled(&mut self, to: &str) {
        self.held.remove(to);
        self.sent.remove(to);
    }

    fn count_transfers(&mut self, op: &Op, ended: &[Ended]) {
        let operation = match op {
            Op::Get { .. } | Op::GetTree { .. } => "get",
            Op::Cp { .. } => "cp",
            _ => "put",
        };
        for line in ended.iter().flat_map(|ended| &ended.lines) {
            let is_done = match line["outcome"].as_str() {
                Some(outcome) => matches!(outcome, "transferred" | "resumed"),
                None => operation == "cp" && line["error"].is_null(),
            };
            let path = if operation == "cp" {
                &line["to"]
            } else {
                &line["remote"]
            };
            self.resumed += usize::from(line["outcome"] == "resumed");
            if let (true, Some(path)) = (is_done, path.as_str()) {
                *self.transfers.entry((operation, path.to_owned())).or_default() += 1;
            }
        }
    }

    /// Resumes each upload that is staged: from what it came from, and where that is not known from
    /// anything. How many there were comes back.
    pub(super) fn resume_all(&mut self, pool: &Pool, tls: bool) -> Checked<usize> {
        self.proxy.set([]);
        let mut resumed = 0;
        for (path, held) in std::mem::take(&mut self.held) {
            let remote = self.remote(&path);
            let content = held.from.map_or(Content::new(8, 0), |from| from.content);
            let source = pool.path(content).display().to_string();
            let ran = self.plain(tls, &["put", "--resume", "--force", "-p", &source, &remote]);
            let line = ran.json().pop().unwrap_or_default();
            writeln!(self.transcript, "resuming {remote} from {content:?}, {held:?}: {line}")
                .expect("a string takes any text");
            if self.has_quota && ran.code() == Some(exit::SPACE) {
                self.plain(tls, &["uploads", "--discard", &remote]).ok();
                continue;
            }
            if ran.code() != Some(exit::DONE) {
                return Err(format!("{remote} can not be resumed: {line} {}", ran.stderr()));
            }
            judge::figures(
                &line,
                content.bytes(),
                held.from.map(|_| held.bytes),
                held.from.is_some(),
            )?;
            let time = Time::Source;
            self.now_has(&path, Stored { content, time });
            resumed += 1;
        }
        Ok(resumed)
    }

    /// A file is there now, with its parents.
    pub(super) fn now_has(&mut self, path: &str, stored: Stored) {
        let mut after = self.model.remote.clone();
        for (end, _) in path.match_indices('/') {
            after.insert(path[..end].to_owned(), Node::Dir);
        }
        after.insert(path.to_owned(), Node::File(stored));
        let op = Op::Discard { path: path.to_owned() };
        self.lost.changed(&op, &self.model.remote, &after);
        self.model.remote = after;
    }

    /// Fetches all of it, and compares.
    pub(super) fn fetch_all(&mut self, pool: &Pool, tls: bool) -> Checked {
        let root = format!("/{}", self.root);
        let ran = self.plain(tls, &["get", "-r", &root, "all"]);
        if ran.code() != Some(exit::DONE) {
            return Err(format!("{root} can not be fetched: {}{}", ran.stdout(), ran.stderr()));
        }
        local::check_tree(self, &self.directory.join("all"), "", true, pool)
    }

    pub(super) fn plain(&self, tls: bool, args: &[&str]) -> Ran {
        let plain: &[&str] = if tls { &[] } else { &["--no-tls"] };
        self.cli.run([&["--json"], plain, args].concat())
    }

    /// Runs commands at once, and does the harm that is planned when its bytes have passed.
    fn perform(&self, commands: &[Vec<String>], step: &Step, pool: &Pool) -> Checked<Vec<Ended>> {
        self.proxy.set(step.faults.iter().map(|harm| Fault {
            direction: harm.direction,
            after: harm.after,
            what: match harm.what {
                Trouble::Cut => Break::Cut,
                Trouble::Reset => Break::Reset,
                Trouble::Flip => Break::Flip,
                Trouble::Slow => Break::Slow,
                Trouble::Hold(_) | Trouble::HoldCut(_) | Trouble::HoldKill => Break::Stall,
                Trouble::Kill | Trouble::Pause(_) | Trouble::Interrupt | Trouble::Terminate => Break::Mark,
            },
        }));
        let mut running: Vec<Running> = commands
            .iter()
            .map(|command| match &step.op {
                Op::PutStdin { content, .. } => {
                    let input = File::open(pool.path(*content)).unwrap();
                    self.cli.spawn_reading(command, input)
                }
                _ => self.cli.spawn(command),
            })
            .collect();
        let began = Instant::now();
        let mut fired = Vec::new();
        while running.iter_mut().any(|running| !running.has_ended()) {
            let now = self.proxy.fired();
            for index in &now[fired.len()..] {
                let harm = step.faults[*index];
                fired.push(harm);
                self.react(harm.what, &mut running[0]);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("a client hangs: ftp-cli {}", commands[0].join(" ")));
            }
            thread::sleep(LOOK_EVERY);
        }
        let late = self.proxy.fired();
        fired.extend(late[fired.len()..].iter().map(|index| step.faults[*index]));
        // Nothing of a dead client shall linger in the middle.
        self.proxy.sever();
        Ok(running
            .into_iter()
            .map(|running| {
                let ran = running.wait();
                let stdout = ran.stdout();
                let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
                Ended {
                    code: ran.code(),
                    lines: whole
                        .lines()
                        .map(|line| serde_json::from_str(line).unwrap_or(Value::Null))
                        .collect(),
                    stderr: ran.stderr(),
                    fired: fired.clone(),
                }
            })
            .collect())
    }

    fn react(&self, what: Trouble, client: &mut Running) {
        let mut signal = |signal| {
            if !client.has_ended() {
                client.signal(signal);
            }
        };
        match what {
            Trouble::Cut | Trouble::Reset | Trouble::Flip | Trouble::Slow => {}
            Trouble::Hold(time) => {
                thread::sleep(Duration::from_millis(time));
                self.proxy.release();
            }
            Trouble::HoldCut(time) => {
                thread::sleep(Duration::from_millis(time));
                self.proxy.sever();
            }
            Trouble::HoldKill => {
                signal(Signal::KILL);
                self.proxy.sever();
            }
            Trouble::Kill => signal(Signal::KILL),
            Trouble::Pause(time) => {
                signal(Signal::STOP);
                thread::sleep(Duration::from_millis(time));
                signal(Signal::CONT);
            }
            Trouble::Interrupt => signal(Signal::INT),
            Trouble::Terminate => signal(Signal::TERM),
        }
    }
}
