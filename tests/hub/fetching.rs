//! What is fetched, in which form it is kept, and what is not asked for again.

use super::*;

#[test]
fn only_the_files_that_the_budget_needs_are_fetched_in_order() {
    let place = Place::new();
    let data = place.json();
    // 6,000 bytes: two shards of 80 stories with 40 letters each.
    let wanted = ["data/train-00000-of-00004.jsonl", "data/train-00001-of-00004.jsonl"];
    assert_eq!(place.server.fetched(), [&wanted[..], &["data/validation.jsonl"]].concat());
    let commit = place.server.commit(DATASET);
    let [train, validation] = [&data["streams"][0], &data["streams"][1]];
    assert_eq!(
        (&train["revision"], &validation["revision"]),
        (&commit.as_str().into(), &commit.as_str().into())
    );
    assert!(train["tokens"].as_u64().unwrap() >= 6000);
    let files = train["files"].as_array().unwrap();
    assert_eq!(files.iter().map(|f| f["name"].as_str().unwrap()).collect::<Vec<_>>(), wanted);
    let content = stories("shard 0", 80);
    assert_eq!(files[0]["bytes"], content.len());
    assert_eq!(files[0]["hash"], format!("sha256:{}", server::sha256(content.as_bytes())));
    assert_eq!(files[0]["documents"], 80);
    let tokens: u64 = files.iter().map(|f| f["tokens"].as_u64().unwrap()).sum();
    assert_eq!(tokens, train["tokens"].as_u64().unwrap());
}

#[test]
fn the_cache_folder_has_the_form_that_other_tools_read() {
    let place = Place::new();
    place.server.put(DATASET, "data/train-00000-of-00004.jsonl", stories("small", 15));
    place.spec("", 400);
    place.json();
    let commit = place.server.commit(DATASET);
    let repository = place.repository();
    assert_eq!(std::fs::read_to_string(repository.join("refs/main")).unwrap(), commit);
    let small = stories("small", 15);
    let snapshot = repository.join("snapshots").join(&commit);
    for (name, content, hash) in [
        // A small file is called by git's hash, a large one by its sha256.
        ("data/train-00000-of-00004.jsonl", small.clone(), server::git_hash(small.as_bytes())),
        (
            "data/validation.jsonl",
            stories("validation", 60),
            server::sha256(stories("validation", 60).as_bytes()),
        ),
    ] {
        assert_eq!(std::fs::read_to_string(snapshot.join(name)).unwrap(), content);
        let link = std::fs::read_link(snapshot.join(name)).unwrap();
        assert_eq!(link, Path::new("../../../blobs").join(hash));
    }
    assert!(files(&repository).iter().all(|name| !name.ends_with(".incomplete")));
}

#[test]
fn what_was_made_is_used_without_a_connection() {
    let place = Place::new();
    let first = place.json();
    place.server.forget_requests();
    // Tokens are there: nobody is asked, offline or not, whether the branch has moved on or not.
    place.server.put(DATASET, "data/train-00000-of-00004.jsonl", stories("new", 90));
    assert_eq!(place.json(), first);
    let offline = |place: &Place| {
        let mut command = place.command(&["data", "spec.toml", "--json"]);
        let output = command.env("HF_HUB_OFFLINE", "1").output().unwrap();
        (told(&output), serde_json::from_slice::<serde_json::Value>(&output.stdout).ok())
    };
    assert_eq!(offline(&place).1, Some(first.clone()));
    // Tokens are gone, files are there: the commit that was fetched is the one that is read.
    std::fs::remove_dir_all(place.path("cache/tokens")).unwrap();
    assert_eq!(offline(&place).1.unwrap()["streams"][0]["id"], first["streams"][0]["id"]);
    // More tokens than the files here give: the next file is named, with what to do.
    place.spec("", 9000);
    let ((code, text), _) = offline(&place);
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains(
            "`data/train-00002-of-00004.jsonl` of `tiny/stories` is not in the hub cache"
        ),
        "{text}"
    );
    assert!(text.contains("hf download --repo-type dataset tiny/stories --revision main data/train-00002-of-00004.jsonl"), "{text}");
    assert_eq!(place.server.requests().len(), 0, "{:?}", place.server.requests());
}

#[test]
fn a_run_pins_the_revision_and_later_runs_keep_to_it() {
    let place = Place::new();
    let run = |place: &Place| told(&place.xp(&["run", "spec.toml", "-q"]));
    assert_eq!(run(&place), (0, String::new()));
    let commit = place.server.commit(DATASET);
    let lock = || -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(place.path("results/tiny/lock.json")).unwrap())
            .unwrap()
    };
    let data = lock()["data"].clone();
    let revisions: Vec<_> =
        data.as_object().unwrap().values().map(|d| d["revision"].clone()).collect();
    assert_eq!(revisions, [commit.as_str(), commit.as_str()]);
    let run_json: serde_json::Value = serde_json::from_slice(
        &std::fs::read(place.path("results/tiny/geo/seed-1/run.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(run_json["data"]["revision"], commit.as_str());

    // The branch moves on, the tokens are lost, a seed is added: it trains on the same text.
    std::fs::remove_dir_all(place.path("cache")).unwrap();
    let text = std::fs::read_to_string(place.path("spec.toml")).unwrap();
    std::fs::write(place.path("spec.toml"), text.replace("seeds = [1]", "seeds = [1, 2]")).unwrap();
    place.server.put(DATASET, "data/train-00000-of-00004.jsonl", stories("new", 90));
    // Fetching before going offline keeps to it too.
    let (code, text) = place.data();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("404") && text.contains(&commit), "{text}");
    let (code, text) = run(&place);
    // This server has only its newest commit, as after a rewritten history.
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("404") && text.contains(&commit), "{text}");
    place.server.put(DATASET, "data/train-00000-of-00004.jsonl", stories("shard 0", 80));
    assert_eq!(run(&place), (0, String::new()));
    assert_eq!(lock()["data"], data);
}

#[test]
fn other_tokens_than_those_of_the_results_are_refused() {
    let place = Place::new();
    assert_eq!(told(&place.xp(&["run", "spec.toml", "-q"])).0, 0);
    let path = place.path("results/tiny/lock.json");
    let lock = std::fs::read_to_string(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&lock).unwrap();
    let ids = json["data"].as_object().unwrap().values().map(|data| data["id"].as_str().unwrap());
    let other = ids.fold(lock.clone(), |lock, id| lock.replace(id, &"0".repeat(64)));
    std::fs::write(&path, other).unwrap();
    // One more length has to be evaluated, so the tokens are opened.
    let (code, text) =
        told(&place.xp(&["run", "spec.toml", "-q", "--set", "eval.lengths=[32,64,128]"]));
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("tokens are not those that this experiment began with"), "{text}");
}

#[test]
fn a_tokenizer_of_the_hub_is_fetched_once_and_its_commit_is_kept() {
    let place = Place::new();
    let spec = place.words();
    let data = place.json();
    let commit = place.server.commit("models/tiny/words");
    assert_eq!(data["streams"][0]["tokenizer_revision"], commit.as_str());
    assert_eq!(place.server.fetched().iter().filter(|name| *name == "tokenizer.json").count(), 1);
    // A revision can be written with it.
    let pinned = format!("\"tiny/words@{commit}\"");
    std::fs::write(place.path("spec.toml"), spec.replace("\"bytes\"", &pinned)).unwrap();
    assert_eq!(place.json()["streams"][0]["id"], data["streams"][0]["id"]);
    let missing = spec.replace("\"bytes\"", "\"tiny/words@v9\"");
    std::fs::write(place.path("spec.toml"), missing).unwrap();
    let (code, text) = place.data();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("`tiny/words` at `v9`") && text.contains("Invalid rev id"), "{text}");
}

#[test]
fn files_can_be_chosen_and_parquet_and_compressed_text_are_read() {
    use std::io::Write as _;
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(stories("packed", 50).as_bytes()).unwrap();
    place.server.put(DATASET, "sample/10/b.jsonl.gz", gzip.finish().unwrap());
    let zstd = zstd::encode_all(stories("other", 50).as_bytes(), 1).unwrap();
    place.server.put(DATASET, "sample/10/a.jsonl.zst", zstd);
    let spec = |files: &str| {
        place.spec("", 2500);
        let text = std::fs::read_to_string(place.path("spec.toml")).unwrap();
        let train = format!("[data.train]\ndataset_files = {files}");
        std::fs::write(place.path("spec.toml"), text.replace("[data.train]", &train)).unwrap();
    };
    let names = |data: &serde_json::Value| -> Vec<String> {
        let files = data["streams"][0]["files"].as_array().unwrap();
        files.iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect()
    };
    spec("\"sample/10/*\"");
    assert_eq!(names(&place.json()), ["sample/10/a.jsonl.zst", "sample/10/b.jsonl.gz"]);
    spec("[\"sample/10/b.jsonl.gz\", \"sample/10/a.jsonl.zst\"]");
    assert_eq!(names(&place.json()), ["sample/10/b.jsonl.gz", "sample/10/a.jsonl.zst"]);
    spec("\"sample/100/*\"");
    let (code, text) = place.data();
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("has no file `sample/100/*` (it has data/train-00000-of-00004.jsonl"),
        "{text}"
    );

    let shared = std::env::var_os("XP_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let Ok(parquet) = std::fs::read(shared.join("tinystories/validation-sample.parquet")) else {
        eprintln!("skipped: {} is not there", shared.display());
        return;
    };
    place.server.put(DATASET, "data/train-00000-of-00001-ab12.parquet", parquet);
    place.spec("", 100_000);
    // Parquet goes before the same text in other files.
    let data = place.json();
    assert_eq!(names(&data), ["data/train-00000-of-00001-ab12.parquet"]);
    assert!(data["streams"][0]["documents"].as_u64().unwrap() > 100);
}

#[test]
fn too_few_tokens_say_how_many_there_were() {
    let place = Place::new();
    place.spec("", 1_000_000);
    let (code, text) = place.data();
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("the train split holds 12440 tokens")
            && text.contains("fewer than max_tokens = 1000000"),
        "{text}"
    );
    // Nothing else was tried instead.
    assert_eq!(place.server.fetched().len(), 4);
}

#[test]
fn text_of_both_splits_is_told() {
    let place = Place::new();
    place.server.put(DATASET, "data/validation.jsonl", stories("shard 1", 60));
    let data = place.json();
    let overlap = &data["overlap"][0];
    assert!(overlap["documents"].as_u64().unwrap() > 40, "{overlap}");
    let (code, text) = told(&place.xp(&["run", "spec.toml"]));
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("validation documents (100.0 % of the tokens) are in the training text too"),
        "{text}"
    );
}
