//! What the cache folder has: commits, files and whether they are sound, and how a file gets its name.

use std::path::{Component, Path, PathBuf};

use super::Hub;
use super::TOKENIZER;
use super::listing::{Choice, Listing, RemoteFile};
use super::repo::{Kind, Repo, is_word};
use super::verify::ContentHash;
use crate::data::error::Error;
use crate::fs;

impl Hub {
    /// The `tokenizer.json` of a model repository if it is in the cache folder, and its commit.
    pub(crate) fn cached_tokenizer(
        &self,
        id: &str,
        revision: &str,
    ) -> Result<Option<(PathBuf, String)>, Error> {
        let repo = Repo::new(Kind::Model, id, revision)?;
        Ok(self.commit_here(&repo).and_then(|commit| {
            let path = self.snapshot(&repo, &commit).join(TOKENIZER);
            path.is_file().then_some((path, commit))
        }))
    }

    /// What another machine needs to have a tokenizer: names in an archive, and files.
    pub(crate) fn tokenizer_files(
        &self,
        id: &str,
        revision: &str,
    ) -> Result<Vec<(String, PathBuf)>, Error> {
        let repo = Repo::new(Kind::Model, id, revision)?;
        let Some(commit) = self.commit_here(&repo) else { return Ok(Vec::new()) };
        let folder = repo.folder_name();
        let reference = self.folder.join(&folder).join("refs").join(revision);
        let named = [
            (format!("{commit}/{TOKENIZER}"), self.snapshot(&repo, &commit).join(TOKENIZER)),
            (format!("{commit}.json"), self.listing_file(&repo, &commit)),
            (format!("refs/{revision}"), reference),
        ];
        let there = named.into_iter().filter(|(_, path)| path.is_file());
        Ok(there.map(|(name, path)| (format!("hub/{folder}/{name}"), path)).collect())
    }

    /// Takes a repository's files as [`Hub::tokenizer_files`] names them into the cache folder; a
    /// file that is not the listing's is refused. False if all was here.
    pub(crate) fn adopt(&self, repository: &str, from: &Path) -> Result<bool, Error> {
        let mut new = false;
        for name in list(from, Path::new(""), 0) {
            let path = from.join(&name);
            let target = if let Some(commit) = name.strip_suffix(&format!("/{TOKENIZER}")) {
                let listing = std::fs::read(from.join(format!("{commit}.json"))).ok();
                let listing: Option<Listing> =
                    listing.and_then(|bytes| serde_json::from_slice(&bytes).ok());
                let file = listing.as_ref().and_then(|listing| listing.file(TOKENIZER));
                if let Some(file) = file
                    && let Held::Broken(reason) = held(&path, file)?
                {
                    return Err(Error::Corrupt { path: name.into(), reason });
                }
                self.folder.join(repository).join("snapshots").join(&name)
            } else if name.starts_with("refs/") {
                self.folder.join(repository).join(&name)
            } else {
                self.listings.join(repository).join(&name)
            };
            // What a revision means here is for this machine to say.
            if !target.exists() {
                fs::write_atomic(&target, &fs::read(&path)?)?;
                new = true;
            }
        }
        Ok(new)
    }

    /// What another tool has fetched of a commit: it may be a part of what there is.
    pub(super) fn listing_of_folder(
        &self,
        repo: &Repo,
        commit: String,
        choice: &Choice<'_>,
    ) -> Result<Listing, Error> {
        let names = list(&self.snapshot(repo, &commit), Path::new(""), 0);
        let file = |name| RemoteFile { name, size: None, hash: None };
        let listing = Listing { commit, files: names.into_iter().map(file).collect() };
        if listing.has_any(choice) {
            return Ok(listing);
        }
        let what = format!("{} of dataset `{}`", choice.words(), repo.id());
        Err(self.not_here(&what, repo, ""))
    }

    /// The commit that a revision meant when it was last fetched.
    pub(super) fn commit_here(&self, repo: &Repo) -> Option<String> {
        let folder = self.folder.join(repo.folder_name());
        let commit = match std::fs::read_to_string(folder.join("refs").join(repo.revision())) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => repo.revision().to_owned(),
        };
        let known = |commit: &str| {
            folder.join("snapshots").join(commit).is_dir()
                || self.listing_file(repo, commit).is_file()
        };
        (is_word(&commit) && known(&commit)).then_some(commit)
    }

    pub(super) fn snapshot(&self, repo: &Repo, commit: &str) -> PathBuf {
        self.folder.join(repo.folder_name()).join("snapshots").join(commit)
    }

    pub(super) fn listing_file(&self, repo: &Repo, commit: &str) -> PathBuf {
        self.listings.join(repo.folder_name()).join(format!("{commit}.json"))
    }

    /// What is remembered of a commit.
    pub(super) fn listing_here(&self, repo: &Repo, commit: &str) -> Option<Listing> {
        if !is_word(commit) {
            return None;
        }
        let bytes = std::fs::read(self.listing_file(repo, commit)).ok()?;
        let listing: Listing = serde_json::from_slice(&bytes).ok()?;
        (listing.commit == commit).then_some(listing)
    }

    pub(super) fn write_ref(&self, repo: &Repo, commit: &str) -> Result<(), Error> {
        if repo.revision() == commit {
            return Ok(());
        }
        let path = self.folder.join(repo.folder_name()).join("refs").join(repo.revision());
        Ok(fs::write_atomic(&path, commit.as_bytes())?)
    }
}

/// What the cache folder has of a file.
pub(super) enum Held {
    Absent,
    /// It is the hub's, as far as a hash is known.
    Sound(Option<ContentHash>),
    /// Why it is not.
    Broken(String),
}

/// What the folder has of a file.
pub(super) fn held(path: &Path, file: &RemoteFile) -> Result<Held, Error> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(Held::Absent) };
    let of_blob = || {
        let target = std::fs::read_link(path).ok()?;
        ContentHash::parse(target.file_name()?.to_str()?)
    };
    let hash = file.hash.clone().or_else(of_blob);
    if let Some(size) = file.size.filter(|size| *size != metadata.len()) {
        let reason = format!("has {} bytes, the hub's has {size}", metadata.len());
        return Ok(Held::Broken(reason));
    }
    match &hash {
        Some(hash) if !hash.holds(path, metadata.len()).map_err(fs::Error::at("read", path))? => {
            Ok(Held::Broken(format!("is not the hub's file ({})", hash.words())))
        }
        _ => Ok(Held::Sound(hash)),
    }
}

/// Gives a blob its name: a relative link, or a copy where the file system has no links.
pub(super) fn link(blob: &Path, path: &Path) -> Result<(), Error> {
    let parent = path.parent().expect("a file below a snapshot");
    fs::create_dir_all(parent)?;
    #[cfg(unix)]
    {
        // From snapshots/<commit>/a/b up to the repository's folder, then down to blobs/<hash>.
        let repository = blob.parent().and_then(Path::parent).expect("a blob is in blobs/");
        let below = parent.strip_prefix(repository).expect("a snapshot of the same repository");
        let up: PathBuf = below.components().map(|_| Component::ParentDir).collect();
        let target = up.join("blobs").join(blob.file_name().expect("a blob has a name"));
        match std::os::unix::fs::symlink(&target, path) {
            Ok(()) => return Ok(()),
            // Another process was first.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            Err(_) => {}
        }
    }
    std::fs::copy(blob, path).map_err(fs::Error::at("write", path))?;
    Ok(())
}

/// Files below a folder, as paths relative to it with `/`; hidden ones and deep ones left out.
pub(super) fn list(root: &Path, below: &Path, depth: usize) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join(below)).into_iter().flatten().flatten() {
        let relative = below.join(entry.file_name());
        let Some(name) = relative.to_str() else { continue };
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = root.join(&relative);
        if path.is_file() {
            names.push(name.to_owned());
        } else if path.is_dir() && depth < 8 {
            names.extend(list(root, &relative, depth + 1));
        }
    }
    names
}
