//! Turning trees into lists: directories before what is in them.

use std::path::Path;

use ftp_proto::{Kind, decode_name};

use crate::upload::blocking;
use crate::{Client, Error, GetItem, PutItem, RemotePath};

/// The deepest tree that is walked; deeper ones are loops or attacks.
const MAX_DEPTH: usize = 128;

impl Client {
    /// Lists a local file or tree for [`Client::put`]. Symbolic links are followed when named, not when
    /// met in a tree; those, FIFOs, sockets and devices are passed over and come back as errors beside the list.
    ///
    /// # Errors
    /// [`Error::Local`] when `local` itself can not be read.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn walk_local(local: &Path, remote: &RemotePath) -> Result<(Vec<PutItem>, Vec<Error>), Error> {
        let (local, remote) = (local.to_path_buf(), remote.clone());
        blocking(move || {
            let metadata = std::fs::metadata(&local).map_err(Error::local("cannot open", &local))?;
            let mut walk = LocalWalk::default();
            walk.visit(&local, remote, &metadata, 0);
            Ok((walk.items, walk.errors))
        })
        .await
    }

    /// Lists a file or tree on the server for [`Client::get`]. Symbolic links, FIFOs and the like that are
    /// met in a tree are passed over and come back beside the list.
    ///
    /// # Errors
    /// What the server refuses; [`Error::UnsafeName`] for a name that would lead out of `local`.
    ///
    /// # Cancel safety
    /// A dropped walk gives up the connection.
    pub async fn walk_remote(
        &mut self,
        remote: &RemotePath,
        local: &Path,
    ) -> Result<(Vec<GetItem>, Vec<RemotePath>), Error> {
        let entry = self.stat(remote, false).await?;
        let first = GetItem {
            remote: remote.clone(),
            local: local.to_path_buf(),
            kind: entry.kind,
            size: entry.size,
        };
        let deepest = local.components().count() + MAX_DEPTH;
        let (mut items, mut skipped) = (vec![first], Vec::new());
        let mut next = 0;
        while let Some(item) = items.get(next) {
            next += 1;
            if item.kind != Kind::Dir {
                continue;
            }
            let (remote, local) = (item.remote.clone(), item.local.clone());
            if local.components().count() > deepest {
                return Err(Error::Misbehaved(format!("a tree deeper than {MAX_DEPTH} directories")));
            }
            let before = (items.len(), skipped.len());
            let mut retry = self.retry();
            while let Err(error) = self.walk_directory(&remote, &local, &mut items, &mut skipped).await {
                items.truncate(before.0);
                skipped.truncate(before.1);
                retry.pause(error).await?;
            }
        }
        Ok((items, skipped))
    }

    /// Adds what is in one directory; after an error only some of it.
    async fn walk_directory(
        &mut self,
        remote: &RemotePath,
        local: &Path,
        items: &mut Vec<GetItem>,
        skipped: &mut Vec<RemotePath>,
    ) -> Result<(), Error> {
        let open = self.open_listing(remote, false).await?;
        let mut listing = self.listing(open);
        while let Some(page) = listing.next_page().await? {
            for entry in page {
                if matches!(entry.kind, Kind::Link | Kind::Other) {
                    skipped.push(remote.join(&entry.name));
                    continue;
                }
                items.push(GetItem {
                    remote: remote.join(&entry.name),
                    local: local.join(safe_name(&entry.name)?),
                    kind: entry.kind,
                    size: entry.size,
                });
            }
        }
        Ok(())
    }
}

/// The name as a local file name, if it is one component and no more.
fn safe_name(wire: &str) -> Result<std::ffi::OsString, Error> {
    use std::os::unix::ffi::OsStringExt as _;
    let raw = decode_name(wire).map_err(|_| Error::UnsafeName(wire.to_owned()))?;
    if raw.is_empty() || raw.contains(&b'/') || raw.contains(&0) || raw == b"." || raw == b".." {
        return Err(Error::UnsafeName(wire.to_owned()));
    }
    Ok(std::ffi::OsString::from_vec(raw))
}

#[derive(Default)]
struct LocalWalk {
    items: Vec<PutItem>,
    errors: Vec<Error>,
}

impl LocalWalk {
    fn visit(&mut self, local: &Path, remote: RemotePath, metadata: &std::fs::Metadata, depth: usize) {
        if metadata.is_file() {
            self.items.push(PutItem {
                local: local.to_path_buf(),
                remote,
                kind: Kind::File,
                size: metadata.len(),
            });
        } else if metadata.is_dir() {
            self.items.push(PutItem {
                local: local.to_path_buf(),
                remote: remote.clone(),
                kind: Kind::Dir,
                size: 0,
            });
            if let Err(error) = self.directory(local, &remote, depth) {
                self.errors.push(Error::local("cannot list", local)(error));
            }
        } else {
            self.errors.push(Error::NotAFile(local.to_path_buf()));
        }
    }

    fn directory(&mut self, local: &Path, remote: &RemotePath, depth: usize) -> std::io::Result<()> {
        if depth >= MAX_DEPTH {
            return Err(rustix::io::Errno::LOOP.into());
        }
        for entry in std::fs::read_dir(local)? {
            let entry = entry?;
            let path = entry.path();
            let name = RemotePath::new(&entry.file_name());
            match entry.metadata() {
                Ok(metadata) => self.visit(&path, remote.join(name.as_wire()), &metadata, depth + 1),
                Err(error) => self.errors.push(Error::local("cannot read", &path)(error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["..", ".", "", "a/b", "/etc/passwd", "../x", "\0zz"] {
            assert!(matches!(safe_name(name), Err(Error::UnsafeName(_))), "{name:?}");
        }
        assert_eq!(safe_name("..a b\n").unwrap(), "..a b\n");
    }

    #[tokio::test]
    async fn a_local_tree_becomes_a_list_with_directories_first() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("a/b/link")).unwrap();
        let (items, errors) = Client::walk_local(dir.path(), &RemotePath::from("/t")).await.unwrap();
        let remotes: Vec<_> = items.iter().map(|item| item.remote.as_wire()).collect();
        assert_eq!(remotes, ["/t", "/t/a", "/t/a/b", "/t/a/b/file"]);
        assert!(matches!(&errors[..], [Error::NotAFile(_)]));
    }
}
