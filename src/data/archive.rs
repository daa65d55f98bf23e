//! Tokens as one file: out of the cache of one machine and into that of another.
//!
//! A tar file of what a spec's data needs to be found without a network:
//!
//! ```text
//! tokens/<key>/{tokens.bin, documents.bin, manifest.json}    of every split
//! tokenizers/<key>/{tokenizer.json, manifest.json}           a trained tokenizer
//! tokenizers/files/<blake3>.json                             a local one
//! hub/<repository>/<commit>/tokenizer.json                   one of the hub
//! hub/<repository>/<commit>.json                             what that commit holds
//! hub/<repository>/refs/<revision>                           the commit that a revision means
//! ```
//!
//! Nothing in such a file is believed: names must have this form, and what they hold must have the
//! hashes that its manifest (or name, or the hub's listing) says, before it gets its place.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::cache::Cache;
use super::config::{Config, Tokenizer};
use super::entry::{self, MANIFEST};
use super::error::Error;
use super::hub::Hub;
use super::identity::{self, ContentHashes};
use super::prepare::Pins;
use super::stream::TokenStream;
use crate::fs;

/// What is moved: the splits of a config.
pub struct Moved<'a> {
    /// The data.
    pub config: &'a Config,
    /// Its streams, prepared.
    pub streams: [&'a TokenStream; 2],
}

/// Writes an archive; returns the names in it. The same data gives the same bytes.
///
/// # Errors
/// If something cannot be read or written.
pub fn export(cache: &Cache, moved: &[Moved<'_>], target: &Path) -> Result<Vec<String>, Error> {
    // Name in the archive and file, in order and without repeats.
    let mut files: BTreeSet<(String, PathBuf)> = BTreeSet::new();
    for Moved { config, streams } in moved {
        for stream in streams {
            files.extend(of_entry(cache, stream.folder())?);
        }
        match &config.tokenizer {
            Tokenizer::Bytes => {}
            Tokenizer::File(path) => {
                let hash = ContentHashes::default().hash(path)?;
                files.insert((format!("tokenizers/files/{hash}.json"), path.clone()));
            }
            Tokenizer::TrainBpe { .. } => {
                // It is one of the commit that the tokens are of.
                let dataset = streams[0].revision().map(str::to_owned);
                let config = Pins { dataset, tokenizer: None }.pinned(config);
                let identity = identity::tokenizer(&config, &mut ContentHashes::default())?;
                files.extend(of_entry(cache, cache.trained_tokenizer(identity).folder())?);
            }
            Tokenizer::Hub { id, revision } => {
                let hub = Hub::from_env(cache.root(), &config.endpoints)?;
                files.extend(hub.tokenizer_files(id, revision)?);
            }
        }
    }
    let mut names = Vec::new();
    fs::write_atomic_with(target, |out| {
        let mut archive = tar::Builder::new(out);
        for (name, path) in &files {
            let file = File::open(path)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(file.metadata()?.len());
            header.set_mode(0o644);
            header.set_entry_type(tar::EntryType::Regular);
            archive.append_data(&mut header, name, file)?;
            names.push(name.clone());
        }
        archive.finish()
    })?;
    Ok(names)
}

/// The files of a cache entry.
fn of_entry(cache: &Cache, folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let below = folder.strip_prefix(cache.root()).map_err(|_| Error::Environment {
        what: format!("`{}` is not in the cache", folder.display()),
        remedy: "make the tokens again: xp data SPEC".to_owned(),
    })?;
    let below: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    let mut files = Vec::new();
    for file in std::fs::read_dir(folder).map_err(fs::Error::at("list", folder))?.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name != "lock" && !name.starts_with(".xp-") {
            files.push((format!("{}/{name}", below.join("/")), file.path()));
        }
    }
    Ok(files)
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Names of what is new here.
    pub new: Vec<String>,
    /// Names of what was here already.
    pub here: Vec<String>,
}

/// Takes an archive into the cache.
///
/// # Errors
/// If it is no such archive or something in it is not what it says it is; then nothing of that is
/// taken. If something cannot be written.
pub fn import(cache: &Cache, source: &Path) -> Result<Imported, Error> {
    let wrong = |reason: String| Error::Archive { path: source.to_owned(), reason };
    let file = File::open(source).map_err(|e| Error::input_file(source, e))?;
    let mut archive = tar::Archive::new(std::io::BufReader::new(file));
    fs::create_dir_all(cache.root())?;
    // Inside the cache, so that taking over is a rename.
    let scratch = tempfile::Builder::new()
        .prefix(".xp-import-")
        .tempdir_in(cache.root())
        .map_err(fs::Error::at("create folder", cache.root()))?;
    let mut places: BTreeSet<Place> = BTreeSet::new();
    let not_tar =
        |e: std::io::Error| wrong(format!("it is not an archive of `xp data export`: {e}"));
    for item in archive.entries().map_err(not_tar)? {
        let mut item = item.map_err(not_tar)?;
        let name = item.path().map_err(not_tar)?.to_path_buf();
        let place = Place::of(&name).filter(|_| item.header().entry_type().is_file());
        let Some(place) = place else {
            return Err(wrong(format!("it holds `{}`, which no export writes", name.display())));
        };
        let path = scratch.path().join(&name);
        let expected = item.header().size().map_err(not_tar)?;
        fs::write_atomic_with(&path, |out| {
            let copied = std::io::copy(&mut item.by_ref().take(expected), out)?;
            if copied == expected {
                return Ok(());
            }
            Err(std::io::Error::other("the archive ends in the middle of it"))
        })?;
        places.insert(place);
    }
    if places.is_empty() {
        return Err(wrong("it holds nothing".to_owned()));
    }
    let hub = Hub::from_env(cache.root(), &[])?;
    let mut imported = Imported::default();
    for place in places {
        let name = place.to_string();
        let new = match &place {
            Place::Entry { kind, key } => {
                let from = scratch.path().join(kind).join(key);
                let payload = if kind == "tokens" { "tokens.bin" } else { "tokenizer.json" };
                entry::adopt(&from, &cache.root().join(kind).join(key), key, payload).map_err(
                    |reason| reason.into_error(|reason| wrong(format!("{name} {reason}"))),
                )?
            }
            Place::File { blake3 } => {
                let target = cache.tokenizer_copy(blake3);
                let from = scratch.path().join("tokenizers/files").join(format!("{blake3}.json"));
                if fs::hash_file(&from)? != *blake3 {
                    return Err(wrong(format!("{name} does not have the hash in its name")));
                }
                let new = !target.exists();
                fs::write_atomic(&target, &fs::read(&from)?)?;
                new
            }
            Place::Hub { repository } => hub
                .adopt(repository, &scratch.path().join("hub").join(repository))
                .map_err(|e| wrong(format!("{name}: {e}")))?,
        };
        if new { imported.new.push(name) } else { imported.here.push(name) }
    }
    Ok(imported)
}

/// A thing in an archive, by the name of one of its files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A cache entry.
    Entry { kind: String, key: String },
    /// A local tokenizer.
    File { blake3: String },
    /// A repository of the hub.
    Hub { repository: String },
}

impl Place {
    /// What a file in an archive is of; `None` if no export writes such a name.
    fn of(name: &Path) -> Option<Self> {
        let parts: Option<Vec<&str>> = name
            .components()
            .map(|part| match part {
                Component::Normal(part) => part.to_str(),
                _ => None,
            })
            .collect();
        let parts = parts?;
        let is_key = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let plain = |text: &&str| {
            !text.starts_with('.')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        match parts.as_slice() {
            ["tokens", key, "tokens.bin" | "documents.bin" | MANIFEST] if is_key(key) => {
                Some(Self::Entry { kind: "tokens".to_owned(), key: (*key).to_owned() })
            }
            ["tokenizers", key, "tokenizer.json" | MANIFEST] if is_key(key) => {
                Some(Self::Entry { kind: "tokenizers".to_owned(), key: (*key).to_owned() })
            }
            ["tokenizers", "files", file] => {
                let blake3 = file.strip_suffix(".json").filter(|hash| is_key(hash))?;
                Some(Self::File { blake3: blake3.to_owned() })
            }
            ["hub", repository, rest @ ..]
                if repository.starts_with("models--")
                    && (1..=8).contains(&rest.len())
                    && plain(repository)
                    && rest.iter().all(plain) =>
            {
                Some(Self::Hub { repository: (*repository).to_owned() })
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entry { kind, key } => write!(f, "{kind}/{key}"),
            Self::File { blake3 } => write!(f, "tokenizers/files/{blake3}.json"),
            Self::Hub { repository } => write!(f, "hub/{repository}"),
        }
    }
}
