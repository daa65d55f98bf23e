//! One content-addressed cache entry: a payload file, small files beside it, and the manifest that
//! vouches for them.
//!
//! An entry is a folder named by the hash of what its payload is made from. Making it happens
//! under `lock`; the files and then `manifest.json` are put in place by rename, so an entry
//! with a manifest is whole. A kill leaves a temporary file at most, which the next maker
//! removes. Every opening checks lengths and hashes against the manifest.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Error;
use super::stream::map;
use crate::fs;

/// Version of the manifest and of the payload formats; what an older one made is made again.
const VERSION: u64 = 2;

/// The manifest's name.
pub(crate) const MANIFEST: &str = "manifest.json";

/// `manifest.json`, with what is particular to the payload in `facts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Manifest<T> {
    version: u64,
    /// Of the payload, in hexadecimal.
    blake3: String,
    /// Length of the payload.
    bytes: u64,
    /// What it is made from.
    identity: Value,
    facts: T,
    /// The files beside the payload, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    beside: BTreeMap<String, Stored>,
}

/// A file beside the payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    blake3: String,
    bytes: u64,
}

/// What a maker of a payload has to say of it.
#[derive(Debug)]
pub(crate) struct Made<T> {
    /// For the manifest.
    pub(crate) facts: T,
    /// Name and content of files to put beside the payload.
    pub(crate) beside: Vec<(&'static str, Vec<u8>)>,
}

impl<T> Made<T> {
    /// Nothing beside the payload.
    pub(crate) fn alone(facts: T) -> Self {
        Self { facts, beside: Vec::new() }
    }
}

/// A payload that its manifest vouches for.
#[derive(Debug)]
pub(crate) struct Payload<T> {
    pub(crate) map: Mmap,
    pub(crate) facts: T,
    pub(crate) blake3: String,
    /// Where the files beside the payload are.
    pub(crate) folder: PathBuf,
}

/// A place in the cache.
#[derive(Debug)]
pub(crate) struct Entry {
    folder: PathBuf,
    payload: PathBuf,
    identity: Value,
}

/// What lies at a place.
enum Found<T> {
    Nothing,
    Wrong(String),
    Good(T),
}

impl Entry {
    /// The entry of kind `kind` made from `identity`; `payload` is its file's name.
    pub(crate) fn new(root: &Path, kind: &str, payload: &str, identity: Value) -> Self {
        let key = blake3::hash(identity.to_string().as_bytes()).to_hex();
        let folder = root.join(kind).join(key.as_str());
        Self { payload: folder.join(payload), folder, identity }
    }

    /// The payload; made by `make` if it is not there or not right. One caller makes it, others
    /// (threads or processes) wait for that one.
    ///
    /// # Errors
    /// As `make`, or if the payload cannot be stored, or is wrong when read back.
    pub(crate) fn get_or_make<T: Serialize + DeserializeOwned>(
        &self,
        make: impl FnOnce(&mut dyn Write) -> Result<Made<T>, Error>,
    ) -> Result<Payload<T>, Error> {
        if let Found::Good(payload) = self.open()? {
            return Ok(payload);
        }
        // Another user's cache can be read where it holds what is asked for, and only then.
        fs::create_dir_all(&self.folder).map_err(|error| Error::Environment {
            what: error.to_string(),
            remedy: "set XP_CACHE to a folder that can be written to".to_owned(),
        })?;
        let _lock = fs::lock(&self.folder.join("lock"))?;
        if let Found::Good(payload) = self.open()? {
            return Ok(payload); // Another caller made it meanwhile.
        }
        fs::remove_unfinished(&self.folder)?;
        self.write(make)?;
        match self.open()? {
            Found::Good(payload) => Ok(payload),
            Found::Nothing => Err(self.corrupt("is gone".to_owned())),
            Found::Wrong(reason) => Err(self.corrupt(reason)),
        }
    }

    /// The entry's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The facts and hash of the payload if it is there, by its manifest and length alone.
    ///
    /// # Errors
    /// If the manifest is of a newer version or cannot be read.
    pub(crate) fn facts<T: DeserializeOwned>(&self) -> Result<Option<(T, String)>, Error> {
        Ok(match self.manifest()? {
            Found::Good(manifest)
                if std::fs::metadata(&self.payload).is_ok_and(|m| m.len() == manifest.bytes) =>
            {
                Some((manifest.facts, manifest.blake3))
            }
            _ => None,
        })
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder.join(MANIFEST)
    }

    fn manifest<T: DeserializeOwned>(&self) -> Result<Found<Manifest<T>>, Error> {
        let path = self.manifest_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(e.into()),
        };
        let wrong = || Ok(Found::Wrong("has a manifest that cannot be read".to_owned()));
        let Ok(json) = serde_json::from_slice::<Value>(&bytes) else { return wrong() };
        if let Some(found) = json["version"].as_u64().filter(|&found| found > VERSION) {
            return Err(Error::Newer { path, found, known: VERSION });
        }
        if json["version"].as_u64().is_some_and(|found| found < VERSION) {
            return Ok(Found::Wrong("were made by an older xp".to_owned()));
        }
        match serde_json::from_value::<Manifest<T>>(json) {
            Ok(manifest) if manifest.identity == self.identity => Ok(Found::Good(manifest)),
            Ok(_) => Ok(Found::Wrong("are made from something else".to_owned())),
            Err(_) => wrong(),
        }
    }

    fn open<T: DeserializeOwned>(&self) -> Result<Found<Payload<T>>, Error> {
        let manifest = match self.manifest()? {
            Found::Good(manifest) => manifest,
            Found::Nothing => return Ok(Found::Nothing),
            Found::Wrong(reason) => return Ok(Found::Wrong(reason)),
        };
        match std::fs::metadata(&self.payload) {
            Ok(metadata) if metadata.len() == manifest.bytes => {}
            Ok(metadata) => {
                let (is, expected) = (metadata.len(), manifest.bytes);
                return Ok(Found::Wrong(format!("have {is} bytes instead of {expected}")));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(e) => return Err(fs::Error::at("read", &self.payload)(e).into()),
        }
        let map = map(&self.payload)?;
        if blake3::hash(&map).to_hex().as_str() != manifest.blake3 {
            return Ok(Found::Wrong("do not have the hash in their manifest".to_owned()));
        }
        for (name, stored) in &manifest.beside {
            let content = match std::fs::read(self.folder.join(name)) {
                Ok(content) => content,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
                Err(e) => return Err(fs::Error::at("read", &self.folder.join(name))(e).into()),
            };
            if content.len() as u64 != stored.bytes
                || blake3::hash(&content).to_hex().as_str() != stored.blake3
            {
                return Ok(Found::Wrong(format!("have a `{name}` that is not the manifest's")));
            }
        }
        let (facts, blake3) = (manifest.facts, manifest.blake3);
        Ok(Found::Good(Payload { map, facts, blake3, folder: self.folder.clone() }))
    }

    /// Writes payload and manifest; the lock is held.
    fn write<T: Serialize>(
        &self,
        make: impl FnOnce(&mut dyn Write) -> Result<Made<T>, Error>,
    ) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        let (mut made, mut bytes, mut disk_failed) = (None, 0, false);
        let written = fs::write_atomic_with(&self.payload, |file| {
            let mut hashing = Hashing { file, hasher: &mut hasher, bytes: 0, failed: None };
            let result = make(&mut hashing);
            bytes = hashing.bytes;
            if let Some(error) = hashing.failed.take() {
                disk_failed = true;
                return Err(error);
            }
            let outcome = if result.is_ok() { Ok(()) } else { Err(io::Error::other("not made")) };
            made = Some(result);
            outcome
        });
        let Made { facts, beside } = match (made, written) {
            (Some(Ok(made)), Ok(())) => made,
            (Some(Err(error)), _) if !disk_failed => return Err(error),
            (_, Err(error)) => return Err(error.into()),
            (_, Ok(())) => return Err(self.corrupt("were not made".to_owned())),
        };
        let mut stored = BTreeMap::new();
        for (name, content) in beside {
            fs::write_atomic(&self.folder.join(name), &content)?;
            let blake3 = blake3::hash(&content).to_hex().to_string();
            stored.insert(name.to_owned(), Stored { blake3, bytes: content.len() as u64 });
        }
        let manifest = Manifest {
            version: VERSION,
            blake3: hasher.finalize().to_hex().to_string(),
            bytes,
            identity: self.identity.clone(),
            facts,
            beside: stored,
        };
        let mut json = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| self.corrupt(format!("have no manifest: {e}")))?;
        json.push(b'\n');
        Ok(fs::write_atomic(&self.manifest_path(), &json)?)
    }

    fn corrupt(&self, reason: String) -> Error {
        Error::Corrupt { path: self.payload.clone(), reason }
    }
}

/// Why an entry from elsewhere was not taken.
pub(crate) enum NotAdopted {
    /// It is not what it says it is.
    Wrong(String),
    /// Files.
    Failed(Error),
}

impl NotAdopted {
    /// As an error; `wrong` makes one of the reason.
    pub(crate) fn into_error(self, wrong: impl FnOnce(String) -> Error) -> Error {
        match self {
            Self::Wrong(reason) => wrong(reason),
            Self::Failed(error) => error,
        }
    }
}

/// Takes the entry in folder `from`, made elsewhere, to its place, if its files are what its
/// manifest says and its manifest is that of `key`. False if one is there already.
pub(crate) fn adopt(from: &Path, to: &Path, key: &str, payload: &str) -> Result<bool, NotAdopted> {
    let failed = |error: fs::Error| NotAdopted::Failed(error.into());
    let wrong = |reason: &str| NotAdopted::Wrong(reason.to_owned());
    let manifest = std::fs::read(from.join(MANIFEST)).map_err(|_| wrong("has no manifest"))?;
    let manifest: Manifest<Value> = serde_json::from_slice(&manifest)
        .map_err(|_| wrong("has a manifest that cannot be read"))?;
    let identity = manifest.identity;
    if blake3::hash(identity.to_string().as_bytes()).to_hex().as_str() != key {
        return Err(wrong("is made from something else than its name says"));
    }
    let there = |folder: &Path| Entry {
        folder: folder.to_owned(),
        payload: folder.join(payload),
        identity: identity.clone(),
    };
    match there(from).open::<Value>().map_err(NotAdopted::Failed)? {
        Found::Good(_) => {}
        Found::Nothing => return Err(wrong("is not complete")),
        Found::Wrong(reason) => return Err(NotAdopted::Wrong(reason)),
    }
    let target = there(to);
    let _lock = fs::lock(&to.join("lock")).map_err(failed)?;
    if let Found::Good(_) = target.open::<Value>().map_err(NotAdopted::Failed)? {
        return Ok(false);
    }
    // The manifest last, as when it is made here.
    let beside = manifest.beside.into_keys();
    for name in std::iter::once(payload.to_owned()).chain(beside).chain([MANIFEST.to_owned()]) {
        let (from, to) = (from.join(&name), to.join(&name));
        std::fs::rename(&from, &to).map_err(fs::Error::at("write", &to)).map_err(failed)?;
    }
    fs::sync_dir(to).map_err(failed)?;
    Ok(true)
}

/// Hashes and counts what passes through; remembers the first failed write.
struct Hashing<'a> {
    file: &'a mut dyn Write,
    hasher: &'a mut blake3::Hasher,
    bytes: u64,
    failed: Option<io::Error>,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Ok(n) => {
                self.hasher.update(&bytes[..n]);
                self.bytes += n as u64;
                Ok(n)
            }
            Err(e) => {
                if e.kind() != io::ErrorKind::Interrupted {
                    self.failed = Some(io::Error::new(e.kind(), e.to_string()));
                }
                Err(e)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::json;

    use super::*;
    use crate::data::ErrorKind;

    struct Fixture {
        dir: tempfile::TempDir,
        made: AtomicU32,
    }

    impl Fixture {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), made: AtomicU32::new(0) }
        }

        fn entry(&self) -> Entry {
            Entry::new(self.dir.path(), "things", "thing.bin", json!({ "from": 1 }))
        }

        fn get(&self) -> Result<Payload<u32>, Error> {
            self.entry().get_or_make(|file| {
                self.made.fetch_add(1, Ordering::SeqCst);
                file.write_all(b"payload").unwrap();
                Ok(Made { facts: 7, beside: vec![("beside.bin", b"small".to_vec())] })
            })
        }

        fn made(&self) -> u32 {
            self.made.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn it_is_made_once_and_then_found() {
        let fixture = Fixture::new();
        assert!(fixture.entry().facts::<u32>().unwrap().is_none());
        for _ in 0..2 {
            let payload = fixture.get().unwrap();
            assert_eq!((&payload.map[..], payload.facts), (&b"payload"[..], 7));
            assert_eq!(payload.blake3, blake3::hash(b"payload").to_hex().to_string());
            assert_eq!(fixture.entry().facts().unwrap(), Some((7, payload.blake3)));
        }
        assert_eq!(fixture.made(), 1);
    }

    #[test]
    fn damage_of_any_kind_makes_it_again() {
        type Damage = fn(&Entry);
        let damages: [Damage; 8] = [
            |e| std::fs::write(e.folder.join("beside.bin"), b"smalL").unwrap(),
            |e| std::fs::remove_file(e.folder.join("beside.bin")).unwrap(),
            |e| std::fs::write(&e.payload, b"payl").unwrap(),
            |e| std::fs::write(&e.payload, b"paYload").unwrap(),
            |e| std::fs::remove_file(&e.payload).unwrap(),
            |e| std::fs::remove_file(e.manifest_path()).unwrap(),
            |e| std::fs::write(e.manifest_path(), b"{\"version\": 1}").unwrap(),
            |e| {
                let text = fs::read_to_string(&e.manifest_path()).unwrap();
                std::fs::write(e.manifest_path(), text.replace("\"from\": 1", "\"from\": 2"))
                    .unwrap();
            },
        ];
        for (n, damage) in (2..).zip(damages) {
            let fixture = Fixture::new();
            fixture.get().unwrap();
            damage(&fixture.entry());
            assert_eq!(&fixture.get().unwrap().map[..], b"payload", "damage {n}");
            assert_eq!(fixture.made(), 2, "damage {n}");
        }
    }

    #[test]
    fn a_killed_maker_leaves_nothing_that_is_taken_for_the_payload() {
        let fixture = Fixture::new();
        let entry = fixture.entry();
        std::fs::create_dir_all(&entry.folder).unwrap();
        // Killed while writing, and killed between payload and manifest.
        std::fs::write(entry.folder.join(".xp-abc.tmp"), b"payl").unwrap();
        std::fs::write(&entry.payload, b"older").unwrap();
        assert!(entry.facts::<u32>().unwrap().is_none());
        assert_eq!(&fixture.get().unwrap().map[..], b"payload");
        let mut names: Vec<_> = std::fs::read_dir(&entry.folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["beside.bin", "lock", "manifest.json", "thing.bin"]);
    }

    #[test]
    fn a_maker_that_fails_gives_its_reason_and_leaves_no_payload() {
        let fixture = Fixture::new();
        let result = fixture.entry().get_or_make(|file| {
            file.write_all(b"half").unwrap();
            Err::<Made<u32>, _>(Error::Empty { path: "a.txt".into() })
        });
        assert!(matches!(result.unwrap_err(), Error::Empty { .. }));
        assert!(!fixture.entry().payload.exists());
        assert_eq!(&fixture.get().unwrap().map[..], b"payload");
    }

    #[test]
    fn an_entry_of_a_newer_version_is_left_alone() {
        let fixture = Fixture::new();
        fixture.get().unwrap();
        let newer = format!("{{\"version\": {}}}", VERSION + 1);
        std::fs::write(fixture.entry().manifest_path(), newer).unwrap();
        let error = fixture.get().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity);
        assert!(error.to_string().contains("newer"), "{error}");
        assert_eq!(fixture.made(), 1);
    }

    #[test]
    fn what_is_wrong_when_read_back_is_an_integrity_error() {
        let fixture = Fixture::new();
        // A payload whose facts do not survive the manifest.
        let result = fixture.entry().get_or_make(|file| {
            file.write_all(b"x").unwrap();
            Ok(Made::alone(f64::NAN))
        });
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Integrity);
    }

    #[test]
    fn threads_that_ask_at_once_share_one_making() {
        let fixture = Fixture::new();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| assert_eq!(&fixture.get().unwrap().map[..], b"payload"));
            }
        });
        assert_eq!(fixture.made(), 1);
    }
}
