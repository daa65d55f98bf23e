//! Files of the hub, through its local cache folder.
//!
//! The folder is the one that other Hugging Face tools use (`HF_HOME/hub`, or `HF_HUB_CACHE`), and
//! has their form: `<kind>s--<owner>--<name>/refs/<revision>` names a commit, `blobs/<hash>` are
//! contents, `snapshots/<commit>/` links to them under their names. What is there is used without a
//! network. Beside it, `<xp's cache>/hub/<repository>/<commit>.json` remembers what a commit holds.
//!
//! Every file is checked against the size and hash that the hub has for the revision, also one that
//! another tool put into the folder. Nothing that a server sends becomes a path before it is
//! checked, and a download is complete and checked before it gets its name.
//!
//! | file | what |
//! | --- | --- |
//! | `client` | addresses, redirects, answers |
//! | `listing` | what a commit holds, and which files are a split's |
//! | `download` | one file: resumed, tried again, verified |
//! | `repo` | names and addresses |
//! | `status` | whether it can be reached |
//! | `verify` | content hashes |

mod client;
mod download;
mod listing;
mod repo;
mod status;
#[cfg(test)]
mod tests;
mod verify;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::cache::Progress;
use super::error::Error;
use crate::fs;
pub use client::without_user;
use client::{Endpoint, Failure};
pub(crate) use listing::Choice;
use listing::{Listing, RemoteFile};
use repo::{Kind, Repo, is_word, safe_path};
pub use status::{HubStatus, hub_status};
use verify::ContentHash;

/// The hub itself.
const OFFICIAL: &str = "https://huggingface.co";

/// The file of a model repository that is its tokenizer.
const TOKENIZER: &str = "tokenizer.json";

/// The largest answer to a question about a repository.
const MAX_LISTING: u64 = 256 << 20;

/// Where the hub is, and what of it is here.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    /// The cache folder, `…/huggingface/hub`.
    pub(crate) folder: PathBuf,
    /// Where listings are remembered.
    pub(crate) listings: PathBuf,
    /// Servers, tried in this order.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Use the cache folder only.
    pub(crate) offline: bool,
    /// How long a server that fails is asked again.
    pub(crate) patience: Duration,
    /// How long a server may be silent.
    pub(crate) silence: Duration,
}

/// A file of a repository at one commit, in the cache folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubFile {
    pub(crate) path: PathBuf,
    pub(crate) commit: String,
    /// `sha256:…` or `git:…`, if it is known.
    pub(crate) hash: Option<String>,
}

/// The files of a dataset's split at one commit; fetched one by one, when they are asked for.
#[derive(Debug, Clone)]
pub(crate) struct HubSplit {
    hub: Hub,
    repo: Repo,
    pub(crate) commit: String,
    files: Vec<RemoteFile>,
}

impl HubSplit {
    /// Paths in the repository, in the order in which they are read.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// The `index`-th file, fetched if it is not here.
    ///
    /// # Errors
    /// If it cannot be had, or is not the one of the commit.
    pub(crate) fn file(&self, index: usize, progress: &dyn Progress) -> Result<HubFile, Error> {
        self.hub.get(&self.repo, &self.commit, &self.files[index], progress)
    }
}

impl Hub {
    /// From `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_OFFLINE`, `HF_HUB_DOWNLOAD_TIMEOUT` and `XP_HUB_RETRY_S`; `mirrors` are asked
    /// after `HF_ENDPOINT`, and instead of the hub itself.
    ///
    /// The token goes to the hub and to `HF_ENDPOINT`, which the user has chosen; never to a
    /// server that a spec names.
    pub(crate) fn from_env(cache: &Path, mirrors: &[String]) -> Result<Self, Error> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = match var("HF_HOME") {
            Some(home) => PathBuf::from(home),
            None => match var("XDG_CACHE_HOME") {
                Some(caches) => Path::new(&caches).join("huggingface"),
                None => etcetera::home_dir()
                    .map_err(|_| Error::Environment {
                        what: "no home folder, so no hub cache folder".to_owned(),
                        remedy: "set HF_HOME".to_owned(),
                    })?
                    .join(".cache/huggingface"),
            },
        };
        let folder = var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from);
        let truth = |name: &str| {
            var(name)
                .is_some_and(|v| matches!(v.to_lowercase().as_str(), "1" | "true" | "yes" | "on"))
        };
        let token = var("HF_TOKEN").or_else(|| {
            let path = var("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
            let text = std::fs::read_to_string(path).ok()?;
            Some(text.trim().to_owned()).filter(|token| !token.is_empty())
        });
        // One that is no header would fail later, with the token in the message.
        if token.as_ref().is_some_and(|t| !t.bytes().all(|b| (33..127).contains(&b))) {
            return Err(Error::Environment {
                what: "the hub token (HF_TOKEN) has characters that no token has".to_owned(),
                remedy: "copy it again".to_owned(),
            });
        }
        let seconds = |name: &str, default: u64| {
            Duration::from_secs(var(name).and_then(|text| text.parse().ok()).unwrap_or(default))
        };
        let own = var("HF_ENDPOINT");
        let mut endpoints: Vec<Endpoint> = Vec::new();
        let mut add = |url: &str, trusted: bool| {
            let url = url.trim_end_matches('/').to_owned();
            let token = token.clone().filter(|_| trusted || url == OFFICIAL);
            if endpoints.iter().all(|endpoint| endpoint.url != url) {
                endpoints.push(Endpoint { url, token });
            }
        };
        own.iter().for_each(|url| add(url, true));
        mirrors.iter().for_each(|url| add(url, false));
        if endpoints.is_empty() {
            endpoints.push(Endpoint { url: OFFICIAL.to_owned(), token });
        }
        Ok(Self {
            folder,
            listings: cache.join("hub"),
            endpoints,
            offline: truth("HF_HUB_OFFLINE"),
            patience: seconds("XP_HUB_RETRY_S", 60),
            silence: seconds("HF_HUB_DOWNLOAD_TIMEOUT", 30).max(Duration::from_secs(1)),
        })
    }

    /// The `tokenizer.json` of a model repository, fetched if it is not here.
    pub(crate) fn tokenizer(
        &self,
        id: &str,
        revision: &str,
        progress: &dyn Progress,
    ) -> Result<HubFile, Error> {
        let repo = Repo::new(Kind::Model, id, revision)?;
        if let Some(commit) = self.commit_here(&repo)
            && self.snapshot(&repo, &commit).join(TOKENIZER).is_file()
        {
            let listing = self.listing_here(&repo, &commit);
            let known = listing.as_ref().and_then(|listing| listing.file(TOKENIZER)).cloned();
            let file =
                known.unwrap_or(RemoteFile { name: TOKENIZER.to_owned(), size: None, hash: None });
            return self.get(&repo, &commit, &file, progress);
        }
        if self.offline {
            return Err(self.not_here(&format!("tokenizer `{id}`"), &repo, TOKENIZER));
        }
        let listing = self.ask(&repo, progress)?;
        let Some(file) = listing.file(TOKENIZER) else {
            return Err(Error::Config {
                what: format!("the hub's `{id}` at `{revision}` has no {TOKENIZER}"),
                remedy: "take the id of a model that has one, or a local file".to_owned(),
            });
        };
        let file = self.get(&repo, &listing.commit, file, progress)?;
        self.write_ref(&repo, &listing.commit)?;
        Ok(file)
    }

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

    /// The files of a dataset's split: which they are, at which commit. None is fetched yet.
    ///
    /// Offline it is the newest commit here, and what is known of it.
    pub(crate) fn split(
        &self,
        id: &str,
        revision: &str,
        choice: &Choice<'_>,
        progress: &dyn Progress,
    ) -> Result<HubSplit, Error> {
        let repo = Repo::new(Kind::Dataset, id, revision)?;
        // A commit that is known needs no question.
        let known = (repo.revision().len() == 40)
            .then(|| self.listing_here(&repo, repo.revision()))
            .flatten();
        let listing = match known {
            Some(listing) => listing,
            None if self.offline => {
                let Some(commit) = self.commit_here(&repo) else {
                    return Err(self.not_here(&format!("dataset `{id}`"), &repo, ""));
                };
                let remembered = self.listing_here(&repo, &commit).map(Ok);
                remembered.unwrap_or_else(|| self.listing_of_folder(&repo, commit, choice))?
            }
            None => {
                let listing = self.ask(&repo, progress)?;
                self.write_ref(&repo, &listing.commit)?;
                listing
            }
        };
        let files = listing.choose(id, choice)?;
        Ok(HubSplit { hub: self.clone(), repo, commit: listing.commit, files })
    }

    /// What another tool has fetched of a commit: it may be a part of what there is.
    fn listing_of_folder(
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

    /// Asks the servers what a revision means and holds, and remembers it.
    fn ask(&self, repo: &Repo, progress: &dyn Progress) -> Result<Listing, Error> {
        let path = repo.listing_address();
        let what = format!("`{}` at `{}`", repo.id(), repo.revision());
        let listing =
            self.each_endpoint(&format!("look up {what}"), |agent, endpoint, patience| {
                download::patiently(patience, progress, || {
                    let answer = client::get(agent, endpoint, &path, 0);
                    (answer.and_then(|answer| read_listing(answer.response)), false)
                })
            })?;
        let file = self.listing_file(repo, &listing.commit);
        let json = serde_json::to_vec(&listing).expect("a plain struct is JSON");
        fs::write_atomic(&file, &json)?;
        Ok(listing)
    }

    /// Tries an action with one server after another.
    fn each_endpoint<T>(
        &self,
        action: &str,
        mut attempt: impl FnMut(&ureq::Agent, &Endpoint, Duration) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let agent = client::agent(self.silence)?;
        let patience = self.patience / self.endpoints.len().max(1) as u32;
        let mut failures: Vec<(&str, Failure)> = Vec::new();
        for endpoint in &self.endpoints {
            match attempt(&agent, endpoint, patience) {
                Ok(done) => return Ok(done),
                Err(failure) => {
                    let local = matches!(failure, Failure::Stopped | Failure::Local(_));
                    failures.push((&endpoint.url, failure));
                    if local {
                        break;
                    }
                }
            }
        }
        Err(failed(action, &failures))
    }

    /// A file of a commit: here already and sound, or fetched now.
    fn get(
        &self,
        repo: &Repo,
        commit: &str,
        file: &RemoteFile,
        progress: &dyn Progress,
    ) -> Result<HubFile, Error> {
        let Some(relative) = safe_path(&file.name) else {
            let value = file.name.clone();
            let endpoint = self.endpoints.first().map_or("", |endpoint| &endpoint.url);
            let endpoint = client::without_user(endpoint);
            return Err(Error::Unsafe { endpoint, what: "a file name", value });
        };
        let path = self.snapshot(repo, commit).join(relative);
        let here = |hash: Option<ContentHash>| HubFile {
            path: path.clone(),
            commit: commit.to_owned(),
            hash: hash.map(|hash| hash.words()),
        };
        match held(&path, file)? {
            Held::Sound(hash) => return Ok(here(hash)),
            Held::Broken(reason) if self.offline => {
                return Err(Error::Corrupt { path, reason });
            }
            Held::Broken(_) => {
                // The blob as well, or the next download would find it complete.
                if let Ok(blob) = path.canonicalize() {
                    let _ = std::fs::remove_file(blob);
                }
                let _ = std::fs::remove_file(&path);
            }
            Held::Absent if self.offline => {
                let what = format!("`{}` of `{}`", file.name, repo.id());
                return Err(self.not_here(&what, repo, &file.name));
            }
            Held::Absent => {}
        }
        let action = format!("fetch `{}` of `{}`", file.name, repo.id());
        let store = download::Store {
            blobs: self.folder.join(repo.folder_name()).join("blobs"),
            locks: self.folder.join(".locks").join(repo.folder_name()),
        };
        let (blob, hash) = self.each_endpoint(&action, |agent, endpoint, patience| {
            let source = download::Source {
                agent,
                endpoint,
                address: repo.file_address(commit, &file.name),
                commit,
                file,
            };
            download::fetch(&source, &store, patience, progress)
        })?;
        link(&blob, &path)?;
        Ok(here(Some(hash)))
    }

    /// The commit that a revision meant when it was last fetched.
    fn commit_here(&self, repo: &Repo) -> Option<String> {
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

    fn snapshot(&self, repo: &Repo, commit: &str) -> PathBuf {
        self.folder.join(repo.folder_name()).join("snapshots").join(commit)
    }

    fn listing_file(&self, repo: &Repo, commit: &str) -> PathBuf {
        self.listings.join(repo.folder_name()).join(format!("{commit}.json"))
    }

    /// What is remembered of a commit.
    fn listing_here(&self, repo: &Repo, commit: &str) -> Option<Listing> {
        if !is_word(commit) {
            return None;
        }
        let bytes = std::fs::read(self.listing_file(repo, commit)).ok()?;
        let listing: Listing = serde_json::from_slice(&bytes).ok()?;
        (listing.commit == commit).then_some(listing)
    }

    fn write_ref(&self, repo: &Repo, commit: &str) -> Result<(), Error> {
        if repo.revision() == commit {
            return Ok(());
        }
        let path = self.folder.join(repo.folder_name()).join("refs").join(repo.revision());
        Ok(fs::write_atomic(&path, commit.as_bytes())?)
    }

    fn not_here(&self, what: &str, repo: &Repo, file: &str) -> Error {
        Error::Environment {
            what: format!(
                "{what} is not in the hub cache `{}`, and HF_HUB_OFFLINE forbids fetching it",
                self.folder.display()
            ),
            remedy: format!(
                "with a network, run `xp data SPEC` (or `{}`), then try again; `xp data export` \
                 moves tokens to a machine that has none",
                repo.download_command(file)
            ),
        }
    }
}

/// What the cache folder has of a file.
enum Held {
    Absent,
    /// It is the hub's, as far as a hash is known.
    Sound(Option<ContentHash>),
    /// Why it is not.
    Broken(String),
}

/// What the folder has of a file.
fn held(path: &Path, file: &RemoteFile) -> Result<Held, Error> {
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

/// The error after every server failed.
fn failed(action: &str, failures: &[(&str, Failure)]) -> Error {
    if failures.iter().any(|(_, failure)| matches!(failure, Failure::Stopped)) {
        return Error::Stopped;
    }
    let reasons: Vec<String> = failures
        .iter()
        .map(|(url, failure)| format!("{}: {}", client::without_user(url), failure.words()))
        .collect();
    let what = format!("cannot {action}: {}", reasons.join("; "));
    // What the last server said is what there is to do about: the others were passed over.
    let remedy = failures.last().map_or("", |(_, failure)| failure.remedy()).to_owned();
    let all_wrong = failures.iter().all(|(_, failure)| matches!(failure, Failure::Mismatch(_)));
    if all_wrong { Error::Untrue { what, remedy } } else { Error::Environment { what, remedy } }
}

fn read_listing(response: ureq::http::Response<ureq::Body>) -> Result<Listing, Failure> {
    if download::is_page(&response, "json") {
        return Err(Failure::Wrong(download::PAGE.to_owned()));
    }
    let mut body = response.into_body();
    let bytes = body
        .with_config()
        .limit(MAX_LISTING)
        .read_to_vec()
        .map_err(|e| Failure::Network(format!("its answer broke off: {e}")))?;
    Listing::parse(&bytes).map_err(Failure::Wrong)
}

/// Gives a blob its name: a relative link, or a copy where the file system has no links.
fn link(blob: &Path, path: &Path) -> Result<(), Error> {
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
fn list(root: &Path, below: &Path, depth: usize) -> Vec<String> {
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
