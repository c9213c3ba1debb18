//! Which trees have a place on the server. The directories of a tree are made without waiting for one another, each
//! with what is missing above it; so whether its parent is there has to be known before.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::observer::Event;
use crate::upload::blocking;
use crate::{Client, Error, RemotePath, TransferOptions};

impl Client {
    /// The files and trees whose parents on the server are there, may be made, or are seen to later; of the others the
    /// observer is told.
    pub(crate) async fn placed(
        &mut self,
        trees: Vec<(PathBuf, RemotePath)>,
        options: &TransferOptions,
    ) -> Vec<(PathBuf, RemotePath)> {
        if options.parents {
            return trees;
        }
        // A file asks for its parent by itself.
        let is_tree = |(local, remote): (PathBuf, RemotePath)| (local.is_dir(), local, remote);
        let looked = blocking(move || Ok(trees.into_iter().map(is_tree).collect::<Vec<_>>()));
        let (mut placed, mut there, mut lost) = (Vec::new(), HashSet::new(), None);
        for (is_tree, local, remote) in looked.await.unwrap_or_default() {
            let parent = remote.parent().filter(|parent| is_tree && !there.contains(parent));
            let found = match (&parent, lost) {
                (None, _) => Ok(()),
                (_, Some(kind)) => Err(Error::NotReached(kind)),
                (Some(parent), None) => self.stat(parent, false).await.map(drop),
            };
            match found {
                Ok(()) => {
                    there.extend(parent);
                    placed.push((local, remote));
                }
                Err(error) => {
                    let path = &local;
                    self.observer.event(&Event::PassedOver { path, error: &error });
                    if !matches!(error, Error::Refused(_)) {
                        lost = Some(error.kind());
                    }
                }
            }
        }
        placed
    }
}
