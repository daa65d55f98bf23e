//! Folders that `xp doctor` looks at: how large they are, and how much room is left.

use std::path::{Path, PathBuf};

use crate::fs;

/// Files counted of a folder, at most: enough for any cache, and no walk without end.
const MOST_FILES: usize = 200_000;

/// A folder that is used.
pub struct Place {
    /// What for.
    pub what: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What says so: a variable, an option, or the default.
    pub by: &'static str,
    /// Bytes in it; `None` if it is not there.
    pub size: Option<u64>,
    /// Bytes that can be put there, if the system tells.
    pub free: Option<u64>,
    /// Whether files can be made there, or in the folder in which it would be made.
    pub writable: bool,
    /// Whether files there can be locked.
    pub locks: bool,
}

impl Place {
    /// Looks at a folder; its size is worth counting only where it is a cache.
    pub fn of(what: &'static str, path: PathBuf, by: &'static str, count: bool) -> Self {
        let size = (count && path.is_dir()).then(|| size(&path));
        let file = tempfile::Builder::new().prefix(".xp-").tempfile_in(fs::existing(&path)).ok();
        let locks = file.as_ref().is_some_and(|file| file.as_file().try_lock().is_ok());
        let free = fs::free_space(&path);
        Self { what, path, by, size, free, writable: file.is_some(), locks }
    }
}

/// Which variable says where the hub's cache is.
pub fn hub_cache_by() -> &'static str {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ["HF_HUB_CACHE", "HF_HOME"].into_iter().find(|name| set(name)).unwrap_or("default")
}

/// Bytes of the files below a folder. A link to a file counts nothing: the hub's cache has two names for
/// each of its files.
fn size(folder: &Path) -> u64 {
    let (mut bytes, mut files) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            files += 1;
            let Ok(metadata) = entry.path().symlink_metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                bytes += metadata.len();
            }
            if files == MOST_FILES {
                return bytes;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_asked_for_where_it_would_be() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/b"), b"12345").unwrap();
        let place = Place::of("x", dir.path().to_owned(), "default", true);
        assert_eq!((place.size, place.writable), (Some(5), true));
        let place = Place::of("x", dir.path().join("c/d"), "default", true);
        assert_eq!((place.size, place.writable), (None, true));
    }
}
