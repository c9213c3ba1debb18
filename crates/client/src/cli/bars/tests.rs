use indicatif::{InMemoryTerm, ProgressDrawTarget};

use super::*;

const MIB: u64 = 1 << 20;

fn screen() -> (InMemoryTerm, Bars) {
    let term = InMemoryTerm::new(20, 100);
    // Drawn as often as something changes, so that the screen is what the bars are.
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 255);
    let bars = Bars::new(MultiProgress::with_draw_target(target));
    (term, bars)
}

fn lines(term: &InMemoryTerm, bars: &Bars) -> Vec<String> {
    for row in bars
        .running
        .values()
        .filter_map(|transfer| transfer.row.as_ref())
        .chain(&bars.total)
    {
        row.bar().force_draw();
    }
    term.contents().lines().map(str::to_owned).collect()
}

#[test]
fn one_file_has_one_bar() {
    let (term, mut bars) = screen();
    bars.planned(1, 100 * MIB);
    bars.started(0, "demo.mp4", Some(100 * MIB));
    bars.moved(0, 25 * MIB);
    let shown = lines(&term, &bars);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(
        shown[0].starts_with("demo.mp4") && shown[0].contains(" 25% 25.0 MiB/100 MiB"),
        "{shown:?}"
    );
    bars.ended(0, true);
    assert_eq!(term.contents(), "");
}

#[test]
fn a_resumed_bar_begins_where_it_resumes() {
    let (term, mut bars) = screen();
    bars.planned(2, 200 * MIB);
    bars.started(0, "demo.mp4", Some(100 * MIB));
    bars.resumed(0, 60 * MIB);
    let shown = lines(&term, &bars);
    assert!(shown[0].contains(" 60% 60.0 MiB/100 MiB"), "{shown:?}");
    assert!(!shown[0].contains("MiB/s"), "kept bytes are no speed: {shown:?}");
    assert!(shown[1].contains(" 30% 60.0 MiB/200 MiB"), "{shown:?}");
}

#[test]
fn several_files_have_a_bar_each_and_a_total() {
    let (term, mut bars) = screen();
    bars.planned(3, 3 * MIB);
    bars.started(0, "a", Some(MIB));
    bars.started(1, "b", Some(MIB));
    bars.moved(0, MIB);
    bars.verifying(0);
    let shown = lines(&term, &bars);
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(
        shown[0].starts_with("a ") && shown[0].ends_with("verifying"),
        "{shown:?}"
    );
    assert!(shown[1].starts_with("b "), "{shown:?}");
    assert!(
        shown[2].starts_with("0 of 3 files") && shown[2].contains(" 33% "),
        "{shown:?}"
    );
    bars.ended(0, true);
    let shown = lines(&term, &bars);
    assert!(shown[1].starts_with("1 of 3 files"), "{shown:?}");
}

#[test]
fn ten_thousand_small_files_share_the_total() {
    let (term, mut bars) = screen();
    bars.planned(10_000, 10_000 * 10);
    for id in 0..5_000 {
        bars.started(id, &format!("file{id}"), Some(10));
        bars.moved(id, 10);
        if id != 4_999 {
            bars.ended(id, true);
        }
    }
    let shown = lines(&term, &bars);
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].starts_with("4999 of 10000 files"), "{shown:?}");
    assert!(
        shown[0].contains(" 50% ") && shown[0].ends_with("file4999"),
        "{shown:?}"
    );
}

#[test]
fn never_more_bars_than_a_person_reads() {
    let (term, mut bars) = screen();
    bars.planned(8, 80 * MIB);
    for id in 0..8 {
        bars.started(id, &format!("film{id}"), Some(10 * MIB));
    }
    assert_eq!(lines(&term, &bars).len(), MAX_ROWS + 1);
    bars.clear();
    assert_eq!(term.contents(), "");
}

#[test]
fn a_file_that_failed_leaves_the_total_to_the_others() {
    let (term, mut bars) = screen();
    bars.planned(2, 20 * MIB);
    bars.started(0, "a", Some(10 * MIB));
    bars.ended(0, false);
    bars.started(1, "b", Some(10 * MIB));
    bars.moved(1, 10 * MIB);
    let shown = lines(&term, &bars);
    assert!(shown[1].contains("100% 10.0 MiB/10.0 MiB"), "{shown:?}");
}

#[test]
fn never_more_files_end_than_there_are() {
    let (term, mut bars) = screen();
    bars.planned(2, 2 * MIB);
    for (id, name) in ["directory", "a", "b"].into_iter().enumerate() {
        let id = id as TransferId;
        bars.started(id, name, Some(MIB));
        bars.ended(id, id != 0);
    }
    let shown = lines(&term, &bars);
    assert!(shown[0].starts_with("2 of 2 files"), "{shown:?}");
    bars.planned(4, 4 * MIB);
    bars.ended(2, false);
    let shown = lines(&term, &bars);
    assert!(shown[0].starts_with("3 of 4 files"), "{shown:?}");
}

#[test]
fn a_length_that_is_not_known_has_no_bar_to_fill() {
    let (term, mut bars) = screen();
    bars.planned(1, 0);
    bars.started(0, "-", None);
    bars.moved(0, 5 * MIB);
    let shown = lines(&term, &bars);
    assert!(
        shown[0].contains("5.0 MiB") && !shown[0].contains('%') && !shown[0].contains('['),
        "{shown:?}"
    );
}

#[test]
fn a_total_that_grows_counts_what_ended_before_and_not_what_failed() {
    let (term, mut bars) = screen();
    bars.planned(1, 4 * MIB);
    bars.started(0, "a", Some(4 * MIB));
    bars.moved(0, MIB);
    bars.ended(0, false);
    bars.planned(2, 8 * MIB);
    bars.started(1, "b", Some(4 * MIB));
    bars.ended(1, true);
    bars.planned(4, 23 * MIB);
    let shown = lines(&term, &bars);
    assert!(
        shown[0].contains("2 of 4 files") && shown[0].contains(" 25% 5.0 MiB/20.0 MiB"),
        "{shown:?}"
    );
}

#[test]
fn without_a_screen_nothing_is_kept() {
    let (_term, mut bars) = screen();
    bars.show(false);
    bars.planned(2, 2 * MIB);
    bars.started(0, "a", Some(MIB));
    bars.moved(0, MIB);
    bars.ended(0, true);
    assert!(bars.running.is_empty() && bars.total.is_none());
    bars.show(true);
    bars.planned(1, MIB);
    bars.started(1, "b", Some(MIB));
    assert_eq!(bars.running.len(), 1);
}
