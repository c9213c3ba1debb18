//! Parsing paths, as every request does.

use divan::Bencher;
use ftp_store::FilePath;

fn main() {
    divan::main();
}

#[divan::bench(args = ["a", "films/holiday.mp4", "/photos/2026/11/../12/./a long name with blanks.jpg", "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p"])]
fn resolve(bencher: Bencher<'_, '_>, text: &str) {
    let here = FilePath::resolve(&FilePath::root(), b"some/where").expect("a path");
    bencher.bench(|| FilePath::resolve(&here, divan::black_box(text.as_bytes())));
}

#[divan::bench(args = ["films/holiday.mp4"])]
fn show(bencher: Bencher<'_, '_>, text: &str) {
    let path = FilePath::resolve(&FilePath::root(), text.as_bytes()).expect("a path");
    bencher.bench(|| divan::black_box(&path).to_string());
}
