//! Runs the committed inputs of a fuzz target without libFuzzer, so that `cargo test` alone keeps what
//! fuzzing has found.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Every seed in `fuzz/corpus/TARGET` and every past failure in `fuzz/regressions/TARGET`.
pub(super) fn replay(target: &str, run: impl Fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut played = 0;
    for folder in ["corpus", "regressions"] {
        // A target without past failures has no folder of them.
        let Ok(files) = std::fs::read_dir(fuzz.join(folder).join(target)) else {
            continue;
        };
        for file in files {
            let path = file.expect("the folder can be read").path();
            let input = std::fs::read(&path).expect("the file can be read");
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&input))) {
                eprintln!("{target} fails with {}", path.display());
                resume_unwind(panic);
            }
            played += 1;
        }
    }
    assert!(played > 0, "fuzz/corpus/{target} is empty");
}
