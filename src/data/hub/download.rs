//! One file of the hub: fetched into the blobs of the cache folder, resumed after a break, tried
//! again while that may help, and given its name only after its size and hash were found right.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::Response;
use ureq::{Agent, Body};

use super::super::progress::Progress;
use super::client::{self, Endpoint, Failure};
use super::listing::RemoteFile;
use super::verify::{ContentHash, Hasher};
use crate::fs;

/// The first wait before a server is asked again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// No wait is longer, unless the server asks for it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Bytes between two looks at the signal and the progress bar.
const PIECE: usize = 1 << 18;

/// What is said of a web page where data should come.
pub(super) const PAGE: &str = "a web page came instead of data: a login page, a proxy's error or another site is at this address";

/// Where a file comes from.
pub(super) struct Source<'a> {
    pub(super) agent: &'a Agent,
    pub(super) endpoint: &'a Endpoint,
    /// Below the endpoint.
    pub(super) address: String,
    pub(super) commit: &'a str,
    pub(super) file: &'a RemoteFile,
}

/// Where a file goes.
pub(super) struct Store {
    /// Contents by hash.
    pub(super) blobs: PathBuf,
    /// Lock files, where other tools have theirs.
    pub(super) locks: PathBuf,
}

/// Whether an answer is a web page; `expected` is what was asked for, by its extension.
pub(super) fn is_page(response: &Response<Body>, expected: &str) -> bool {
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_lowercase().starts_with("text/html"))
        && !expected.ends_with("html")
}

/// Tries until it works, a failure is final, or the patience is used up in waiting. An attempt
/// also says whether it came further than the one before: that renews the patience.
pub(super) fn patiently<T>(
    endpoint: &Endpoint,
    patience: Duration,
    progress: &dyn Progress,
    mut attempt: impl FnMut() -> (Result<T, Failure>, bool),
) -> Result<T, Failure> {
    let (mut waited, mut next) = (Duration::ZERO, FIRST_WAIT);
    loop {
        if progress.stopped() {
            return Err(Failure::Stopped);
        }
        let (result, came_further) = attempt();
        let failure = match result {
            Err(failure) if failure.is_transient() => failure,
            done => return done,
        };
        if came_further {
            (waited, next) = (Duration::ZERO, FIRST_WAIT);
        }
        let asked = match &failure {
            Failure::Status { retry_after_s: Some(seconds), .. } => Duration::from_secs(*seconds),
            _ => Duration::ZERO,
        };
        let wait = next.max(asked) + jitter(next);
        if waited + wait > patience {
            return Err(failure);
        }
        let place = client::without_user(&endpoint.url);
        progress.waiting(&format!("{place}: {}", failure.words()), wait);
        sleep(wait, progress)?;
        waited += wait;
        next = (next * 2).min(LONGEST_WAIT);
    }
}

/// Up to a quarter more, so that many that failed at once do not come back at once.
fn jitter(wait: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let share = f64::from(now.subsec_nanos() ^ std::process::id() << 8) / f64::from(u32::MAX);
    wait.mul_f64(share / 4.0)
}

fn sleep(wait: Duration, progress: &dyn Progress) -> Result<(), Failure> {
    let end = Instant::now() + wait;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
        if progress.stopped() {
            return Err(Failure::Stopped);
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    Ok(())
}

/// The blob of a file, fetched if it is not there, and its hash. One caller fetches, others wait.
pub(super) fn fetch(
    source: &Source<'_>,
    store: &Store,
    patience: Duration,
    progress: &dyn Progress,
) -> Result<(PathBuf, ContentHash), Failure> {
    let mut opened = None;
    let hash = if let Some(hash) = &source.file.hash {
        hash.clone()
    } else {
        // Some servers list names only: what they say with the file itself is then what counts.
        let answer = patiently(source.endpoint, patience, progress, || (open(source, 0), false))?;
        let hash = answer.etag.as_deref().and_then(ContentHash::parse);
        opened = Some(answer);
        hash.ok_or_else(|| {
            Failure::Wrong(format!(
                "it gives no hash of `{}`, so what it sends cannot be checked",
                source.file.name
            ))
        })?
    };
    let local = |e: fs::Error| Failure::Local(e.to_string());
    fs::create_dir_all(&store.blobs).map_err(local)?;
    let lock = store.locks.join(format!("{}.lock", hash.digits()));
    let _lock = fs::lock(&lock).map_err(local)?;
    let blob = store.blobs.join(hash.digits());
    if sound(&blob, &hash).map_err(local)? {
        return Ok((blob, hash)); // The same content under another name, or another caller's.
    }
    let partial = store.blobs.join(format!("{}.incomplete", hash.digits()));
    let mut transfer = || {
        let before = length(&partial);
        let result = transfer(source, opened.take(), &partial, &hash, progress);
        (result, length(&partial) > before)
    };
    let mut result = patiently(source.endpoint, patience, progress, &mut transfer);
    if matches!(result, Err(Failure::Mismatch(_))) {
        // What an earlier try had left may have been the reason; the partial file is gone now.
        result = patiently(source.endpoint, patience, progress, &mut transfer);
    }
    result?;
    std::fs::rename(&partial, &blob).map_err(fs::Error::at("write", &blob)).map_err(local)?;
    fs::sync_dir(&store.blobs).map_err(local)?;
    Ok((blob, hash))
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Whether a blob is there and is what its name says; one that is not is removed.
fn sound(blob: &Path, hash: &ContentHash) -> fs::Result<bool> {
    let Ok(metadata) = std::fs::metadata(blob) else { return Ok(false) };
    if hash.holds(blob, metadata.len()).map_err(fs::Error::at("read", blob))? {
        return Ok(true);
    }
    std::fs::remove_file(blob).map_err(fs::Error::at("remove", blob))?;
    Ok(false)
}

/// Asks for the file from a byte on; what comes is data of the right commit.
fn open(source: &Source<'_>, from: u64) -> Result<client::Answer, Failure> {
    let answer = client::get(source.agent, source.endpoint, &source.address, from)?;
    if is_page(&answer.response, &source.file.name) {
        return Err(Failure::Wrong(PAGE.to_owned()));
    }
    if let Some(commit) = answer.commit.as_deref().filter(|commit| *commit != source.commit) {
        let commit = client::brief(commit);
        return Err(Failure::Wrong(format!(
            "it sends the file of commit `{commit}` for that of `{}`",
            source.commit
        )));
    }
    if let (Some(says), Some(size)) = (answer.size, source.file.size)
        && says != size
    {
        return Err(Failure::Mismatch(format!(
            "`{}` has {says} bytes there, {size} in the revision",
            source.file.name
        )));
    }
    Ok(answer)
}

/// One try: from where the partial file ends to the end of the file.
fn transfer(
    source: &Source<'_>,
    opened: Option<client::Answer>,
    partial: &Path,
    hash: &ContentHash,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let name = &source.file.name;
    let mut have = length(partial);
    if source.file.size.is_some_and(|size| have > size) {
        have = 0;
    }
    let complete = source.file.size.is_some_and(|size| have == size && size > 0);
    let mut answer = match opened {
        Some(answer) => {
            have = 0;
            Some(answer)
        }
        None if complete => None,
        None => match open(source, have) {
            // The partial file is longer than the file there.
            Err(Failure::Status { code: 416, .. }) if have > 0 => {
                have = 0;
                Some(open(source, 0)?)
            }
            answer => Some(answer?),
        },
    };
    let size = source.file.size.or_else(|| answer.as_ref().and_then(|answer| answer.size));
    let Some(size) = size else {
        return Err(Failure::Wrong(format!("it does not say how long `{name}` is")));
    };
    if let Some(answer) = &answer
        && have > 0
        && first_byte(&answer.response) != Some(have)
    {
        have = 0; // It sends the whole file again.
        if answer.response.status().as_u16() == 206 {
            return Err(Failure::Wrong("it sends another range than it was asked for".to_owned()));
        }
    }
    let mut file = partial_file(partial, have)
        .map_err(|e| Failure::Local(fs::Error::at("write", partial)(e).to_string()))?;
    let mut hasher = Hasher::new(hash, size);
    let read = hasher.read(&mut (&mut file).take(have));
    let read = read.map_err(|e| Failure::Local(fs::Error::at("read", partial)(e).to_string()))?;
    if read != have {
        return Err(Failure::Network(format!("`{}` changed meanwhile", partial.display())));
    }
    if let Some(answer) = answer.take() {
        // Not more than promised, so that a wrong server cannot fill the disk.
        let mut body = answer.response.into_body().into_reader().take(size - have + 1);
        have = receive(&mut body, &mut file, &mut hasher, have, |have| {
            progress.fetching(name, have, size);
            progress.stopped()
        })
        .map_err(|failure| match failure {
            Received::Broken(have, reason) => Failure::Network(format!(
                "`{name}` broke off after {have} of {size} bytes ({reason}); run again to go on"
            )),
            Received::Disk(e) => Failure::Local(fs::Error::at("write", partial)(e).to_string()),
            Received::Stopped => Failure::Stopped,
        })?;
    }
    if have < size {
        return Err(Failure::Network(format!(
            "`{name}` broke off after {have} of {size} bytes; run again to go on"
        )));
    }
    let wrong = match hasher.finish(hash) {
        _ if have > size => Some(format!("is longer than its {size} bytes")),
        Ok(()) => None,
        Err(found) => {
            Some(format!("has another hash ({found}) than the revision ({})", hash.words()))
        }
    };
    if let Some(what) = wrong {
        let _ = std::fs::remove_file(partial);
        return Err(Failure::Mismatch(format!("`{name}` {what}; it was removed")));
    }
    file.sync_all().map_err(|e| Failure::Local(fs::Error::at("write", partial)(e).to_string()))
}

/// The byte that a partial answer begins with.
fn first_byte(response: &Response<Body>) -> Option<u64> {
    if response.status().as_u16() != 206 {
        return None;
    }
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// The partial file, cut to `have` bytes and read from its start.
fn partial_file(path: &Path, have: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    file.set_len(have)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// Why a body was not received whole.
enum Received {
    /// The connection, after so many bytes.
    Broken(u64, io::Error),
    Disk(io::Error),
    Stopped,
}

/// Copies a body to the end of a file; `watch` hears of the length and may stop it.
fn receive(
    body: &mut dyn Read,
    file: &mut File,
    hasher: &mut Hasher,
    mut have: u64,
    mut watch: impl FnMut(u64) -> bool,
) -> Result<u64, Received> {
    let mut piece = vec![0; PIECE];
    loop {
        let n = match body.read(&mut piece) {
            Ok(0) => return Ok(have),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Received::Broken(have, e)),
        };
        file.write_all(&piece[..n]).map_err(Received::Disk)?;
        hasher.update(&piece[..n]);
        have += n as u64;
        if watch(have) {
            return Err(Received::Stopped);
        }
    }
}
