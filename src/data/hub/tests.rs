//! The cache folder, without a server; what needs one is in tests/hub.

use std::path::Path;

use super::*;
use crate::data::{ErrorKind, NoProgress};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl Hub {
    /// A hub that is not asked for anything.
    pub(crate) fn offline(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            listings: folder.join("listings"),
            // Nothing listens there: a request fails at once.
            endpoints: vec![Endpoint { url: "http://127.0.0.1:9".to_owned(), token: None }],
            offline: true,
            patience: Duration::ZERO,
            silence: Duration::from_secs(5),
        }
    }
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
        let hub = Hub { offline, ..Hub::offline(dir.path()) };
        let file = hub.tokenizer("a/b", "main", &NoProgress).unwrap();
        assert_eq!(file.commit, COMMIT);
        assert_eq!(std::fs::read(file.path).unwrap(), b"x");
        assert_eq!(hub.tokenizer("a/b", COMMIT, &NoProgress).unwrap().commit, COMMIT);
    }
    put(dir.path(), "datasets--a--d", &["train-b.txt", "train-a.txt", "valid.txt", "x.md"]);
    let hub = Hub::offline(dir.path());
    let split = hub.split("a/d", "main", &Choice::Split("train"), &NoProgress).unwrap();
    assert_eq!(split.names().collect::<Vec<_>>(), ["train-a.txt", "train-b.txt"]);
    assert_eq!(split.commit, COMMIT);
    assert_eq!(std::fs::read(split.file(1, &NoProgress).unwrap().path).unwrap(), b"x");
}

#[test]
fn offline_errors_name_the_folder_and_the_command() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "datasets--a--d", &["train.txt"]);
    let hub = Hub::offline(dir.path());
    let split =
        |revision, split| hub.split("a/d", revision, &Choice::Split(split), &NoProgress).err();
    for (error, command) in [
        (
            hub.tokenizer("a/b", "main", &NoProgress).unwrap_err(),
            "hf download a/b --revision main tokenizer.json`",
        ),
        (split("v2", "train").unwrap(), "hf download --repo-type dataset a/d --revision v2`"),
        (split("main", "test").unwrap(), "xp data SPEC"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Environment);
        let text = error.to_string();
        assert!(text.contains(command), "{text}");
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
    }
}

#[test]
fn a_ref_that_points_outside_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "models--a--b", &["tokenizer.json"]);
    std::fs::write(dir.path().join("models--a--b/refs/main"), "../../..").unwrap();
    assert!(Hub::offline(dir.path()).tokenizer("a/b", "main", &NoProgress).is_err());
}

#[test]
fn a_link_leads_from_the_snapshot_to_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let blob = dir.path().join("datasets--a--d/blobs/abc");
    fs::write_atomic(&blob, b"text").unwrap();
    let path = dir.path().join("datasets--a--d/snapshots/c0/deep/er/train.txt");
    link(&blob, &path).unwrap();
    link(&blob, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"text");
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("../../../../blobs/abc"));
}
