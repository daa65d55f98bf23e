//! Files: atomic writes, locks and content hashes, with the path in every error.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A failed file operation: what was tried, on which path, and the system's reason.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`: {source}", path.display())]
pub struct Error {
    /// What was tried, as a verb phrase: `read`, `write`, `lock`.
    pub action: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

impl Error {
    /// Wraps an I/O error with its action and path: `map_err(Error::at("read", path))`.
    pub fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

/// The result of a file operation.
pub type Result<T> = std::result::Result<T, Error>;

/// How files are named while they are written.
const UNFINISHED: (&str, &str) = (".xp-", ".tmp");

/// Reads a whole file.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::at("read", path))
}

/// Reads a whole file of at most `limit` bytes; `None` if it is longer. A pipe or a device, whose size nobody
/// knows beforehand, is read no further either.
///
/// # Errors
/// If the file cannot be read.
pub fn read_at_most(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = File::open(path).map_err(Error::at("read", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::at("read", path))?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Reads a whole UTF-8 file.
///
/// # Errors
/// If the file cannot be read or is not UTF-8.
pub fn read_to_string(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::at("read", path))
}

/// Creates a folder and its parents; an existing folder is fine.
///
/// # Errors
/// If a folder cannot be created.
pub fn create_dir_all(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::at("create folder", path))
}

/// Replaces a file by `bytes` in one step: written beside it, synced, then renamed, so that a
/// reader (or a kill) sees the old file or the new one, never a part. Parents are created.
///
/// # Errors
/// If any of the steps fails; the old file is then still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// As [`write_atomic`], with the content produced by `write`.
///
/// # Errors
/// If any of the steps or `write` fails; the old file is then still there.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let parent = parent(path);
    create_dir_all(parent)?;
    let fail = |source| Error { action: "write", path: path.to_owned(), source };
    let mut temp = unfinished_name().tempfile_in(parent).map_err(fail)?;
    {
        let mut buffered = io::BufWriter::with_capacity(1 << 20, temp.as_file_mut());
        write(&mut buffered).map_err(fail)?;
        buffered.flush().map_err(fail)?;
    }
    temp.as_file().sync_all().map_err(fail)?;
    temp.persist(path).map_err(|e| fail(e.error))?;
    sync_dir(parent)
}

/// Gives a file that will not change a second name in one step, or a copy where the file system has
/// no second names. Parents are created.
///
/// # Errors
/// If the file cannot be read or the copy not written; what `to` named is then still there.
pub fn link_atomic(from: &Path, to: &Path) -> Result<()> {
    let parent = parent(to);
    create_dir_all(parent)?;
    // A rename from one name of a file to another does nothing, and leaves both.
    if same_file(from, to) {
        return Ok(());
    }
    if let Ok(temp) = unfinished_name().make_in(parent, |path| std::fs::hard_link(from, path)) {
        temp.persist(to).map_err(|e| Error::at("write", to)(e.error))?;
        sync_dir(parent)
    } else {
        let mut file = File::open(from).map_err(Error::at("read", from))?;
        write_atomic_with(to, |out| io::copy(&mut file, out).map(drop))
    }
}

/// Names as [`unfinished`] finds them.
fn unfinished_name() -> tempfile::Builder<'static, 'static> {
    let (prefix, suffix) = UNFINISHED;
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(suffix);
    #[cfg(unix)]
    {
        // As public as any other file of the user: the umask decides, and not the caution of temporary files.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

/// Whether two paths name one file.
fn same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        id(a).is_some() && id(a) == id(b)
    }
    #[cfg(not(unix))]
    {
        std::fs::canonicalize(a).is_ok_and(|a| std::fs::canonicalize(b).is_ok_and(|b| a == b))
    }
}

/// What killed processes have left of atomic writes into a folder, or others are writing there.
///
/// # Errors
/// If the folder cannot be listed; one that is not there has nothing.
pub fn unfinished(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::at("list", folder))?,
    };
    let (prefix, suffix) = UNFINISHED;
    let is_one = |name: &str| name.starts_with(prefix) && name.ends_with(suffix);
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::at("list", folder))?;
        if entry.file_name().to_str().is_some_and(is_one) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes what killed processes have left of atomic writes into a folder. The caller holds the lock
/// of those who write there.
///
/// # Errors
/// If the folder cannot be listed, or a file cannot be removed.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    for path in unfinished(folder)? {
        std::fs::remove_file(&path).map_err(Error::at("remove", &path))?;
    }
    Ok(())
}

/// Bytes that can be put into a folder, by its file system; where it is not there yet, into the nearest one
/// above it. `None` where the system does not tell.
#[must_use]
pub fn free_space(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let space = rustix::fs::statvfs(existing(folder)).ok()?;
        // Some file systems over a network say that they have no blocks at all.
        if space.f_blocks == 0 {
            return None;
        }
        space.f_bavail.checked_mul(space.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// The folder, or the nearest one above it that is there.
#[must_use]
pub fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// Makes renames and new files of a folder durable, where its file system lets folders be synced: some of
/// the network do not (SMB), and say that the call is invalid.
///
/// # Errors
/// If the folder cannot be opened or synced.
pub fn sync_dir(path: &Path) -> Result<()> {
    match File::open(path).and_then(|dir| dir.sync_all()) {
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced.map_err(Error::at("sync folder", path)),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// An exclusive lock on a file, held until it is dropped (or the process ends, however it ends).
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing alone would not do: a process that another thread is just starting holds a copy of
    /// the file, and with it the lock, until it is itself.
    fn drop(&mut self) {
        // Closing follows, which ends the lock of a file that cannot be unlocked.
        let _ = self.file.unlock();
    }
}

fn open_lock(path: &Path) -> Result<File> {
    create_dir_all(parent(path))?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    options.open(path).map_err(Error::at("open lock", path))
}

/// Takes the lock of `path` (created if missing); `None` if another process holds it.
///
/// # Errors
/// If the file cannot be opened or locked at all.
pub fn try_lock(path: &Path) -> Result<Option<Lock>> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(cannot_lock(path, source)),
    }
}

/// Takes the lock of `path`, waiting for its holder.
///
/// # Errors
/// If the file cannot be opened or locked at all.
pub fn lock(path: &Path) -> Result<Lock> {
    let file = open_lock(path)?;
    file.lock().map_err(|source| cannot_lock(path, source))?;
    Ok(Lock { file })
}

/// The error of a lock; where it is the file system that has none, with what to do.
fn cannot_lock(path: &Path, source: io::Error) -> Error {
    #[cfg(unix)]
    let none = source.raw_os_error() == Some(libc::ENOLCK);
    #[cfg(not(unix))]
    let none = false;
    let source = if none || source.kind() == io::ErrorKind::Unsupported {
        let help = "its file system has no locks (of Lustre: mounted without `flock`), without which two \
                    processes could write one run; --results and XP_CACHE name folders on another one";
        io::Error::new(source.kind(), format!("{source}; {help}"))
    } else {
        source
    };
    Error::at("lock", path)(source)
}

/// Who holds the lock of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// This process of this machine.
    Process(u32),
    /// No process that this one can see; one of another machine or container may.
    NoneSeen,
    /// The system does not tell.
    Unknown,
}

/// Who holds the lock of `path`, found out without touching the lock: to try it would make a
/// process fail that tries it at the same moment.
#[must_use]
pub fn lock_holder(path: &Path) -> Holder {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let Ok(inode) = std::fs::metadata(path).map(|metadata| metadata.ino()) else {
            return Holder::NoneSeen;
        };
        let table = std::fs::read_to_string("/proc/locks");
        table.map_or(Holder::Unknown, |table| {
            holder_in(&table, inode).map_or(Holder::NoneSeen, Holder::Process)
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        Holder::Unknown
    }
}

/// The process that a table of locks names for an inode, in lines such as
/// `1: FLOCK  ADVISORY  WRITE 4711 fd:01:262153 0 EOF`. The device is not compared: where file
/// systems are stacked, the table has the lower one's.
#[cfg(target_os = "linux")]
fn holder_in(table: &str, inode: u64) -> Option<u32> {
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", process, file, ..] = words[..] else { return None };
        let of_inode = file.rsplit(':').next()?.parse() == Ok(inode);
        process.parse().ok().filter(|_| of_inode)
    })
}

/// The blake3 hash of a file's content, in hexadecimal.
///
/// # Errors
/// If the file cannot be read.
pub fn hash_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::at("read", path))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(Error::at("read", path))?;
        if n == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_the_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        write_atomic(&path, b"one").unwrap();
        let failed = write_atomic_with(&path, |_| Err(io::Error::other("disk full")));
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_table_of_locks_is_read() {
        let table = "1: POSIX  ADVISORY  WRITE 11 08:02:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 08:02:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 08:02:78 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 14 08:02:79 0 EOF\n";
        assert_eq!(holder_in(table, 77), Some(12));
        assert_eq!((holder_in(table, 78), holder_in(table, 79)), (None, None));
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        let own = Holder::Process(std::process::id());
        assert!([own, Holder::Unknown].contains(&lock_holder(&path)), "{:?}", lock_holder(&path));
        drop(held);
        assert_ne!(lock_holder(&path), own);
        assert_eq!(lock_holder(&dir.path().join("none")), Holder::NoneSeen);
        assert!(try_lock(&path).unwrap().is_some());
    }

    #[test]
    fn a_second_name_takes_the_place_of_another_file_and_of_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("deep/b"));
        write_atomic(&from, b"one").unwrap();
        write_atomic(&to, b"other").unwrap();
        for _ in 0..2 {
            link_atomic(&from, &to).unwrap();
            assert_eq!(read(&to).unwrap(), b"one");
            assert!(same_file(&from, &to));
        }
        assert!(unfinished(&dir.path().join("deep")).unwrap().is_empty());
        assert!(link_atomic(&dir.path().join("none"), &to).is_err());
        assert_eq!(read(&to).unwrap(), b"one");
    }
}
