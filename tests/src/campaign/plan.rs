//! From a seed to everything that a campaign will do and what it will do it harm with.

use std::collections::BTreeMap;
use std::fmt;

use super::model::{Model, Node, Op, Resume, Tree, below};
use super::pool::Content;
use super::random::Random;
use crate::proxy::Direction;

/// The lanes: who works in which directory. Two of them share a home, and work in it at once.
pub(super) const LANES: [(&str, &str); 3] = [("alice", "p"), ("alice", "q"), ("bob", "r")];

/// A server's life from its first start, with its users.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    pub(super) seed: u64,
    /// Whether TLS is spoken.
    pub(super) tls: bool,
    /// Whether uploads are durable before they are acknowledged.
    pub(super) durable: bool,
    /// Bob's quota in MiB, if he has one.
    pub(super) quota_mib: Option<u64>,
    pub(super) rounds: Vec<Round>,
}

/// What happens between two checks.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// What each lane does, one after another.
    pub(super) lanes: [Vec<Step>; LANES.len()],
    pub(super) server: Option<ServerEvent>,
    /// What is damaged on the disk after the round, if anything is there that can be.
    pub(super) rot: Option<Rot>,
}

/// A byte that changes on the disk, in what is kept of a broken transfer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rot {
    /// In which lane.
    pub(super) lane: usize,
    /// Whether of an upload rather than a download.
    pub(super) upload: bool,
    /// Which byte, taken modulo the length.
    pub(super) offset: u64,
}

/// One command, and the harm done to it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) op: Op,
    /// One for each connection that it makes.
    pub(super) faults: Vec<Harm>,
}

/// What happens to one connection of a command, or to the command itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Harm {
    pub(super) direction: Direction,
    /// How many bytes have passed when it happens.
    pub(super) after: u64,
    pub(super) what: Trouble,
}

/// The kinds of harm. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Both ends see the connection end.
    Cut,
    /// Both ends see the connection reset.
    Reset,
    /// A byte is changed.
    Flip,
    /// Bytes come in small pieces for a while.
    Slow,
    /// Nothing passes for so long, then everything.
    Hold(u64),
    /// Nothing passes for so long, then the connection ends.
    HoldCut(u64),
    /// Nothing passes, then the client is killed.
    HoldKill,
    /// The client is killed by SIGKILL, as it is.
    Kill,
    /// The client is stopped for so long.
    Pause(u64),
    /// The client gets SIGINT.
    Interrupt,
    /// The client gets SIGTERM.
    Terminate,
}

/// What happens to the server, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerEvent {
    /// How many bytes all lanes have moved in this round. It happens at the round's end at the latest.
    pub(super) after: u64,
    pub(super) what: ServerTrouble,
}

/// What happens to the server. Times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerTrouble {
    /// SIGKILL, and a new start after so long.
    Kill(u64),
    /// SIGTERM, and a new start after so long.
    Terminate(u64),
    /// SIGSTOP, and SIGCONT after so long.
    Pause(u64),
    /// A changed configuration is read.
    Reload,
}

impl Episode {
    /// The plan that follows from the seed. More rounds begin like fewer.
    pub(super) fn new(seed: u64, rounds: usize) -> Self {
        let mut random = Random::new(seed);
        let tls = random.percent(50);
        let durable = random.percent(80);
        let quota_mib = random.percent(40).then(|| 4 + random.below(20));
        let mut lanes: [Planner; LANES.len()] = std::array::from_fn(|lane| Planner {
            random: Random::new(random.next()),
            // Of its own, so that the plans of older seeds stay what they were.
            of_trash: Random::new(seed.wrapping_mul(3).wrapping_add(lane as u64)),
            tls,
            model: Model::default(),
            gone: BTreeMap::new(),
            step: 0,
        });
        let rounds = (0..rounds)
            .map(|_| Round {
                lanes: std::array::from_fn(|lane| {
                    let steps = 1 + lanes[lane].random.below(3);
                    (0..steps).map(|_| lanes[lane].step()).collect()
                }),
                server: server_event(&mut random),
                rot: rot(&mut random),
            })
            .collect();
        Self {
            seed,
            tls,
            durable,
            quota_mib,
            rounds,
        }
    }
}

fn rot(random: &mut Random) -> Option<Rot> {
    let happens = random.percent(25);
    let rot = Rot {
        lane: usize::try_from(random.below(LANES.len() as u64)).expect("an index"),
        upload: random.percent(60),
        offset: random.next(),
    };
    happens.then_some(rot)
}

fn server_event(random: &mut Random) -> Option<ServerEvent> {
    // Always the same number of draws, so that one choice does not move all others.
    let (happens, early, time) = (random.percent(30), random.percent(30), random.below(400));
    let after = random.below(if early { 32 << 10 } else { 3 << 20 });
    let what = random.weighted(&[
        (4, ServerTrouble::Kill(time)),
        (3, ServerTrouble::Terminate(time)),
        (2, ServerTrouble::Pause(time)),
        (1, ServerTrouble::Reload),
    ]);
    happens.then_some(ServerEvent { after, what })
}

/// Chooses a lane's steps. It supposes that all before have succeeded, so that most make sense.
struct Planner {
    random: Random,
    of_trash: Random,
    tls: bool,
    model: Model,
    /// The newest version of what should be in the trash.
    gone: BTreeMap<String, Tree>,
    step: u64,
}

#[derive(Clone, Copy)]
enum Choice {
    Put,
    PutStdin,
    PutTree,
    Race,
    Get,
    GetTree,
    Rm,
    Mv,
    Cp,
    Mkdir,
    Discard,
}

impl Planner {
    fn step(&mut self) -> Step {
        let op = self.op();
        let op = self.op_on_trash().unwrap_or(op);
        let bytes = op.bytes(&self.model);
        let faults = self.faults(&op, bytes);
        self.step += 1;
        let expected = self.model.expect(&op, self.step);
        let before = std::mem::replace(&mut self.model.remote, expected.after[0].clone());
        self.remember_gone(&op, &before);
        if let (Op::Get { from, to, .. }, super::model::exit::DONE) = (&op, expected.exit)
            && let Some(Node::File(stored)) = self.model.remote.get(from)
        {
            self.model.local.insert(to.clone(), *stored);
        }
        Step { op, faults }
    }

    fn op(&mut self) -> Op {
        let choice = self.random.weighted(&[
            (34, Choice::Put),
            (6, Choice::PutStdin),
            (5, Choice::PutTree),
            (4, Choice::Race),
            (18, Choice::Get),
            (4, Choice::GetTree),
            (8, Choice::Rm),
            (7, Choice::Mv),
            (6, Choice::Cp),
            (5, Choice::Mkdir),
            (3, Choice::Discard),
        ]);
        let force = self.random.percent(80);
        let resume = self
            .random
            .weighted(&[(6, Resume::Auto), (3, Resume::Always), (1, Resume::Never)]);
        let (file, other, dir) = (self.file(), self.file(), self.dir());
        match choice {
            Choice::Put => Op::Put {
                content: self.content(),
                to: file,
                force,
                resume,
            },
            Choice::PutStdin => Op::PutStdin {
                content: self.content(),
                to: file,
                force,
            },
            Choice::Race => Op::Race {
                contents: [self.content(), self.content()],
                to: file,
            },
            Choice::PutTree => Op::PutTree {
                variant: usize::from(self.random.percent(50)),
            },
            Choice::Get => Op::Get {
                from: self.existing(file),
                to: self.random.pick(&["l0", "l1", "l2"]).to_owned(),
                force,
                resume,
            },
            Choice::GetTree => Op::GetTree {
                from: self.random.pick(&["tree", "d0", "d1"]).to_owned(),
            },
            Choice::Rm if self.random.percent(40) => Op::Rm {
                path: if self.random.percent(30) {
                    "tree".to_owned()
                } else {
                    dir
                },
                recursive: self.random.percent(90),
                force: !force,
            },
            Choice::Rm => Op::Rm {
                path: self.existing(file),
                recursive: false,
                force: !force,
            },
            Choice::Mv if self.random.percent(30) => Op::Mv {
                from: dir,
                to: self.dir(),
                force,
            },
            Choice::Mv => {
                let from = self.existing(file);
                let to = different(&from, other);
                Op::Mv { from, to, force }
            }
            Choice::Cp => {
                let from = self.existing(file);
                let to = different(&from, other);
                Op::Cp { from, to, force }
            }
            Choice::Mkdir => Op::Mkdir {
                path: match self.random.below(3) {
                    0 => format!("{dir}/d3/d4"),
                    _ => dir,
                },
                parents: self.random.percent(60),
            },
            Choice::Discard => Op::Discard { path: file },
        }
    }

    /// Now and then something about what was removed or replaced, once there is any of it.
    fn op_on_trash(&mut self) -> Option<Op> {
        // Always the same number of draws.
        let (happens, what, at) = (
            self.of_trash.percent(16),
            self.of_trash.below(10),
            self.of_trash.below(64),
        );
        let force = self.of_trash.percent(70);
        let index = usize::try_from(at).expect("an index");
        let path = self.gone.keys().nth(index % self.gone.len().max(1))?.clone();
        happens.then(|| match what {
            0..7 => Op::Restore {
                found: self.gone.get(&path).cloned(),
                path,
                force,
            },
            7 | 8 => Op::Versions { path },
            _ => Op::Purge { path, item: None },
        })
    }

    fn remember_gone(&mut self, op: &Op, before: &Tree) {
        match op {
            Op::Restore { path, .. } if self.model.remote.contains_key(path) => drop(self.gone.remove(path)),
            Op::Purge { path, .. } => drop(self.gone.remove(path)),
            Op::Mv { .. } => {}
            _ => {
                for (path, node) in before {
                    let is_gone = !self.model.remote.contains_key(path);
                    let is_replaced = matches!(node, Node::File(_)) && self.model.remote.get(path) != Some(node);
                    if is_gone || is_replaced {
                        let tree = below(before, path).map(|(path, node)| (path.to_owned(), *node));
                        self.gone.insert(path.clone(), tree.collect());
                    }
                }
            }
        }
    }

    fn faults(&mut self, op: &Op, bytes: u64) -> Vec<Harm> {
        let number = self.random.weighted(&[(50, 0), (36, 1), (10, 2), (4, 3)]);
        let is_get = matches!(op, Op::Get { .. } | Op::GetTree { .. });
        (0..number)
            .map(|_| {
                let (mostly, rarely) = if is_get {
                    (Direction::Down, Direction::Up)
                } else {
                    (Direction::Up, Direction::Down)
                };
                let most_go_this_way = self.random.percent(85);
                let direction = if most_go_this_way { mostly } else { rarely };
                // What surrounds the bytes of the file: handshake, login, requests, answers.
                let around = 6 * 1024;
                // The end is where it is decided.
                let at_the_end = self.random.percent(30);
                let (from, limit) = match (most_go_this_way, at_the_end) {
                    (true, true) => (bytes, around),
                    (true, false) => (0, bytes + around),
                    (false, _) => (0, around),
                };
                let time = 1 + self.random.below(120);
                let what = self.random.weighted(&[
                    (20, Trouble::Cut),
                    (12, Trouble::Reset),
                    // Without TLS only digests can find it.
                    (if self.tls { 8 } else { 24 }, Trouble::Flip),
                    (5, Trouble::Slow),
                    (8, Trouble::Hold(time)),
                    (8, Trouble::HoldCut(time)),
                    (10, Trouble::HoldKill),
                    (14, Trouble::Kill),
                    (6, Trouble::Pause(time)),
                    (5, Trouble::Interrupt),
                    (3, Trouble::Terminate),
                ]);
                Harm {
                    direction,
                    after: from + self.random.below(limit),
                    what,
                }
            })
            .collect()
    }

    /// Mostly small, for a round has to be cheap.
    fn content(&mut self) -> Content {
        let sizes = Content::SIZES as u64;
        let size = match self.random.below(10) {
            0..5 => self.random.below(6),
            5..8 => 6 + self.random.below(3),
            _ => 9 + self.random.below(sizes - 9),
        };
        let variant = self.random.below(Content::VARIANTS as u64);
        let index = |number: u64| usize::try_from(number).expect("an index");
        Content::new(index(size), index(variant))
    }

    /// A name of a file, at the top or in a directory that need not exist.
    fn file(&mut self) -> String {
        let name = self.random.pick(&["f0", "f1", "f2", "f3"]);
        if self.random.percent(70) {
            name.to_owned()
        } else {
            format!("{}/{name}", self.random.pick(&["d0", "d1"]))
        }
    }

    fn dir(&mut self) -> String {
        self.random.pick(&["d0", "d1", "d2"]).to_owned()
    }

    /// Mostly a file that is there, if the lane has one.
    fn existing(&mut self, other: String) -> String {
        let files: Vec<&str> = (self.model.remote.iter())
            .filter(|(_, node)| matches!(node, Node::File(_)))
            .map(|(path, _)| path.as_str())
            .collect();
        if files.is_empty() || self.random.percent(15) {
            return other;
        }
        self.random.pick(&files).to_owned()
    }
}

fn different(from: &str, to: String) -> String {
    if from == to { format!("{to}x") } else { to }
}

impl Trouble {
    /// Whether the client can notice.
    pub(super) fn disturbs(self) -> bool {
        !matches!(self, Self::Slow | Self::Hold(_) | Self::Pause(_))
    }

    /// Whether the client may end by a signal of the campaign.
    pub(super) fn kills(self) -> bool {
        matches!(self, Self::HoldKill | Self::Kill | Self::Terminate)
    }
}

impl ServerTrouble {
    /// Whether clients can notice.
    pub(super) fn disturbs(self) -> bool {
        matches!(self, Self::Kill(_) | Self::Terminate(_))
    }
}

impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: tls {}, durable {}, quota of bob {:?} MiB, {} rounds",
            self.seed,
            self.tls,
            self.durable,
            self.quota_mib,
            self.rounds.len()
        )
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((user, root), steps) in LANES.iter().zip(&self.lanes) {
            for step in steps {
                writeln!(f, "  {user} in /{root}: {:?}", step.op)?;
                for harm in &step.faults {
                    writeln!(
                        f,
                        "      {:?} after {} bytes {:?}",
                        harm.what, harm.after, harm.direction
                    )?;
                }
            }
        }
        if let Some(event) = &self.server {
            writeln!(f, "  the server: {:?} after {} bytes of all", event.what, event.after)?;
        }
        match &self.rot {
            Some(rot) => writeln!(f, "  the disk: {rot:?}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed_and_more_rounds_begin_like_fewer() {
        let text = |seed, rounds| {
            let episode = Episode::new(seed, rounds);
            let rounds = episode.rounds.iter().take(5);
            rounds.map(ToString::to_string).collect::<String>()
        };
        assert_eq!(text(7, 5), text(7, 9));
        assert_ne!(text(7, 5), text(8, 5));
    }

    #[test]
    fn every_kind_of_operation_and_harm_is_planned() {
        let mut said = String::new();
        for seed in 0..40 {
            for round in Episode::new(seed, 10).rounds {
                said.push_str(&round.to_string());
            }
        }
        for kind in [
            "Put {",
            "PutStdin",
            "PutTree",
            "Race",
            "Get {",
            "GetTree",
            "Rm {",
            "Mv {",
            "Cp {",
            "Mkdir",
            "Discard",
            "Restore",
            "Versions",
            "Purge",
            "Cut",
            "Reset",
            "Flip",
            "Slow",
            "Hold(",
            "HoldCut",
            "HoldKill",
            "Kill after",
            "Pause",
            "Interrupt",
            "Terminate",
            "server: Kill",
            "server: Terminate",
            "server: Pause",
            "server: Reload",
        ] {
            assert!(said.contains(kind), "{kind} is never planned");
        }
    }
}
