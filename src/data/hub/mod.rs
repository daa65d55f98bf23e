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
//! | `environment`, `folder` | which servers and which folder; what is in it |
//! | `listing` | what a commit holds, and which files are a split's |
//! | `download` | one file: resumed, tried again, verified |
//! | `repo` | names and addresses |
//! | `status` | whether it can be reached |
//! | `verify` | content hashes |

mod client;
mod download;
mod environment;
mod folder;
mod listing;
mod repo;
mod status;
#[cfg(test)]
mod tests;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::progress::Progress;
use crate::fs;
pub use client::without_user;
use client::{Endpoint, Failure};
use folder::{Held, held, link};
pub(crate) use listing::Choice;
use listing::{Listing, RemoteFile};
use repo::{Kind, Repo, safe_path};
pub use status::{HubStatus, ServerStatus, hub_status};
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
    /// The `tokenizer.json` of a model repository, fetched if it is not here.
    pub(crate) fn tokenizer(
        &self,
        id: &str,
        revision: &str,
        progress: &dyn Progress,
    ) -> Result<HubFile, Error> {
        let repo = Repo::new(Kind::Model, id, revision)?;
        if let Some((_, commit)) = self.cached_tokenizer(id, revision)? {
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

    /// Asks the servers what a revision means and holds, and remembers it.
    fn ask(&self, repo: &Repo, progress: &dyn Progress) -> Result<Listing, Error> {
        let what = format!("`{}` at `{}`", repo.id(), repo.revision());
        let listing =
            self.each_endpoint(&format!("look up {what}"), |agent, endpoint, patience| {
                let ask = |with_hashes| {
                    let path = repo.listing_address(with_hashes);
                    download::patiently(endpoint, patience, progress, || {
                        let answer = client::get(agent, endpoint, &path, 0);
                        (answer.and_then(|answer| read_listing(answer.response)), false)
                    })
                };
                // Simple mirrors know the plain question only; if that fails too, the first answer counts.
                ask(true).or_else(|failure| match failure {
                    Failure::Status { code: 400 | 404, .. } => ask(false).map_err(|_| failure),
                    _ => Err(failure),
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
