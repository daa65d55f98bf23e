//! Folders that `xp doctor` looks at: how large they are, and how much room is left.

use std::path::{Path, PathBuf};
use std::process::Command;

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
}

impl Place {
    /// Looks at a folder; its size is worth counting only where it is a cache.
    pub fn of(what: &'static str, path: PathBuf, by: &'static str, count: bool) -> Self {
        let size = (count && path.is_dir()).then(|| size(&path));
        let there = existing(&path);
        let writable = tempfile::Builder::new().prefix(".xp-").tempfile_in(&there).is_ok();
        let free = free(&there);
        Self { what, path, by, size, free, writable }
    }
}

/// Which variable says where the hub's cache is.
pub fn hub_cache_by() -> &'static str {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ["HF_HUB_CACHE", "HF_HOME"].into_iter().find(|name| set(name)).unwrap_or("default")
}

/// The folder, or the nearest one above it that is there.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/")).to_owned()
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

/// Bytes left on a folder's disk. The standard library has no call for it, `df` is everywhere.
fn free(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).env("LC_ALL", "C").output().ok()?;
    if !output.status.success() {
        return None;
    }
    free_in(&String::from_utf8_lossy(&output.stdout))
}

/// The fourth number column of POSIX `df -Pk`, counted from the end: a device's name may hold spaces.
fn free_in(table: &str) -> Option<u64> {
    let line = table.lines().nth(1)?;
    let percent = line.split_whitespace().position(|word| word.ends_with('%'))?;
    let available = line.split_whitespace().nth(percent.checked_sub(1)?)?;
    Some(available.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_read_from_df() {
        let table = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                     map auto home 1000 400 600 40% /a b\n";
        assert_eq!(free_in(table), Some(600 << 10));
        assert_eq!(free_in("nothing"), None);
    }

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
