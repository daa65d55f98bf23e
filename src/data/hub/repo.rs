//! A repository's name in addresses and in folders, and what may become a path at all.

use std::path::{Component, Path, PathBuf};

use super::super::error::Error;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A model; its tokenizer is what is read.
    Model,
    /// A dataset.
    Dataset,
}

/// A repository at a revision, both safe in paths and addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repo {
    kind: Kind,
    id: String,
    revision: String,
}

impl Repo {
    /// Checks id (`owner/name`, or a name alone) and revision.
    ///
    /// # Errors
    /// If one of them could lead elsewhere.
    pub(crate) fn new(kind: Kind, id: &str, revision: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = id.split('/').collect();
        let revision_ok = revision.split('/').all(is_name);
        if parts.len() <= 2 && parts.iter().all(|part| is_name(part)) && revision_ok {
            return Ok(Self { kind, id: id.to_owned(), revision: revision.to_owned() });
        }
        Err(Error::Config {
            what: format!("`{id}` at revision `{revision}` is not a hub id"),
            remedy: "write `owner/name`, with a branch, tag or commit as revision; a local file is given by its path".to_owned(),
        })
    }

    /// `owner/name`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Branch, tag or commit as asked for.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    /// Its folder in the cache, as other tools call it.
    pub(crate) fn folder_name(&self) -> String {
        let kind = match self.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        format!("{kind}--{}", self.id.replace('/', "--"))
    }

    /// Where a server tells what the revision holds; with sizes and hashes, if it knows that question.
    pub(crate) fn listing_address(&self, with_hashes: bool) -> String {
        let kind = match self.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        let question = if with_hashes { "?blobs=true" } else { "" };
        format!("api/{kind}/{}/revision/{}{question}", self.id, escaped(&self.revision))
    }

    /// Where a server has a file of a commit.
    pub(crate) fn file_address(&self, commit: &str, name: &str) -> String {
        let prefix = match self.kind {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        let name: Vec<String> = name.split('/').map(escaped).collect();
        format!("{prefix}{}/resolve/{commit}/{}", self.id, name.join("/"))
    }

    /// The command of the hub's own tool that fetches a file, or all of them.
    pub(crate) fn download_command(&self, file: &str) -> String {
        let kind = match self.kind {
            Kind::Model => "",
            Kind::Dataset => "--repo-type dataset ",
        };
        let command = format!("hf download {kind}{} --revision {} {file}", self.id, self.revision);
        command.trim_end().to_owned()
    }
}

/// Percent-encoded for one part of an address.
fn escaped(part: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'=');
    part.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn is_name(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
}

/// Whether a text from a server is safe as the name of a file or folder.
pub(crate) fn is_word(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !value.is_empty() && value.len() <= 128 && value.chars().all(plain)
}

/// The path of a file in a repository, if it stays inside a folder on every system.
pub(crate) fn safe_path(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !name.is_empty() && !name.contains(['\\', ':', '\0'])).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_folders_are_the_hubs() {
        let data = Repo::new(Kind::Dataset, "a/b", "refs/convert/parquet").unwrap();
        assert_eq!(data.folder_name(), "datasets--a--b");
        assert_eq!(
            data.listing_address(true),
            "api/datasets/a/b/revision/refs%2Fconvert%2Fparquet?blobs=true"
        );
        assert_eq!(
            data.file_address("c0", "x y/50%.txt"),
            "datasets/a/b/resolve/c0/x%20y/50%25.txt"
        );
        let model = Repo::new(Kind::Model, "gpt2", "main").unwrap();
        assert_eq!(model.folder_name(), "models--gpt2");
        assert_eq!(model.file_address("c0", "tokenizer.json"), "gpt2/resolve/c0/tokenizer.json");
        assert_eq!(model.download_command(""), "hf download gpt2 --revision main");
    }

    #[test]
    fn ids_that_could_lead_elsewhere_are_refused() {
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
            let error = Repo::new(Kind::Model, id, revision).unwrap_err();
            assert_eq!(error.kind(), crate::data::ErrorKind::Input, "{id} {revision}");
        }
        for name in ["../x", "/x", "a/../b", "a\\b", "", "c:x", "./a/.."] {
            assert_eq!(safe_path(name), None, "{name}");
        }
        assert_eq!(safe_path("data/train-0.txt").unwrap(), Path::new("data/train-0.txt"));
        assert!(!is_word("../../x") && is_word("d41d8cd98f00b204-1"));
    }
}
