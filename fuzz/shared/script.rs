//! Peers as scripts: one line a step, so that an input can be read, written by hand and kept when new
//! messages come.
//!
//! ```text
//! {"id":1,"op":"ping"}     a header frame; `$L` and `$D` stand for length and digest of the body so far
//! =text                    a data frame of this text
//! *70000                   a data frame of so many bytes, byte n with the value n modulo 251
//! !raw                     bytes without a frame
//! +30                      so many seconds pass
//! ~                        the stream ends here
//! ```
//!
//! Any other line is a header frame that is no JSON. Each side adds steps of its own.

use ftp_digest::{Algorithm, Hasher};

/// More would only be slow.
const MOST_BYTES: usize = 300_000;

/// The bytes of a body that was announced, for `$L` and `$D`.
#[derive(Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    position: usize,
}

impl Body {
    /// Another file begins.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// The next data belong here.
    pub(super) fn seek(&mut self, offset: u64) {
        self.position = usize::try_from(offset).unwrap_or(usize::MAX).min(MOST_BYTES);
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        let end = (self.position + bytes.len()).min(2 * MOST_BYTES);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(self.position..end) {
            place.copy_from_slice(&bytes[..end - self.position]);
        }
        self.position = end;
    }

    /// The line with the figures of this body in it.
    pub(super) fn fill_in(&self, line: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(line) else {
            return line.to_vec();
        };
        if !text.contains('$') {
            return line.to_vec();
        }
        let digest = || Hasher::digest(Algorithm::Sha256, &self.bytes).to_string();
        text.replace("$L", &self.bytes.len().to_string())
            .replace("$D", &digest())
            .into_bytes()
    }
}

/// One step of a script, as far as both sides have it in common.
pub(super) enum Step<'a> {
    Data(Vec<u8>),
    End,
    Header(&'a [u8]),
    Raw(&'a [u8]),
    Wait(u64),
}

impl<'a> Step<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Self {
        let number = |text: &[u8]| {
            std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok())
        };
        match line {
            [b'=', text @ ..] => Self::Data(text.to_vec()),
            [b'*', text @ ..] => {
                let length = number(text)
                    .and_then(|length| usize::try_from(length).ok())
                    .unwrap_or(0);
                Self::Data((0..=250).cycle().take(length.min(MOST_BYTES)).collect())
            }
            [b'!', raw @ ..] => Self::Raw(raw),
            [b'+', text @ ..] => Self::Wait(number(text).unwrap_or(1).min(3600)),
            b"~" => Self::End,
            other => Self::Header(other),
        }
    }
}

/// What a script is made of: whole steps with `PATH`, `NUMBER`, `FLAG` and `ID` in them, and what stands
/// for those.
pub(super) struct Grammar {
    pub(super) steps: &'static [&'static str],
    pub(super) paths: &'static [&'static str],
    pub(super) numbers: &'static [&'static str],
}

impl Grammar {
    /// Changes a script by whole steps, in place; its new length comes back. The same seed makes the
    /// same change.
    pub(super) fn mutate(&self, data: &mut [u8], length: usize, seed: u32) -> usize {
        let mut dice = Dice(u64::from(seed) | 1 << 40);
        let mut lines: Vec<Vec<u8>> = data[..length]
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        for _ in 0..=dice.below(3) {
            let (at, other) = (dice.below(lines.len() + 1), dice.below(lines.len().max(1)));
            match dice.below(6) {
                0..3 => drop(lines.splice(at..at, self.step(&mut dice))),
                3 if !lines.is_empty() => drop(lines.remove(other)),
                4 if at < lines.len() => lines.swap(at, other),
                5 if at < lines.len() => drop(lines.splice(at..=at, self.step(&mut dice))),
                _ => {}
            }
        }
        let mut text = lines.join(&b'\n');
        text.truncate(data.len());
        data[..text.len()].copy_from_slice(&text);
        text.len()
    }

    /// A script put together from nothing, the same for the same seed: chance alone, where libFuzzer would
    /// look at what it reaches.
    #[cfg(test)]
    pub(super) fn random(&self, seed: u32) -> Vec<u8> {
        let (mut text, mut length) = (vec![0; 4096], 0);
        for round in 0..12 {
            length = self.mutate(&mut text, length, seed.wrapping_mul(31).wrapping_add(round));
        }
        text.truncate(length);
        text
    }

    fn step(&self, dice: &mut Dice) -> Vec<Vec<u8>> {
        let mut text = (*dice.one_of(self.steps)).to_owned();
        let id = (1 + dice.below(4)).to_string();
        let flags: &[&str] = &["true", "false"];
        for (hole, choices) in [("PATH", self.paths), ("NUMBER", self.numbers), ("FLAG", flags)] {
            while text.contains(hole) {
                let choice = *dice.one_of(choices);
                text = text.replacen(hole, choice, 1);
            }
        }
        text.replace("ID", &id)
            .lines()
            .map(|line| line.as_bytes().to_vec())
            .collect()
    }
}

/// The seeds of a plain test: always the same few, and others when `FUZZ_SEEDS=FROM..TO` asks for them.
#[cfg(test)]
pub(super) fn rounds() -> std::ops::Range<u32> {
    let asked = std::env::var("FUZZ_SEEDS").ok();
    let asked = asked.as_deref().and_then(|text| text.split_once(".."));
    let range = asked.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(0..60)
}

/// Chance from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("below a usize")
    }

    fn one_of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len())]
    }
}
