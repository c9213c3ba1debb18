//! Bars, without any library: one for each candidate, ours in another colour.

use std::fmt::Write as _;

use crate::report::table::{Row, seconds};

const WIDTH: f64 = 860.0;
const LABELS: f64 = 230.0;
const FIGURES: f64 = 130.0;
const BAR: f64 = 18.0;
const STEP: f64 = 24.0;
const HEAD: f64 = 34.0;

/// How many times as long as the shortest a bar is at most.
const LONGEST: f64 = 30.0;

/// What the bars show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    /// The median time; shorter is better.
    Wall,
    /// A figure that only this workload has.
    Extra(&'static str),
}

impl Figure {
    fn of(self, row: &Row<'_>) -> Option<f64> {
        match self {
            Self::Wall => row.wall(),
            Self::Extra(name) => row.extra(name),
        }
    }

    fn title(self) -> String {
        match self {
            Self::Wall => "seconds, median; less is better".to_owned(),
            Self::Extra(name) => format!("{name}, median"),
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Wall => format!("{} s", seconds(value)),
            Self::Extra(_) => format!("{value:.1}"),
        }
    }
}

/// A chart with a part for each kind of work.
pub(crate) fn chart(title: &str, figure: Figure, parts: &[(&str, Vec<Row<'_>>)]) -> String {
    let mut body = String::new();
    let mut y = HEAD;
    for (op, rows) in parts {
        let values: Vec<(&Row<'_>, f64)> = rows.iter().filter_map(|row| Some((row, figure.of(row)?))).collect();
        let least = values.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
        // One that stalls would leave nothing of the others.
        let shown = values
            .iter()
            .map(|(_, value)| *value)
            .filter(|value| *value <= LONGEST * least);
        let most = shown.fold(f64::MIN_POSITIVE, f64::max);
        let _ = writeln!(
            body,
            r#"<text x="8" y="{:.0}" class="op">{}</text>"#,
            y + 16.0,
            escape(op)
        );
        y += STEP;
        for (row, value) in values {
            let width = (WIDTH - LABELS - FIGURES) * (value / most).min(1.0);
            let cut = if value > most { " (bar cut)" } else { "" };
            let class = if row.own { "own" } else { "peer" };
            let middle = y + BAR - 5.0;
            let _ = writeln!(
                body,
                "<text x=\"{:.0}\" y=\"{middle:.0}\" class=\"label\">{}</text>\
                 <rect x=\"{LABELS:.0}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{BAR:.0}\" class=\"{class}\"/>\
                 <text x=\"{:.1}\" y=\"{middle:.0}\">{}</text>",
                LABELS - 8.0,
                escape(row.label),
                LABELS + width + 6.0,
                escape(&format!("{}{cut}", figure.text(value))),
            );
            y += STEP;
        }
        y += STEP / 3.0;
    }
    let head = format!("{title}: {}", figure.title());
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{y:.0}\" viewBox=\"0 0 {WIDTH:.0} {y:.0}\">\n\
         <style>\nsvg {{ background: #fff }}\ntext {{ font: 13px sans-serif; fill: #222 }}\n\
         .label {{ text-anchor: end }}\n.op, .head {{ font-weight: bold }}\n.own {{ fill: #c4551d }}\n\
         .peer {{ fill: #8aa2b8 }}\n</style>\n<text x=\"8\" y=\"20\" class=\"head\">{}</text>\n{body}</svg>\n",
        escape(&head)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
