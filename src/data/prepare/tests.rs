use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::data::{ErrorKind, NoProgress, Source, Split, synthetic};

/// A data folder and a cache, both thrown away.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn cache(&self) -> Cache {
        Cache::at(self.dir.path().join("cache"))
    }

    /// Offline, with an empty hub cache folder.
    fn hub(&self) -> Hub {
        Hub::offline(&self.dir.path().join("hub"))
    }

    fn prepare(&self, config: &Config, kind: SplitKind) -> Result<TokenStream, Error> {
        prepare_with(config, kind, &self.cache(), &self.hub(), &Pins::default(), &NoProgress)
    }

    fn ids(&self, config: &Config, kind: SplitKind) -> Vec<u32> {
        let stream = self.prepare(config, kind).unwrap();
        stream.get(0..stream.len()).unwrap()
    }
}

fn split(name: &str, max_tokens: Option<u64>) -> Split {
    Split { name: name.to_owned(), dataset_files: None, files: None, max_tokens }
}

fn generated(max_tokens: u64) -> Config {
    Config {
        source: Source::Synthetic,
        text_column: "text".to_owned(),
        tokenizer: Tokenizer::Bytes,
        separator: None,
        packing: Packing::Stream,
        endpoints: Vec::new(),
        train: split("train", Some(max_tokens)),
        validation: split("validation", Some(max_tokens)),
    }
}

fn local(train: Vec<PathBuf>) -> Config {
    Config {
        source: Source::Local,
        train: Split { files: Some(train), ..split("train", None) },
        ..generated(1)
    }
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// Removes the cached tokens, so that they are made again.
fn forget(fixture: &Fixture) {
    std::fs::remove_dir_all(fixture.cache().root()).unwrap();
}

#[test]
fn documents_are_joined_without_anything_between_them() {
    let fixture = Fixture::new();
    let a = fixture.file("a.txt", "One.\n<|endoftext|>\nTwo.\n<|endoftext|>\n");
    let b = fixture.file("b.jsonl", "{\"text\": \"Drei\"}\n");
    let config = local(vec![a, b]);
    let stream = fixture.prepare(&config, SplitKind::Train).unwrap();
    assert_eq!(stream.get(0..12).unwrap(), bytes("One.Two.Drei"));
    assert_eq!((stream.len(), stream.documents(), stream.largest_id()), (12, 3, 119));
    assert_eq!(stream.revision(), None);
    // The id is of the stored bytes: 16-bit, little endian.
    let stored: Vec<u8> = "One.Two.Drei".bytes().flat_map(|b| [b, 0]).collect();
    assert_eq!(stream.id(), blake3::hash(&stored).to_hex().as_str());
}

#[test]
fn a_separator_follows_every_document() {
    let fixture = Fixture::new();
    let a = fixture.file("a.txt", "One.\n<|endoftext|>\nTwo.\n<|endoftext|>\n");
    let config = Config { separator: Some("\n\n".to_owned()), ..local(vec![a]) };
    assert_eq!(fixture.ids(&config, SplitKind::Train), bytes("One.\n\nTwo.\n\n"));
}

#[test]
fn tokens_stop_after_the_document_that_reaches_the_bound() {
    let fixture = Fixture::new();
    let a =
        fixture.file("a.txt", "four\n<|endoftext|>\nfive5\n<|endoftext|>\nsix\n<|endoftext|>\n");
    for (bound, expected) in [(1, 4), (4, 4), (5, 9), (9, 9), (10, 12), (12, 12)] {
        let mut config = local(vec![a.clone()]);
        config.train.max_tokens = Some(bound);
        let stream = fixture.prepare(&config, SplitKind::Train).unwrap();
        assert_eq!(stream.len(), expected, "{bound}");
    }
}

#[test]
fn a_short_train_split_is_an_error_and_a_short_validation_split_is_not() {
    let fixture = Fixture::new();
    let a = fixture.file("a.txt", "hello\n");
    let mut config = local(vec![a]);
    config.train.max_tokens = Some(6);
    config.validation = config.train.clone();
    for _ in 0..2 {
        let error = fixture.prepare(&config, SplitKind::Train).unwrap_err();
        assert!(matches!(error, Error::TooFewTokens { found: 5, wanted: 6 }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Input);
    }
    assert_eq!(fixture.prepare(&config, SplitKind::Validation).unwrap().len(), 5);
}

#[test]
fn text_without_tokens_is_an_error() {
    let fixture = Fixture::new();
    let config = local(vec![fixture.file("a.txt", "\n<|endoftext|>\n\n")]);
    let error = fixture.prepare(&config, SplitKind::Train).unwrap_err();
    assert!(matches!(error, Error::NoText { .. }), "{error}");
    let config = local(vec![fixture.dir.path().join("none.txt")]);
    let error = fixture.prepare(&config, SplitKind::Train).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn cached_knows_the_counts_once_they_were_made() {
    let fixture = Fixture::new();
    let config = generated(3000);
    let known = || cached(&config, SplitKind::Train, &fixture.cache()).unwrap();
    assert_eq!(known(), None);
    let stream = fixture.prepare(&config, SplitKind::Train).unwrap();
    let info = known().unwrap();
    assert_eq!((info.tokens, info.documents), (stream.len(), stream.documents()));
    assert_eq!((info.largest_id, info.id.as_str()), (stream.largest_id(), stream.id()));
}

#[test]
fn generated_text_is_that_of_the_generator_in_order() {
    let fixture = Fixture::new();
    let config = generated(30_000);
    for kind in [SplitKind::Train, SplitKind::Validation] {
        let stream = fixture.prepare(&config, kind).unwrap();
        let text: String =
            (0..stream.documents()).map(|i| synthetic::story(kind.word(), i)).collect();
        assert_eq!(stream.get(0..stream.len()).unwrap(), bytes(&text));
        assert!(stream.len() >= 30_000);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_tokens() {
    let fixture = Fixture::new();
    let config =
        Config { tokenizer: Tokenizer::TrainBpe { vocab_size: 400 }, ..generated(200_000) };
    let mut ids = HashSet::new();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let stream = pool.install(|| fixture.prepare(&config, SplitKind::Train)).unwrap();
        assert!(stream.largest_id() < 400);
        ids.insert(stream.id().to_owned());
        forget(&fixture);
    }
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_trained_tokenizer_is_made_once_for_both_splits() {
    let fixture = Fixture::new();
    let story: String =
        (0..20).map(|i| synthetic::story("train", i) + "\n<|endoftext|>\n").collect();
    let mut config = local(vec![fixture.file("train.txt", &story)]);
    config.tokenizer = Tokenizer::TrainBpe { vocab_size: 500 };
    config.validation = Split {
        files: Some(vec![fixture.file("validation.txt", "Mia and Tom.")]),
        ..config.validation
    };
    let train = fixture.prepare(&config, SplitKind::Train).unwrap();
    assert!(train.len() * 2 < story.len() as u64, "{} tokens", train.len());
    fixture.prepare(&config, SplitKind::Validation).unwrap();
    let made = std::fs::read_dir(fixture.cache().root().join("tokenizers")).unwrap().count();
    assert_eq!(made, 1);
}

#[test]
fn threads_that_prepare_at_once_share_one_making() {
    struct Count(AtomicU32);
    impl Progress for Count {
        fn update(&self, _: u64, _: Option<u64>, _: u64) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let fixture = Fixture::new();
    let config = generated(20_000);
    let prepare = |count: &Count| {
        prepare_with(
            &config,
            SplitKind::Train,
            &fixture.cache(),
            &fixture.hub(),
            &Pins::default(),
            count,
        )
        .unwrap()
        .id()
        .to_owned()
    };
    let once = Count(AtomicU32::new(0));
    prepare(&once);
    forget(&fixture);
    let count = Count(AtomicU32::new(0));
    let ids: HashSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| prepare(&count))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    assert_eq!(count.0.load(Ordering::SeqCst), once.0.load(Ordering::SeqCst));
}

#[test]
fn a_truncated_or_changed_token_file_is_made_again() {
    let fixture = Fixture::new();
    let config = generated(5000);
    let id = fixture.prepare(&config, SplitKind::Train).unwrap().id().to_owned();
    let entry = std::fs::read_dir(fixture.cache().root().join("tokens")).unwrap().next();
    let tokens = entry.unwrap().unwrap().path().join("tokens.bin");
    let good = std::fs::read(&tokens).unwrap();
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    for bad in [&good[..good.len() / 2], &flipped[..], &[]] {
        // Replaced, not rewritten: what is mapped elsewhere stays as it is.
        fs::write_atomic(&tokens, bad).unwrap();
        assert_eq!(fixture.prepare(&config, SplitKind::Train).unwrap().id(), id);
        assert_eq!(std::fs::read(&tokens).unwrap(), good);
    }
}

#[test]
fn hub_text_carries_its_commit() {
    let fixture = Fixture::new();
    let repo = fixture.hub().folder.join("datasets--a--d");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    fs::write_atomic(&repo.join("refs/main"), commit.as_bytes()).unwrap();
    let file = repo.join("snapshots").join(commit).join("train.jsonl");
    fs::write_atomic(&file, b"{\"story\": \"abc\"}\n").unwrap();
    let config = Config {
        source: Source::Hub { id: "a/d".to_owned(), revision: "main".to_owned() },
        text_column: "story".to_owned(),
        ..generated(2)
    };
    let stream = fixture.prepare(&config, SplitKind::Train).unwrap();
    assert_eq!(stream.revision(), Some(commit));
    assert_eq!(stream.get(0..3).unwrap(), bytes("abc"));
    let error = fixture.prepare(&config, SplitKind::Validation).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    // Once made, the tokens need neither the hub nor its cache folder.
    std::fs::remove_dir_all(repo).unwrap();
    assert_eq!(fixture.prepare(&config, SplitKind::Train).unwrap().id(), stream.id());
}

#[test]
fn another_commit_than_the_pinned_one_is_not_taken() {
    let fixture = Fixture::new();
    let repo = fixture.hub().folder.join("datasets--a--d");
    let commits = ["1".repeat(40), "2".repeat(40)];
    for (commit, text) in commits.iter().zip(["one", "two"]) {
        let file = repo.join("snapshots").join(commit).join("train.txt");
        fs::write_atomic(&file, text.as_bytes()).unwrap();
    }
    fs::write_atomic(&repo.join("refs/main"), commits[0].as_bytes()).unwrap();
    let source = Source::Hub { id: "a/d".to_owned(), revision: "main".to_owned() };
    let config = Config { source, ..generated(3) };
    let ids = |pins: &Pins| {
        let (cache, hub) = (fixture.cache(), fixture.hub());
        let stream =
            prepare_with(&config, SplitKind::Train, &cache, &hub, pins, &NoProgress).unwrap();
        stream.get(0..3).unwrap()
    };
    let pinned = Pins { dataset: Some(commits[0].clone()), tokenizer: None };
    assert_eq!(ids(&pinned), bytes("one"));
    // The branch moves on; results that are there were made of the old commit.
    fs::write_atomic(&repo.join("refs/main"), commits[1].as_bytes()).unwrap();
    forget(&fixture);
    assert_eq!(ids(&Pins::default()), bytes("two"));
    assert_eq!(ids(&pinned), bytes("one"));
}

#[test]
fn a_row_of_aligned_packing_begins_with_a_document() {
    let fixture = Fixture::new();
    let text = "abc\n<|endoftext|>\ndefgh\n<|endoftext|>\nij\n<|endoftext|>\n<|endoftext|>\nklmnopqrst\n<|endoftext|>\nu\n<|endoftext|>\n";
    let config = Config {
        packing: Packing::Aligned { row: 4 },
        separator: Some(".".to_owned()),
        ..local(vec![fixture.file("a.txt", text)])
    };
    // Rows of four: what of a document runs past its row is dropped, and its separator with it.
    let rows = "abc.defgij..klmnu.";
    assert_eq!(fixture.ids(&config, SplitKind::Train), bytes(rows));
    let stream = Config { packing: Packing::Stream, ..config };
    let whole = "abc.defgh.ij..klmnopqrst.u.";
    assert_eq!(fixture.ids(&stream, SplitKind::Train), bytes(whole));
}

#[test]
fn the_manifest_has_every_file_with_its_documents_tokens_and_hash() {
    let fixture = Fixture::new();
    let (a, b) = ("a\n<|endoftext|>\nbc\n<|endoftext|>\n", "def\n<|endoftext|>\n");
    let files = vec![fixture.file("a.txt", a), fixture.file("b.txt", b), fixture.file("c.txt", a)];
    let mut config = local(files);
    config.train.max_tokens = Some(4);
    let stream = fixture.prepare(&config, SplitKind::Train).unwrap();
    let hash = |text: &str| format!("blake3:{}", blake3::hash(text.as_bytes()).to_hex());
    // Two files give enough; the third is not among them.
    assert_eq!(
        stream.files(),
        serde_json::json!([
            {"name": "a.txt", "bytes": a.len(), "hash": hash(a), "documents": 2, "tokens": 3},
            {"name": "b.txt", "bytes": b.len(), "hash": hash(b), "documents": 1, "tokens": 3},
        ])
    );
}

#[test]
fn documents_of_both_splits_are_found_to_the_byte() {
    let fixture = Fixture::new();
    let end = "\n<|endoftext|>\n";
    let stories = |list: &[&str]| list.iter().map(|s| (*s).to_owned() + end).collect::<String>();
    let mut config = local(vec![fixture.file("t.txt", &stories(&["one", "two", "", "three"]))]);
    let validation = stories(&["two", "Two", "", "two", "four"]);
    config.validation.files = Some(vec![fixture.file("v.txt", &validation)]);
    config.validation.max_tokens = None;
    config.separator = Some(".".to_owned());
    let train = fixture.prepare(&config, SplitKind::Train).unwrap();
    let validation = fixture.prepare(&config, SplitKind::Validation).unwrap();
    let found = crate::data::overlap(&train, &validation).unwrap();
    // "two" twice, with its separator; the empty document does not count.
    assert_eq!((found.documents, found.of_documents), (2, 5));
    assert_eq!((found.tokens, found.of_tokens), (8, 18));
}

/// The archive of a config's tokens, and the id of its training tokens.
fn archive(fixture: &Fixture, config: &Config, name: &str) -> (PathBuf, String) {
    let train = fixture.prepare(config, SplitKind::Train).unwrap();
    let validation = fixture.prepare(config, SplitKind::Validation).unwrap();
    let file = fixture.dir.path().join(name);
    let moved = crate::data::Moved { config, streams: [&train, &validation] };
    crate::data::export(&fixture.cache(), &[moved], &file).unwrap();
    (file, train.id().to_owned())
}

#[test]
fn an_archive_brings_tokens_and_tokenizer_to_another_cache() {
    let fixture = Fixture::new();
    let tokenizer = Tokenizer::TrainBpe { vocab_size: 300 };
    let config = Config { tokenizer, ..generated(4000) };
    let (file, id) = archive(&fixture, &config, "tokens.tar");
    let other = Fixture::new();
    let first = crate::data::import(&other.cache(), &file).unwrap();
    assert_eq!((first.new.len(), first.here.len()), (3, 0));
    let second = crate::data::import(&other.cache(), &file).unwrap();
    assert_eq!((second.new.len(), second.here.len()), (0, 3));
    let found = crate::data::cached(&config, SplitKind::Train, &other.cache()).unwrap();
    assert_eq!(found.unwrap().id, id);
    // The same data, the same file.
    let (again, _) = archive(&fixture, &config, "again.tar");
    assert_eq!(std::fs::read(again).unwrap(), std::fs::read(file).unwrap());
}

#[test]
fn of_a_damaged_archive_nothing_wrong_is_taken() {
    let fixture = Fixture::new();
    let (file, id) = archive(&fixture, &generated(4000), "tokens.tar");
    let bytes = std::fs::read(file).unwrap();
    let flips = (0..bytes.len()).step_by(bytes.len() / 60).map(|at| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        bytes
    });
    let others = [bytes[..bytes.len() / 2].to_vec(), b"no archive".to_vec(), Vec::new()];
    let mut refused = 0;
    for damaged in flips.chain(others) {
        let other = Fixture::new();
        let copy = other.dir.path().join("copy.tar");
        std::fs::write(&copy, damaged).unwrap();
        if let Err(error) = crate::data::import(&other.cache(), &copy) {
            refused += 1;
            assert!(
                matches!(error.kind(), ErrorKind::Integrity | ErrorKind::Environment),
                "{error}"
            );
        }
        // What was taken all the same is what is made here otherwise.
        assert_eq!(other.prepare(&generated(4000), SplitKind::Train).unwrap().id(), id);
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn an_archive_cannot_write_outside_the_cache() {
    for name in ["../evil", "/etc/evil", "tokens/x/tokens.bin", "hub/models--a--b/../../x", "evil"]
    {
        let fixture = Fixture::new();
        let file = fixture.dir.path().join("evil.tar");
        let mut archive = tar::Builder::new(std::fs::File::create(&file).unwrap());
        let mut header = tar::Header::new_gnu();
        // As a hostile tool would write it: past what the library lets through.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(1);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        archive.append(&header, &b"x"[..]).unwrap();
        archive.finish().unwrap();
        let error = crate::data::import(&fixture.cache(), &file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
        assert!(error.to_string().contains("which no export writes"), "{error}");
    }
}

#[test]
fn an_unwritable_cache_is_an_environment_error() {
    let fixture = Fixture::new();
    let blocked = fixture.file("blocked", "a file where a folder should be");
    let cache = Cache::at(blocked);
    let (config, pins) = (generated(10), Pins::default());
    let error = prepare_with(&config, SplitKind::Train, &cache, &fixture.hub(), &pins, &NoProgress)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
}

#[test]
fn real_text_and_the_neox_tokenizer_give_the_known_counts() {
    let Some(data) = crate::data::tests_data() else { return };
    let fixture = Fixture::new();
    let tokenizer = Tokenizer::File(data.join("gpt-neox-20b/tokenizer.json"));
    assert_eq!(crate::data::tokenizer_vocab_size(&tokenizer).unwrap(), Some(50_277));
    let files = |name: &str| Split {
        files: Some(vec![data.join("tinystories").join(name)]),
        ..split("", None)
    };
    let config = Config {
        source: Source::Local,
        tokenizer,
        train: files("train-00.txt"),
        validation: files("validation.txt"),
        ..generated(1)
    };
    for (kind, tokens, documents) in
        [(SplitKind::Validation, 438_172, 2_238), (SplitKind::Train, 2_292_202, 11_218)]
    {
        let stream = fixture.prepare(&config, kind).unwrap();
        assert_eq!((stream.len(), stream.documents()), (tokens, documents));
    }
    // The same stories as the hub's Parquet has them.
    let config = Config { validation: files("validation-sample.parquet"), ..config };
    let stream = fixture.prepare(&config, SplitKind::Validation).unwrap();
    assert_eq!((stream.len(), stream.documents()), (99_255, 500));
}

#[test]
fn the_neox_tokenizer_gives_the_golden_ids() {
    #[derive(serde::Deserialize)]
    struct Golden {
        vectors: Vec<Vector>,
    }
    #[derive(serde::Deserialize)]
    struct Vector {
        text: String,
        ids: Vec<u32>,
    }
    let Some(data) = crate::data::tests_data() else { return };
    let folder = data.join("gpt-neox-20b");
    let encoder = Encoder::from_file(&folder.join("tokenizer.json")).unwrap();
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    assert_eq!(golden.vectors.len(), 235);
    for vector in golden.vectors {
        assert_eq!(encoder.encode(&vector.text).unwrap(), vector.ids, "{:?}", vector.text);
    }
}
