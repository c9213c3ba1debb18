//! Where files go: the rules behind `LOCAL... [REMOTE]` and `REMOTE... [LOCAL]`.

use std::ffi::{OsStr, OsString};

use super::failure::Failure;

/// Where the sources of a transfer go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Destination<'a> {
    /// The one source becomes this name.
    As(&'a OsStr),
    /// Each keeps its name in the directory where we are.
    Here,
    /// Each keeps its name in this directory.
    Into(&'a OsStr),
}

/// What is known of the last of several names.
pub(crate) trait Last {
    /// Whether it is a directory on the side files go to.
    async fn is_directory(&mut self, name: &OsStr) -> Result<bool, Failure>;

    /// Whether it is there on the side files come from.
    async fn is_source(&mut self, name: &OsStr) -> Result<bool, Failure>;
}

/// Parts the sources from the destination.
///
/// A second name is always the new name of the first, unless it means a directory. The last of more
/// than two has to mean a directory, or be one more source.
pub(crate) async fn split<'a>(
    names: &'a [OsString],
    directory: Option<&'a OsStr>,
    known: &mut impl Last,
) -> Result<(&'a [OsString], Destination<'a>), Failure> {
    if let Some(directory) = directory {
        return Ok((names, Destination::Into(directory)));
    }
    match names {
        [] | [_] => Ok((names, Destination::Here)),
        [sources @ .., last] => {
            if means_directory(last) || known.is_directory(last).await? {
                Ok((sources, Destination::Into(last)))
            } else if sources.len() == 1 {
                Ok((sources, Destination::As(last)))
            } else if known.is_source(last).await? {
                Ok((names, Destination::Here))
            } else {
                let shown = super::quote::quoted(last.as_encoded_bytes());
                Err(Failure::usage(format!(
                    "{shown} is neither a directory to put files into nor one more file"
                ))
                .hint("`-t DIR` names the directory, and `-p` makes it where it is missing"))
            }
        }
    }
}

/// Whether the spelling alone says that a directory is meant.
pub(crate) fn means_directory(name: &OsStr) -> bool {
    let raw = name.as_encoded_bytes();
    let last = raw.rsplit(|byte| *byte == b'/').next().unwrap_or(raw);
    !raw.is_empty() && matches!(last, b"" | b"." | b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories at the target, and files at the source.
    struct World<'a>(&'a [&'a str], &'a [&'a str]);

    impl Last for World<'_> {
        async fn is_directory(&mut self, name: &OsStr) -> Result<bool, Failure> {
            Ok(self.0.iter().any(|known| name == OsStr::new(known)))
        }

        async fn is_source(&mut self, name: &OsStr) -> Result<bool, Failure> {
            Ok(self.1.iter().any(|known| name == OsStr::new(known)))
        }
    }

    fn check(names: &[&str], directory: Option<&str>, mut world: World<'_>) -> Result<(usize, String), Failure> {
        let names: Vec<OsString> = names.iter().map(OsString::from).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sources, destination) = runtime.block_on(split(&names, directory.map(OsStr::new), &mut world))?;
        Ok((sources.len(), format!("{destination:?}")))
    }

    #[test]
    fn one_name_stays_what_it_is() {
        assert_eq!(check(&["a"], None, World(&["a"], &[])).unwrap(), (1, "Here".to_owned()));
    }

    #[test]
    fn a_second_name_renames_even_if_it_is_a_local_file() {
        let renamed = (1, "As(\"demo1.mp4\")".to_owned());
        let world = || World(&[], &["demo.mp4", "demo1.mp4"]);
        assert_eq!(check(&["demo.mp4", "demo1.mp4"], None, world()).unwrap(), renamed);
    }

    #[test]
    fn a_directory_takes_files_under_their_names() {
        let films = (1, "Into(\"films\")".to_owned());
        assert_eq!(check(&["a", "films"], None, World(&["films"], &[])).unwrap(), films);
        for spelling in ["new/", ".", "..", "a/.."] {
            let (sources, destination) = check(&["a", "b", spelling], None, World(&[], &[])).unwrap();
            assert_eq!((sources, destination), (2, format!("Into({spelling:?})")));
        }
    }

    #[test]
    fn many_names_all_go_here_unless_the_last_is_a_directory() {
        let world = || World(&["films"], &["a", "b", "c"]);
        assert_eq!(check(&["a", "b", "c"], None, world()).unwrap(), (3, "Here".to_owned()));
        assert_eq!(
            check(&["a", "b", "films"], None, world()).unwrap(),
            (2, "Into(\"films\")".to_owned())
        );
        let failure = check(&["a", "b", "nowhere"], None, world()).unwrap_err();
        assert!(failure.message.starts_with("nowhere is neither"), "{failure:?}");
    }

    #[test]
    fn a_target_directory_leaves_every_name_a_source() {
        let into = (2, "Into(\"d\")".to_owned());
        assert_eq!(check(&["a", "b"], Some("d"), World(&["b"], &[])).unwrap(), into);
    }

    #[test]
    fn names_that_only_end_in_dots_are_names() {
        assert!(!means_directory(OsStr::new("a..")));
        assert!(!means_directory(OsStr::new("")));
        assert!(means_directory(OsStr::new("/")));
    }
}
