//! Files of the hub, through its local cache folder.
//!
//! The folder is the one that other Hugging Face tools use (`HF_HOME/hub`, or `HF_HUB_CACHE`):
//! `<kind>s--<owner>--<name>/refs/<revision>` names a commit, `snapshots/<commit>/` holds its
//! files. What is there is used without a network. Nothing that a server sends becomes a path
//! before it is checked, and a download is complete and synced before it gets its name.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

use super::error::Error;
use crate::fs;

/// Where the hub is, and what of it is here.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    /// The cache folder, `…/huggingface/hub`.
    pub(crate) folder: PathBuf,
    /// Base address.
    pub(crate) endpoint: String,
    /// Access token, if any.
    pub(crate) token: Option<String>,
    /// Use the cache folder only.
    pub(crate) offline: bool,
}

/// A file of a repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubFile {
    pub(crate) path: PathBuf,
    pub(crate) commit: String,
}

/// Files of a dataset split at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubFiles {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) commit: String,
}

impl Hub {
    /// From `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    pub(crate) fn from_env() -> Result<Self, Error> {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = match (var("HF_HUB_CACHE"), var("HF_HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => Path::new(&home).join("hub"),
            (None, None) => etcetera::home_dir()
                .map_err(|_| Error::Environment {
                    what: "no home folder, so no hub cache folder".to_owned(),
                    remedy: "set HF_HOME".to_owned(),
                })?
                .join(".cache/huggingface/hub"),
        };
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let offline = var("HF_HUB_OFFLINE")
            .is_some_and(|v| matches!(v.to_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        let token = var("HF_TOKEN").or_else(|| Cache::new(folder.clone()).token());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Ok(Self { folder, endpoint, token, offline })
    }

    /// The `tokenizer.json` of a model repository, fetched if it is not here.
    pub(crate) fn tokenizer(&self, id: &str, revision: &str) -> Result<HubFile, Error> {
        if let Some(file) = self.cached_tokenizer(id, revision)? {
            return Ok(file);
        }
        let repo = repo(RepoType::Model, id, revision)?;
        if self.offline {
            return Err(self.not_here(
                &format!("tokenizer `{id}`"),
                &repo,
                "hf download",
                "tokenizer.json",
            ));
        }
        self.fetch(&self.api()?, &repo, "tokenizer.json")
    }

    /// The `tokenizer.json` of a model repository if it is in the cache folder.
    pub(crate) fn cached_tokenizer(
        &self,
        id: &str,
        revision: &str,
    ) -> Result<Option<HubFile>, Error> {
        let repo = repo(RepoType::Model, id, revision)?;
        Ok(self.commit_here(&repo).and_then(|commit| {
            let path = self.snapshot(&repo, &commit).join("tokenizer.json");
            path.is_file().then_some(HubFile { path, commit })
        }))
    }

    /// The text files of a dataset's split, by name, fetched if they are not here.
    ///
    /// A file belongs to the split if one of the words of its path is the split's name. Offline,
    /// the files in the newest snapshot here are taken.
    pub(crate) fn split_files(
        &self,
        id: &str,
        revision: &str,
        split: &str,
    ) -> Result<HubFiles, Error> {
        let repo = repo(RepoType::Dataset, id, revision)?;
        if self.offline {
            let here = self.commit_here(&repo).map(|commit| {
                let names = list(&self.snapshot(&repo, &commit), Path::new(""), 0);
                (commit, of_split(&names, split))
            });
            let Some((commit, names)) = here.filter(|(_, names)| !names.is_empty()) else {
                let dataset = format!("split `{split}` of dataset `{id}`");
                return Err(self.not_here(&dataset, &repo, "hf download --repo-type dataset", ""));
            };
            check_shards(&names, id)?;
            let folder = self.snapshot(&repo, &commit);
            return Ok(HubFiles { paths: names.iter().map(|n| folder.join(n)).collect(), commit });
        }
        let api = self.api()?;
        let info = api.repo(repo.clone()).info().map_err(|e| self.failed("list", id, &e))?;
        self.check_word("a commit", &info.sha)?;
        let names: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
        let names = of_split(&names, split);
        if names.is_empty() {
            return Err(Error::Config {
                what: format!(
                    "dataset `{id}` at `{revision}` has no .txt, .jsonl or .parquet file of split `{split}`"
                ),
                remedy: "set `split` to one that it has, or name local `files`".to_owned(),
            });
        }
        check_shards(&names, id)?;
        // From here on the commit is meant, so that all files are of one state.
        let pinned = Repo::with_revision(id.to_owned(), RepoType::Dataset, info.sha.clone());
        let mut paths = Vec::new();
        for name in &names {
            let path = self.snapshot(&repo, &info.sha).join(self.safe_path(name)?);
            if name.ends_with(".parquet") || path.is_file() {
                paths.push(path); // Parquet is refused by its name; no need to fetch it first.
            } else {
                paths.push(self.fetch(&api, &pinned, name)?.path);
            }
        }
        self.write_ref(&repo, &info.sha)?;
        Ok(HubFiles { paths, commit: info.sha })
    }

    fn api(&self) -> Result<Api, Error> {
        ApiBuilder::from_cache(Cache::new(self.folder.clone()))
            .with_endpoint(self.endpoint.clone())
            .with_token(self.token.clone())
            .with_progress(false)
            .build()
            .map_err(|e| self.failed("set up a connection to", "the hub", &e))
    }

    /// Downloads one file into the snapshot of its commit.
    fn fetch(&self, api: &Api, repo: &Repo, name: &str) -> Result<HubFile, Error> {
        let url = api.repo(repo.clone()).url(name);
        let metadata = api.metadata(&url).map_err(|e| self.failed("fetch", &url, &e))?;
        let commit = metadata.commit_hash().to_owned();
        self.check_word("a commit", &commit)?;
        self.check_word("an etag", metadata.etag())?;
        let path = self.snapshot(repo, &commit).join(self.safe_path(name)?);
        let response = api
            .repo(repo.clone())
            .info_request() // For its headers and redirect rules; the address is set here.
            .uri(&url)
            .header("Range", "bytes=0-") // So that no server compresses it on the way.
            .call()
            .map_err(|e| self.failed("fetch", &url, &ApiError::from(Box::new(e))))?;
        // Not more than promised, so that a wrong server cannot fill the disk.
        let expected = metadata.size() as u64;
        let mut body = response.into_body().into_reader().take(expected.saturating_add(1));
        fs::write_atomic_with(&path, |file| {
            let copied = std::io::copy(&mut body, file)?;
            if copied == expected {
                return Ok(());
            }
            Err(std::io::Error::other(format!(
                "{url} sent {copied} bytes of {expected}; run again"
            )))
        })?;
        self.write_ref(repo, &commit)?;
        Ok(HubFile { path, commit })
    }

    /// The commit that a revision meant when it was last fetched.
    fn commit_here(&self, repo: &Repo) -> Option<String> {
        let folder = self.folder.join(repo.folder_name());
        let commit = match std::fs::read_to_string(folder.join("refs").join(repo.revision())) {
            Ok(commit) => commit.trim().to_owned(),
            Err(_) => repo.revision().to_owned(),
        };
        (is_word(&commit) && folder.join("snapshots").join(&commit).is_dir()).then_some(commit)
    }

    fn snapshot(&self, repo: &Repo, commit: &str) -> PathBuf {
        self.folder.join(repo.folder_name()).join("snapshots").join(commit)
    }

    fn write_ref(&self, repo: &Repo, commit: &str) -> Result<(), Error> {
        if repo.revision() == commit {
            return Ok(());
        }
        let path = self.folder.join(repo.folder_name()).join("refs").join(repo.revision());
        Ok(fs::write_atomic(&path, commit.as_bytes())?)
    }

    fn check_word(&self, what: &'static str, value: &str) -> Result<(), Error> {
        if is_word(value) {
            return Ok(());
        }
        Err(Error::Unsafe { endpoint: self.endpoint.clone(), what, value: value.to_owned() })
    }

    fn safe_path(&self, name: &str) -> Result<PathBuf, Error> {
        let path = Path::new(name);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if plain && !name.is_empty() && !name.contains(['\\', ':', '\0']) {
            return Ok(path.to_owned());
        }
        let value = name.to_owned();
        Err(Error::Unsafe { endpoint: self.endpoint.clone(), what: "a file name", value })
    }

    fn not_here(&self, what: &str, repo: &Repo, command: &str, file: &str) -> Error {
        let id = repo.url();
        let id = id.strip_prefix("datasets/").unwrap_or(&id);
        let command = format!("{command} {id} --revision {} {file}", repo.revision());
        Error::Environment {
            what: format!(
                "{what} is not in the hub cache `{}`, and HF_HUB_OFFLINE forbids fetching it",
                self.folder.display()
            ),
            remedy: format!(
                "with a network, run `xp data SPEC` (or `{}`), then try again",
                command.trim_end()
            ),
        }
    }

    fn failed(&self, action: &str, what: &str, error: &ApiError) -> Error {
        let text = error.to_string();
        let remedy = if text.contains("401") || text.contains("403") {
            "set HF_TOKEN to a token that may read it"
        } else if text.contains("404") {
            "check the id and the revision"
        } else {
            "check the network and HF_ENDPOINT; what was fetched before is used with HF_HUB_OFFLINE=1"
        };
        Error::Environment {
            what: format!("cannot {action} {what} (hub {}): {text}", self.endpoint),
            remedy: remedy.to_owned(),
        }
    }
}

/// A repository after checking that its id and revision are safe in paths and addresses.
fn repo(kind: RepoType, id: &str, revision: &str) -> Result<Repo, Error> {
    let parts: Vec<&str> = id.split('/').collect();
    let revision_ok = revision.split('/').all(is_name);
    if parts.len() <= 2 && parts.iter().all(|part| is_name(part)) && revision_ok {
        return Ok(Repo::with_revision(id.to_owned(), kind, revision.to_owned()));
    }
    Err(Error::Config {
        what: format!("`{id}` at revision `{revision}` is not a hub id"),
        remedy: "write `owner/name`, with a branch, tag or commit as revision; a local file is given by its path".to_owned(),
    })
}

fn is_name(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
}

fn is_word(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !value.is_empty() && value.len() <= 128 && value.chars().all(plain)
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

/// The text and Parquet files of a split, sorted; Parquet alone if there is any, since a
/// repository that has it holds the same text in other files again.
fn of_split(names: &[String], split: &str) -> Vec<String> {
    let has = |name: &str, extension: &str| {
        Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case(extension))
    };
    let of_split =
        |name: &&String| name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == split);
    let mut found: Vec<String> = names
        .iter()
        .filter(|name| ["txt", "jsonl", "parquet"].iter().any(|e| has(name, e)))
        .filter(of_split)
        .cloned()
        .collect();
    if found.iter().any(|name| has(name, "parquet")) {
        found.retain(|name| has(name, "parquet"));
    }
    found.sort_unstable();
    found
}

/// Refuses a part of a set `name-00001-of-00004`: a result on it would look like the whole's.
fn check_shards(names: &[String], id: &str) -> Result<(), Error> {
    for name in names {
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric()).skip_while(|w| *w != "of");
        let Some(count) = words.nth(1).and_then(|word| word.parse::<usize>().ok()) else {
            continue;
        };
        let suffix = format!("-of-{}", name.split("-of-").nth(1).unwrap_or_default());
        let here = names.iter().filter(|other| other.ends_with(&suffix)).count();
        if here < count {
            return Err(Error::Environment {
                what: format!(
                    "only {here} of {count} files like `{name}` of dataset `{id}` are here"
                ),
                remedy: "fetch the rest: run `xp data SPEC` with a network".to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ErrorKind;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn hub(folder: &Path, offline: bool) -> Hub {
        // Nothing listens there: a request fails at once.
        let endpoint = "http://127.0.0.1:9".to_owned();
        Hub { folder: folder.to_owned(), endpoint, token: None, offline }
    }

    fn put(folder: &Path, repo: &str, files: &[&str]) {
        let repo = folder.join(repo);
        fs::write_atomic(&repo.join("refs/main"), COMMIT.as_bytes()).unwrap();
        for file in files {
            fs::write_atomic(&repo.join("snapshots").join(COMMIT).join(file), b"x").unwrap();
        }
    }

    #[test]
    fn what_is_in_the_cache_folder_needs_no_network() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "models--a--b", &["tokenizer.json"]);
        for offline in [true, false] {
            let hub = hub(dir.path(), offline);
            let file = hub.tokenizer("a/b", "main").unwrap();
            assert_eq!(file.commit, COMMIT);
            assert_eq!(std::fs::read(file.path).unwrap(), b"x");
            assert_eq!(hub.tokenizer("a/b", COMMIT).unwrap().commit, COMMIT);
        }
        put(dir.path(), "datasets--a--d", &["train/b.txt", "train-a.jsonl", "valid.txt", "x.md"]);
        let files = hub(dir.path(), true).split_files("a/d", "main", "train").unwrap();
        let names: Vec<_> = files.paths.iter().map(|p| p.file_name().unwrap()).collect();
        assert_eq!(names, ["train-a.jsonl", "b.txt"]);
        assert_eq!(files.commit, COMMIT);
    }

    #[test]
    fn offline_errors_name_the_folder_and_the_command() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "datasets--a--d", &["train.txt"]);
        let hub = hub(dir.path(), true);
        for (error, command) in [
            (
                hub.tokenizer("a/b", "main").unwrap_err(),
                "hf download a/b --revision main tokenizer.json`",
            ),
            (
                hub.split_files("a/d", "v2", "train").unwrap_err(),
                "hf download --repo-type dataset a/d --revision v2`",
            ),
            (hub.split_files("a/d", "main", "test").unwrap_err(), "xp data SPEC"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Environment);
            let text = error.to_string();
            assert!(text.contains(command), "{text}");
            assert!(text.contains(&dir.path().display().to_string()), "{text}");
        }
    }

    #[test]
    fn no_network_is_an_environment_error_with_the_address() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(dir.path(), false);
        for error in [
            hub.tokenizer("a/b", "main").unwrap_err(),
            hub.split_files("a/d", "main", "train").unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Environment);
            assert!(error.to_string().contains("http://127.0.0.1:9"), "{error}");
        }
    }

    #[test]
    fn ids_that_could_leave_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(dir.path(), true);
        for (id, revision) in [
            ("../x", "main"),
            ("a/b/c", "main"),
            ("", "main"),
            ("a/", "main"),
            ("/a", "main"),
            ("a/b", "../../x"),
            ("a/b", "/etc"),
            ("a/b", ""),
            ("a/b?x", "main"),
            ("a b", "main"),
        ] {
            let error = hub.tokenizer(id, revision).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input, "{id} {revision}");
        }
        for name in ["../x", "/x", "a/../b", "a\\b", "", "c:x", "./a/.."] {
            assert!(matches!(hub.safe_path(name), Err(Error::Unsafe { .. })), "{name}");
        }
        assert_eq!(hub.safe_path("data/train-0.txt").unwrap(), Path::new("data/train-0.txt"));
        assert!(hub.check_word("an etag", "../../x").is_err());
        assert!(hub.check_word("an etag", "d41d8cd98f00b204-1").is_ok());
    }

    #[test]
    fn a_ref_that_points_outside_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "models--a--b", &["tokenizer.json"]);
        std::fs::write(dir.path().join("models--a--b/refs/main"), "../../..").unwrap();
        assert!(hub(dir.path(), true).tokenizer("a/b", "main").is_err());
    }

    #[test]
    fn parquet_goes_before_text_and_a_part_of_a_set_is_refused() {
        let names = |list: &[&str]| list.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let all =
            names(&["TinyStories-train.txt", "data/train-00000-of-00002-ab.parquet", "README.md"]);
        assert_eq!(of_split(&all, "train"), ["data/train-00000-of-00002-ab.parquet"]);
        assert_eq!(of_split(&all, "rain"), Vec::<String>::new());
        let part = names(&["train-00000-of-00002.jsonl"]);
        assert!(check_shards(&part, "a/b").unwrap_err().to_string().contains("only 1 of 2"));
        let whole =
            names(&["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl", "train.txt"]);
        check_shards(&whole, "a/b").unwrap();
    }

    /// A hub on this machine that answers every request with the same file.
    fn serve(etag: &'static str, commit: &'static str, length: usize) -> String {
        use std::io::Write;
        use std::net::TcpListener;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap() == 0 {
                        return;
                    }
                    request.push(byte[0]);
                }
                let probe = String::from_utf8_lossy(&request).contains("bytes=0-0");
                let body = if probe { "h" } else { "hello" };
                let answer = format!(
                    "HTTP/1.1 206 Partial Content\r\netag: \"{etag}\"\r\nx-repo-commit: {commit}\r\n\
                     content-range: bytes 0-0/{length}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    fn fetch_from(address: String) -> (Result<HubFile, Error>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub { endpoint: address, ..hub(&dir.path().join("hub"), false) };
        let result = hub.tokenizer("a/b", "main");
        if let Ok(file) = &result {
            assert_eq!(std::fs::read(&file.path).unwrap(), b"hello");
            // From now on it is here.
            let offline = Hub { offline: true, ..hub };
            assert_eq!(&offline.tokenizer("a/b", "main").unwrap(), file);
        }
        (result, list(dir.path(), Path::new(""), 0))
    }

    #[test]
    fn a_file_is_fetched_once_into_the_layout_that_other_tools_use() {
        let (file, mut files) = fetch_from(serve("abc-1", COMMIT, 5));
        assert_eq!(file.unwrap().commit, COMMIT);
        files.sort_unstable();
        let snapshot = format!("hub/models--a--b/snapshots/{COMMIT}/tokenizer.json");
        assert_eq!(files, ["hub/models--a--b/refs/main".to_owned(), snapshot]);
    }

    #[test]
    fn a_hostile_or_broken_hub_leaves_no_file() {
        for (etag, commit, kind) in [
            ("../../evil", COMMIT, ErrorKind::Integrity),
            ("abc", "../../../evil", ErrorKind::Integrity),
        ] {
            let (result, files) = fetch_from(serve(etag, commit, 5));
            assert_eq!(result.unwrap_err().kind(), kind);
            assert_eq!(files, Vec::<String>::new());
        }
        for length in [4, 6] {
            let (result, files) = fetch_from(serve("abc", COMMIT, length));
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Environment);
            assert!(error.to_string().contains("bytes of"), "{error}");
            assert_eq!(files, Vec::<String>::new());
        }
    }
}
