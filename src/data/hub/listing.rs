//! What a repository holds at one commit, and which of its files are a split's.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::Error;
use super::super::format::Format;
use super::repo::{is_word, safe_path};
use super::verify::ContentHash;

/// The files of a repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<RemoteFile>,
}

/// One file as the hub describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteFile {
    /// Path in the repository.
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hash: Option<ContentHash>,
}

impl Listing {
    /// Reads the hub's answer about a revision; the error says what it lacks.
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, String> {
        let json: Value =
            serde_json::from_slice(answer).map_err(|_| "its answer is not JSON".to_owned())?;
        let commit = json["sha"].as_str().ok_or("its answer names no commit")?;
        if !is_word(commit) {
            return Err(format!("it names the commit `{}`", super::client::brief(commit)));
        }
        let siblings = json["siblings"].as_array().ok_or("its answer lists no files")?;
        let mut files = Vec::with_capacity(siblings.len());
        for file in siblings {
            let Some(name) = file["rfilename"].as_str() else { continue };
            // A file that must not become a path is not offered; asked for by name it is refused.
            if safe_path(name).is_none() {
                continue;
            }
            let lfs = &file["lfs"];
            let large = lfs["sha256"].as_str().or_else(|| lfs["oid"].as_str());
            let hash = match large {
                Some(sha256) => ContentHash::parse(sha256),
                None => file["blobId"].as_str().and_then(ContentHash::parse),
            };
            let size = lfs["size"].as_u64().or_else(|| file["size"].as_u64());
            files.push(RemoteFile { name: name.to_owned(), size, hash });
        }
        Ok(Self { commit: commit.to_owned(), files })
    }

    /// Whether there is any file that `choice` means.
    pub(crate) fn has_any(&self, choice: &Choice<'_>) -> bool {
        self.files.iter().any(|file| match choice {
            Choice::Split(split) => {
                Format::of_name(&file.name).is_some() && has_word(&file.name, split)
            }
            Choice::Files(patterns) => patterns.iter().any(|pattern| means(pattern, &file.name)),
        })
    }

    /// The file of a name.
    pub(crate) fn file(&self, name: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The files that `choice` means, in the order in which they are read.
    ///
    /// # Errors
    /// If there are none, or if it is not clear which are meant.
    pub(crate) fn choose(&self, id: &str, choice: &Choice<'_>) -> Result<Vec<RemoteFile>, Error> {
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        let chosen = match choice {
            Choice::Split(split) => of_split(&names, id, split)?,
            // Who names files may mean a part of a set.
            Choice::Files(patterns) => of_patterns(&names, id, patterns)?,
        };
        Ok(chosen.iter().filter_map(|name| self.file(name).cloned()).collect())
    }
}

/// Which files of a dataset are read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice<'a> {
    /// Those whose path has the split's name among its words.
    Split(&'a str),
    /// Those that these names and globs mean, in their order.
    Files(&'a [String]),
}

impl Choice<'_> {
    /// As messages call it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Split(split) => format!("split `{split}`"),
            Self::Files(patterns) => format!("`{}`", patterns.join("`, `")),
        }
    }
}

/// Whether one of the words of a path is the split's name.
fn has_word(name: &str, split: &str) -> bool {
    name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == split)
}

/// Whether a name or glob means a file; a star does not cross folders.
fn means(pattern: &str, name: &str) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    pattern == name
        || glob::Pattern::new(pattern).is_ok_and(|glob| glob.matches_with(name, options))
}

/// The data files of a split, sorted. Parquet alone if there is any, since a repository that has it
/// holds the same text in other files again.
fn of_split<'a>(names: &[&'a str], id: &str, split: &str) -> Result<Vec<&'a str>, Error> {
    let data: Vec<(&str, Format)> =
        names.iter().filter_map(|name| Some((*name, Format::of_name(name)?))).collect();
    let mut found: Vec<(&str, Format)> =
        data.iter().filter(|(name, _)| has_word(name, split)).copied().collect();
    if found.iter().any(|(_, format)| format.is_parquet()) {
        found.retain(|(_, format)| format.is_parquet());
    }
    found.sort_unstable_by_key(|(name, _)| *name);
    let choose = "name its files: `dataset_files` in the split's table takes names and globs";
    if found.is_empty() {
        return Err(Error::Config {
            what: format!("dataset `{id}` has no file of split `{split}` ({})", told(&data)),
            remedy: format!("set `split` to one that it has, or {choose}"),
        });
    }
    let folder = |name: &str| Path::new(name).parent().map(Path::to_owned);
    let mixed = |what: String| Error::Config {
        what: format!("dataset `{id}` has the split `{split}` {what}"),
        remedy: format!("it is not clear which is meant: {choose}"),
    };
    let (first, format) = found[0];
    if let Some((other, _)) = found.iter().find(|(_, other)| other.word() != format.word()) {
        return Err(mixed(format!("in several formats (`{first}`, `{other}`)")));
    }
    if let Some((other, _)) = found.iter().find(|(name, _)| folder(name) != folder(first)) {
        return Err(mixed(format!("in several folders (`{first}`, `{other}`)")));
    }
    let found: Vec<&str> = found.into_iter().map(|(name, _)| name).collect();
    check_shards(&found, id)?;
    Ok(found)
}

/// The data files that there are, for a message.
fn told(data: &[(&str, Format)]) -> String {
    const SHOWN: usize = 8;
    match data.len() {
        0 => "it has no file in a format that xp reads".to_owned(),
        n => {
            let names: Vec<&str> = data.iter().take(SHOWN).map(|(name, _)| *name).collect();
            let more = if n > SHOWN { format!(", and {} more", n - SHOWN) } else { String::new() };
            format!("it has {}{more}", names.join(", "))
        }
    }
}

fn of_patterns<'a>(
    names: &[&'a str],
    id: &str,
    patterns: &[String],
) -> Result<Vec<&'a str>, Error> {
    let mut chosen: Vec<&str> = Vec::new();
    for text in patterns {
        let wrong = |what: String| Error::Config {
            what,
            remedy: "write a file's path in the dataset, or a glob such as `data/train-*.parquet`"
                .to_owned(),
        };
        glob::Pattern::new(text)
            .map_err(|e| wrong(format!("dataset_files: `{text}` is not a glob: {}", e.msg)))?;
        let mut found: Vec<&str> = names.iter().filter(|name| means(text, name)).copied().collect();
        found.sort_unstable();
        if found.is_empty() {
            let data: Vec<_> =
                names.iter().filter_map(|name| Some((*name, Format::of_name(name)?))).collect();
            let what = format!("dataset `{id}` has no file `{text}` ({})", told(&data));
            return Err(wrong(what));
        }
        for name in found {
            if chosen.contains(&name) {
                return Err(wrong(format!("dataset_files means `{name}` of `{id}` twice")));
            }
            chosen.push(name);
        }
    }
    Ok(chosen)
}

/// Refuses a part of a set `name-00001-of-00004`: a result on it would look like the whole's.
fn check_shards(names: &[&str], id: &str) -> Result<(), Error> {
    for name in names {
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric()).skip_while(|w| *w != "of");
        let Some(count) = words.nth(1).and_then(|word| word.parse::<usize>().ok()) else {
            continue;
        };
        let suffix = format!("-of-{}", name.split("-of-").nth(1).unwrap_or_default());
        // A hash may follow the number; it is another one for every file.
        let suffix = suffix.split(['.', '-']).take(3).collect::<Vec<_>>().join("-");
        let here = names.iter().filter(|other| other.contains(&suffix)).count();
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

    fn split(names: &[&str], split: &str) -> Result<Vec<String>, String> {
        of_split(names, "a/b", split)
            .map(|found| found.into_iter().map(str::to_owned).collect())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_split_is_the_files_with_its_name_and_parquet_goes_before_text() {
        let all = ["TinyStories-train.txt", "data/train-00000-of-00001-ab.parquet", "README.md"];
        assert_eq!(split(&all, "train").unwrap(), ["data/train-00000-of-00001-ab.parquet"]);
        assert!(split(&all, "rain").unwrap_err().contains("no file of split `rain` (it has"));
        let text = ["b-train.jsonl.gz", "a-train.jsonl", "valid.jsonl", "train.md"];
        assert_eq!(split(&text, "train").unwrap(), ["a-train.jsonl", "b-train.jsonl.gz"]);
    }

    #[test]
    fn what_is_not_clear_is_refused_with_a_way_out() {
        for (names, expected) in [
            (&["x/train-0.parquet", "y/train-0.parquet"][..], "in several folders"),
            (&["train.txt", "train.jsonl"][..], "in several formats"),
            (&["train.bin"][..], "no file in a format that xp reads"),
            (&["train-00000-of-00002.jsonl"][..], "only 1 of 2"),
            (&["train-00000-of-00002-ab12.parquet"][..], "only 1 of 2"),
        ] {
            let error = split(names, "train").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        split(&["train-00000-of-00002-ab.parquet", "train-00001-of-00002-cd.parquet"], "train")
            .unwrap();
    }

    #[test]
    fn named_files_keep_their_order_and_globs_are_sorted() {
        let names = ["a/2.parquet", "a/1.parquet", "b/1.parquet", "a/x/3.parquet"];
        let choose = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&p| p.to_owned()).collect();
            of_patterns(&names, "o/n", &patterns)
                .map(|found| found.join(" "))
                .map_err(|e| e.to_string())
        };
        assert_eq!(choose(&["b/1.parquet", "a/*"]).unwrap(), "b/1.parquet a/1.parquet a/2.parquet");
        assert_eq!(choose(&["**/3.parquet"]).unwrap(), "a/x/3.parquet");
        assert!(choose(&["a/*", "a/1.parquet"]).unwrap_err().contains("twice"));
        assert!(choose(&["c/*"]).unwrap_err().contains("no file `c/*` (it has a/2.parquet"));
        assert!(choose(&["["]).unwrap_err().contains("not a glob"));
    }

    #[test]
    fn an_answer_of_the_hub_gives_names_sizes_and_hashes() {
        let (sha256, sha1) = ("ab".repeat(32), "cd".repeat(20));
        let answer = serde_json::json!({"sha": "c0ffee", "siblings": [
            {"rfilename": "a.parquet", "size": 7, "blobId": sha1, "lfs": {"sha256": sha256, "size": 9}},
            {"rfilename": "b.txt", "size": 5, "blobId": sha1},
            {"rfilename": "../evil", "size": 5},
            {"rfilename": "plain"},
        ]});
        let listing = Listing::parse(answer.to_string().as_bytes()).unwrap();
        assert_eq!(listing.commit, "c0ffee");
        let facts: Vec<_> = listing.files.iter().map(|f| (f.name.as_str(), f.size)).collect();
        assert_eq!(facts, [("a.parquet", Some(9)), ("b.txt", Some(5)), ("plain", None)]);
        assert_eq!(listing.files[0].hash, Some(ContentHash::Sha256(sha256)));
        assert_eq!(listing.files[1].hash, Some(ContentHash::Git(sha1)));
        for wrong in ["<html>", "{}", r#"{"sha": "../x", "siblings": []}"#, r#"{"sha": "a"}"#] {
            Listing::parse(wrong.as_bytes()).unwrap_err();
        }
    }
}
