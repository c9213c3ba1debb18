//! An upload of a small file from its beginning to its commit, and what durability costs.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use ftp_digest::{Algorithm, Hasher};
use ftp_store::{Durability, FilePath, Home, Quota, Store, StoreOptions, UploadSpec};
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// A home of its own in the directory for temporary files.
struct Place {
    runtime: Runtime,
    home: Home,
    _directory: TempDir,
}

impl Place {
    fn new(durability: Durability) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let directory = TempDir::new().expect("a directory");
        let store = Store::new(StoreOptions {
            durability,
            ..StoreOptions::default()
        });
        let home = runtime
            .block_on(store.open_home(directory.path(), Quota::default()))
            .expect("a home");
        Self {
            runtime,
            home,
            _directory: directory,
        }
    }
}

#[divan::bench(args = [(4096, "none"), (4096, "full"), (262_144, "none"), (262_144, "full")])]
fn upload(bencher: Bencher<'_, '_>, (bytes, durability): (usize, &str)) {
    let place = Place::new(if durability == "full" {
        Durability::Full
    } else {
        Durability::None
    });
    let chunk = Bytes::from(ftp_tests::noise(bytes, 1));
    let digest = Hasher::digest(Algorithm::Sha256, &chunk);
    let number = AtomicU64::new(0);
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        let name = format!("file{}", number.fetch_add(1, Ordering::Relaxed));
        let path = FilePath::resolve(&FilePath::root(), name.as_bytes()).expect("a path");
        let spec = UploadSpec {
            size: Some(bytes as u64),
            ..UploadSpec::default()
        };
        place.runtime.block_on(async {
            let mut upload = place.home.begin_upload(&path, spec).await.expect("a place");
            upload.write_at(0, chunk.clone()).await.expect("room");
            upload.commit(bytes as u64, digest).await.expect("a commit")
        })
    });
}
