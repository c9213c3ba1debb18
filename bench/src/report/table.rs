//! Medians, spread, and ratios to the best peer.

use std::fmt::Write as _;

use crate::results::{Results, Sample};

/// All runs of one candidate in one kind of work.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) candidate: &'a str,
    pub(crate) label: &'a str,
    pub(crate) own: bool,
    /// Runs that did not fail.
    pub(crate) good: Vec<&'a Sample>,
    pub(crate) failures: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// The median of a figure; `None` when every run failed.
    pub(crate) fn median(&self, figure: impl Fn(&Sample) -> f64) -> Option<f64> {
        median(self.good.iter().map(|sample| figure(sample)).collect())
    }

    /// The median time in seconds.
    pub(crate) fn wall(&self) -> Option<f64> {
        self.median(|sample| sample.wall)
    }

    /// The median of a figure that only this workload has.
    pub(crate) fn extra(&self, name: &str) -> Option<f64> {
        median(
            self.good
                .iter()
                .filter_map(|sample| sample.extra.get(name).copied())
                .collect(),
        )
    }

    fn spread(&self) -> Option<(f64, f64)> {
        let walls = || self.good.iter().map(|sample| sample.wall);
        Some((walls().min_by(f64::total_cmp)?, walls().max_by(f64::total_cmp)?))
    }

    fn of(first: &'a Sample) -> Self {
        Self {
            candidate: &first.candidate,
            label: &first.label,
            own: first.own,
            good: Vec::new(),
            failures: Vec::new(),
        }
    }
}

/// The middle value.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        f64::midpoint(values[middle - 1], upper)
    })
}

/// The kinds of work of a workload, in the order in which they ran.
pub(crate) fn ops<'a>(results: &'a Results, workload: &str) -> Vec<&'a str> {
    let mut ops: Vec<&str> = Vec::new();
    for sample in results.samples.iter().filter(|sample| sample.workload == workload) {
        if !ops.contains(&sample.op.as_str()) {
            ops.push(&sample.op);
        }
    }
    ops
}

/// Everybody's runs in one kind of work: ours first, then the peers, the fastest first.
pub(crate) fn rows<'a>(results: &'a Results, workload: &str, op: &str) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    for sample in results
        .samples
        .iter()
        .filter(|sample| sample.workload == workload && sample.op == op)
    {
        let index = match rows.iter().position(|row| row.candidate == sample.candidate) {
            Some(index) => index,
            None => {
                rows.push(Row::of(sample));
                rows.len() - 1
            }
        };
        match &sample.failure {
            Some(why) => rows[index].failures.push(why),
            None => rows[index].good.push(sample),
        }
    }
    rows.sort_by(|left, right| {
        let wall = |row: &Row<'_>| row.wall().unwrap_or(f64::INFINITY);
        right.own.cmp(&left.own).then(wall(left).total_cmp(&wall(right)))
    });
    rows
}

/// The fastest peer.
pub(crate) fn best<'r, 'a>(rows: &'r [Row<'a>]) -> Option<&'r Row<'a>> {
    rows.iter().find(|row| !row.own && row.wall().is_some())
}

/// The tables of a workload in Markdown, one for each kind of work.
pub(crate) fn of(results: &Results, workload: &str) -> Vec<String> {
    let table = |op: &&str| {
        let rows = rows(results, workload, op);
        let peer = best(&rows).and_then(Row::wall);
        let extras = extras(&rows);
        let mut text = format!("| {op} | s | spread | MB/s | CPU s client | server | MiB client | server |");
        for name in &extras {
            let _ = write!(text, " {name} |");
        }
        text += " against the best peer |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";
        text += &" ---: |".repeat(extras.len() + 1);
        text.push('\n');
        for row in &rows {
            text += &line(row, peer, &extras);
        }
        text
    };
    ops(results, workload).iter().map(table).collect()
}

/// The names of further figures of these rows.
fn extras(rows: &[Row<'_>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in rows
        .iter()
        .flat_map(|row| &row.good)
        .flat_map(|sample| sample.extra.keys())
    {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn line(row: &Row<'_>, peer: Option<f64>, extras: &[String]) -> String {
    let label = if row.own {
        format!("**{}**", row.label)
    } else {
        row.label.to_owned()
    };
    let failed = match row.failures.len() {
        0 => String::new(),
        count => format!(
            " ({count} of {} failed: {})",
            count + row.good.len(),
            shorten(row.failures[0])
        ),
    };
    let (Some(wall), Some((least, most))) = (row.wall(), row.spread()) else {
        return format!("| {label}{failed} | - | | | | | | |{} |\n", " |".repeat(extras.len()));
    };
    let mut text = format!(
        "| {label}{failed} | {} | {}–{} |",
        seconds(wall),
        seconds(least),
        seconds(most)
    );
    let bytes = row.good[0].bytes;
    let rate = if bytes > 0 {
        format!(" {:.0} |", bytes as f64 / 1e6 / wall)
    } else {
        " |".to_owned()
    };
    text += &rate;
    for figure in [|it: &Sample| it.client_cpu, |it: &Sample| it.server_cpu] {
        let _ = write!(text, " {} |", row.median(figure).map(seconds).unwrap_or_default());
    }
    for figure in [|it: &Sample| it.client_memory, |it: &Sample| it.server_memory] {
        let peak = row.good.iter().map(|sample| figure(sample)).max().unwrap_or(0);
        let _ = write!(text, " {:.0} |", peak as f64 / 1_048_576.0);
    }
    for name in extras {
        let value = row.extra(name).map(|value| format!("{value:.1}")).unwrap_or_default();
        let _ = write!(text, " {value} |");
    }
    let ratio = peer
        .filter(|_| row.own)
        .map(|peer| format!("{:.2}x", peer / wall))
        .unwrap_or_default();
    let _ = writeln!(text, " {ratio} |");
    text
}

/// A time with three digits.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        _ if value < 1.0 => format!("{value:.3}"),
        _ if value < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// What fits into a table.
fn shorten(text: &str) -> String {
    text.chars()
        .map(|c| if c == '|' || c == '\n' { ' ' } else { c })
        .take(80)
        .collect()
}
