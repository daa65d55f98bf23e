//! Every way in which a hub can fail: what is said, with which exit code, and what is left behind.

use std::time::{Duration, Instant};

use super::*;

/// A failure that lasts: `xp data` ends with the code, says these things, leaves no finished file.
fn lasts(on: &str, fault: &Fault, code: i32, says: &[&str]) {
    let place = Place::new();
    place.server.fail(on, usize::MAX, fault.clone());
    let (found, text) = place.data();
    assert_eq!(found, code, "{fault:?}: {text}");
    for said in says.iter().chain(&[place.server.url.as_str()]) {
        assert!(text.contains(said), "{fault:?}: no `{said}` in {text}");
    }
    assert_eq!(text.lines().count(), 1, "{text}");
    let named = files(&place.repository());
    assert!(named.iter().all(|name| !name.starts_with("snapshots/")), "{named:?}");
}

/// A failure that passes: with patience, `xp data` makes the same tokens as without it.
fn passes(on: &str, times: usize, fault: &Fault) -> Place {
    let calm = Place::new().json();
    let place = Place::new();
    place.server.fail(on, times, fault.clone());
    let mut command = place.command(&["data", "spec.toml", "--json"]);
    command.env("XP_HUB_RETRY_S", "30").env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    let output = command.output().unwrap();
    let (code, text) = told(&output);
    assert_eq!(code, 0, "{fault:?}: {text}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for i in 0..2 {
        assert_eq!(json["streams"][i]["id"], calm["streams"][i]["id"], "{fault:?}");
    }
    assert!(text.contains("trying again") || times == 0, "{fault:?}: {text}");
    place
}

const LISTING: &str = "hub /api/datasets/tiny/stories";
const FILE: &str = "hub /datasets/tiny/stories/resolve";
const CDN: &str = "cdn /blobs";

#[test]
fn a_closed_repository_asks_for_a_token() {
    let place = Place::new();
    place.server.gate(DATASET, "hf_right");
    let (code, text) = place.data();
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("401 (not authorised): Access to this repository is restricted"),
        "{text}"
    );
    assert!(text.contains("set HF_TOKEN"), "{text}");
    let with = |token: &str| {
        told(&place.command(&["data", "spec.toml"]).env("HF_TOKEN", token).output().unwrap())
    };
    let (code, text) = with("hf_wrong");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("403 (forbidden)") && text.contains("accept the conditions"), "{text}");
    assert!(!text.contains("hf_wrong"), "the token is told: {text}");
    assert_eq!(with("hf_right").0, 0);
    // It goes to the hub with every request, and never to the host that files are redirected to.
    let requests = place.server.requests();
    assert!(requests.iter().any(|r| r.host == "cdn"));
    assert!(requests.iter().filter(|r| r.host == "cdn").all(|r| r.token.is_none()));
    let (code, text) = with("hf_\nnewline");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("HF_TOKEN") && !text.contains("newline"), "{text}");
}

#[test]
fn a_token_file_is_read_and_a_mirror_of_the_spec_gets_no_token() {
    let place = Place::new();
    place.server.gate(DATASET, "hf_right");
    std::fs::create_dir_all(place.path("hf")).unwrap();
    std::fs::write(place.path("hf/token"), "hf_right\n").unwrap();
    assert_eq!(place.data().0, 0);
    let mirror = Place::new();
    mirror.spec(&format!("endpoints = [\"{}\"]", mirror.server.url), 6000);
    let mut command = mirror.command(&["data", "spec.toml"]);
    let output = command.env_remove("HF_ENDPOINT").env("HF_TOKEN", "hf_secret").output().unwrap();
    assert_eq!(told(&output).0, 0, "{output:?}");
    assert!(mirror.server.requests().iter().all(|request| request.token.is_none()));
}

#[test]
fn what_does_not_exist_is_named() {
    lasts(
        LISTING,
        &Fault::Status(404, vec![("x-error-message", "Repository not found".into())]),
        3,
        &[
            "cannot look up `tiny/stories` at `main`",
            "404 (not found): Repository not found",
            "check the id, the revision",
        ],
    );
    lasts(
        FILE,
        &Fault::Status(404, vec![]),
        3,
        &["cannot fetch `data/train-00000-of-00004.jsonl` of `tiny/stories`", "404 (not found)"],
    );
    let place = Place::new();
    place.spec("revision = \"v2\"", 6000);
    let (code, text) = place.data();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("at `v2`") && text.contains("Invalid rev id"), "{text}");
}

#[test]
fn a_busy_or_broken_server_is_named_with_what_to_do() {
    lasts(LISTING, &Fault::Status(429, vec![]), 3, &["429 (too many requests)", "wait a while"]);
    for code in [500, 502, 503, 504] {
        let word = if code == 504 { "timed out" } else { "the server failed" };
        lasts(
            LISTING,
            &Fault::Status(code, vec![]),
            3,
            &[&code.to_string(), word, "check the network"],
        );
        lasts(CDN, &Fault::Status(code, vec![]), 3, &[&code.to_string(), "HF_HUB_OFFLINE=1"]);
    }
    lasts(LISTING, &Fault::Close, 3, &["cannot look up"]);
    lasts(CDN, &Fault::Close, 3, &["cannot fetch"]);
    lasts(FILE, &Fault::Loop, 3, &["redirected more than 8 times"]);
}

#[test]
fn a_page_instead_of_data_is_called_so() {
    for on in [LISTING, FILE, CDN] {
        lasts(on, &Fault::Page, 3, &["a web page came instead of data: a login page"]);
    }
}

#[test]
fn broken_transfers_are_told_with_their_bytes() {
    let size = stories("shard 0", 80).len();
    let after = format!("broke off after 500 of {size} bytes");
    lasts(CDN, &Fault::Truncate(500), 3, &[&after, "run again to go on"]);
    lasts(CDN, &Fault::WrongLength(7), 3, &["broke off after"]);
    lasts(LISTING, &Fault::Truncate(20), 3, &["broke off"]);
    // Sizes that contradict the revision are no broken transfer.
    let size = |n: &str| Fault::Header("x-linked-size", n.to_owned());
    lasts(FILE, &size("5"), 4, &["has 5 bytes there", "in the revision"]);
}

#[test]
fn other_content_than_the_revisions_is_refused_and_removed() {
    lasts(
        CDN,
        &Fault::Flip,
        4,
        &["has another hash", "than the revision (sha256:", "it was removed"],
    );
    lasts(
        FILE,
        &Fault::Header("x-repo-commit", "0".repeat(40)),
        3,
        &["it sends the file of commit"],
    );
    let place = Place::new();
    place.server.fail(CDN, usize::MAX, Fault::Flip);
    place.data();
    assert_eq!(files(&place.repository().join("blobs")), Vec::<String>::new());
    // Once only, as a bit that fell over on the way: it is fetched anew.
    let place = Place::new();
    place.server.fail(CDN, 1, Fault::Flip);
    assert_eq!(place.data().0, 0);
}

#[test]
fn names_that_a_hostile_server_sends_never_become_paths() {
    let place = Place::new();
    place.server.put(DATASET, "../../../evil-train.jsonl", stories("evil", 80));
    assert_eq!(place.data().0, 0);
    assert!(files(place.dir.path()).iter().all(|name| !name.contains("evil")));
    for header in ["../../evil", "\"../../evil\"", ""] {
        let place = Place::new();
        place.server.listings_without_hashes();
        place.server.fail(FILE, usize::MAX, Fault::Header("x-linked-etag", header.to_owned()));
        let (code, text) = place.data();
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("it gives no hash of `data/train-00000-of-00004.jsonl`"), "{text}");
        assert!(files(place.dir.path()).iter().all(|name| !name.contains("evil")));
    }
}

#[test]
fn a_listing_without_hashes_is_enough_where_the_files_have_them() {
    let calm = Place::new().json();
    let place = Place::new();
    place.server.listings_without_hashes();
    assert_eq!(place.json()["streams"][0]["id"], calm["streams"][0]["id"]);
    let place = Place::new();
    place.server.listings_without_hashes();
    place.server.fail(CDN, usize::MAX, Fault::Flip);
    assert_eq!(place.data().0, 4);
}

#[test]
fn a_simple_mirror_is_enough_if_what_it_sends_can_be_checked() {
    let calm = Place::new().json();
    let place = Place::new();
    place.server.fail("?blobs=true", usize::MAX, Fault::Status(404, vec![]));
    assert_eq!(place.json()["streams"][0]["id"], calm["streams"][0]["id"]);
    // Its entity tags are md5 sums, as those of an object store.
    let place = Place::new();
    place.server.listings_without_hashes();
    for (i, part) in ["shard 0", "shard 1"].into_iter().enumerate() {
        let tag = server::md5(stories(part, 80).as_bytes());
        let on = format!("train-{i:05}-of");
        place.server.fail(&on, usize::MAX, Fault::Header("x-linked-etag", format!("\"{tag}\"")));
    }
    assert_eq!(place.json()["streams"][0]["id"], calm["streams"][0]["id"]);
}

#[test]
fn failures_that_pass_are_waited_for() {
    passes(LISTING, 1, &Fault::Status(503, vec![]));
    passes(LISTING, 1, &Fault::Close);
    passes(CDN, 2, &Fault::Status(500, vec![]));
    passes(FILE, 1, &Fault::Status(429, vec![]));
    passes(CDN, 1, &Fault::Stall(700));
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let begin = Instant::now();
    passes(LISTING, 1, &Fault::Status(429, vec![("retry-after", "2".into())]));
    assert!(begin.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_broken_transfer_goes_on_where_it_stood() {
    let place = passes(CDN, 1, &Fault::Truncate(1200));
    let ranges: Vec<_> =
        place.server.requests().iter().filter(|r| r.host == "cdn").map(|r| r.from).collect();
    assert_eq!(ranges[..2], [None, Some(1200)]);
    // In another process too.
    let place = Place::new();
    place.server.fail(CDN, 1, Fault::Truncate(900));
    assert_eq!(place.data().0, 3);
    let partial = files(&place.repository().join("blobs"));
    assert!(partial.len() == 1 && partial[0].ends_with(".incomplete"), "{partial:?}");
    place.server.forget_requests();
    assert_eq!(place.data().0, 0);
    let first = place.server.requests().into_iter().find(|r| r.host == "cdn").unwrap();
    assert_eq!(first.from, Some(900));
}

#[test]
fn a_partial_file_that_does_not_fit_is_begun_anew() {
    let content = stories("shard 0", 80);
    let blob = server::sha256(content.as_bytes());
    for partial in
        [vec![b'x'; 700], vec![b'x'; content.len()], vec![b'x'; content.len() + 5], vec![]]
    {
        let place = Place::new();
        let blobs = place.repository().join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(format!("{blob}.incomplete")), &partial).unwrap();
        let (code, text) = place.data();
        assert_eq!(code, 0, "{} bytes: {text}", partial.len());
        assert_eq!(std::fs::read_to_string(blobs.join(&blob)).unwrap(), content);
    }
}

#[test]
fn a_spoilt_file_of_the_cache_is_fetched_again_or_refused_offline() {
    let place = Place::new();
    let first = place.json();
    let snapshot = place.repository().join("snapshots").join(place.server.commit(DATASET));
    let file = snapshot.join("data/train-00001-of-00004.jsonl");
    let spoil = || {
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        std::fs::remove_dir_all(place.path("cache/tokens")).unwrap();
    };
    spoil();
    let output = place.command(&["data", "spec.toml"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let (code, text) = told(&output);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("train-00001-of-00004.jsonl` is not the hub's file (sha256:"), "{text}");
    assert_eq!(place.json()["streams"][0]["id"], first["streams"][0]["id"]);
}

#[test]
fn mirrors_are_asked_in_order_and_each_is_named_when_all_fail() {
    let (place, good) = (Place::new(), Place::new());
    let dead = "http://127.0.0.1:9";
    place.spec(&format!("endpoints = [\"{dead}\", \"{}\"]", good.server.url), 6000);
    place.server.fail("hub", usize::MAX, Fault::Status(503, vec![]));
    let (code, text) = place.data();
    assert_eq!(code, 0, "{text}");
    assert!(!place.server.requests().is_empty(), "HF_ENDPOINT goes first");
    assert_eq!(good.server.fetched().len(), 3);
    let calm = Place::new().json();
    assert_eq!(place.json()["streams"][0]["id"], calm["streams"][0]["id"]);

    let place = Place::new();
    place.spec(&format!("endpoints = [\"{dead}\"]"), 6000);
    place.server.fail("hub", usize::MAX, Fault::Status(503, vec![]));
    let (code, text) = place.data();
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("503") && text.contains(dead) && text.contains(&place.server.url),
        "{text}"
    );

    // A mirror that sends something else is passed over, not believed.
    let (place, wrong) = (Place::new(), Place::new());
    wrong.server.fail(CDN, usize::MAX, Fault::Flip);
    place.spec(&format!("endpoints = [\"{}\"]", place.server.url), 6000);
    let mut command = place.command(&["data", "spec.toml"]);
    let output = command.env("HF_ENDPOINT", &wrong.server.url).output().unwrap();
    assert_eq!(told(&output).0, 0);
}

#[test]
fn no_network_at_all_says_where_it_looked_and_what_to_do() {
    let place = Place::new();
    let mut command = place.command(&["data", "spec.toml"]);
    let (code, text) = told(&command.env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap());
    assert_eq!(code, 3, "{text}");
    for said in
        ["http://127.0.0.1:9", "check the network, the proxy and HF_ENDPOINT", "xp data export"]
    {
        assert!(text.contains(said), "{text}");
    }
    // Checking and planning need no network.
    for command in [&["check", "spec.toml"][..], &["plan", "spec.toml"]] {
        let output =
            place.command(command).env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap();
        assert_eq!(told(&output).0, 0, "{output:?}");
    }
}

#[test]
fn a_proxy_is_used() {
    // A proxy that answers every request itself, as one that nobody has logged into.
    let place = Place::new();
    let proxy = Server::start();
    proxy.fail("hub", usize::MAX, Fault::Status(407, vec![]));
    let mut command = place.command(&["data", "spec.toml"]);
    let output =
        command.env("http_proxy", &proxy.url).env("HTTP_PROXY", &proxy.url).output().unwrap();
    let (code, text) = told(&output);
    assert_eq!(code, 3, "{text}");
    assert!(!proxy.requests().is_empty(), "the proxy was not asked: {text}");
    assert!(place.server.requests().is_empty(), "the proxy was passed over");
    let mut command = place.command(&["data", "spec.toml"]);
    let output = command
        .env("HTTP_PROXY", &proxy.url)
        .env("NO_PROXY", "127.0.0.1,localhost")
        .output()
        .unwrap();
    assert_eq!(told(&output).0, 0, "{output:?}");
}

#[test]
fn a_proxy_that_lets_through_is_passed_by_every_connection() {
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let place = Place::new();
        let (proxy, made) = server::proxy();
        let output = place.command(&["data", "spec.toml"]).env(name, &proxy).output().unwrap();
        assert_eq!(told(&output), (0, String::new()), "{name}");
        let made = made.lock().unwrap();
        let hub = place.server.url.trim_start_matches("http://");
        assert!(made.iter().any(|host| host == hub), "{name}: {made:?}");
        assert!(made.iter().any(|host| host.starts_with("localhost:")), "{name}: {made:?}");
    }
}

#[test]
fn several_processes_fetch_each_file_once() {
    let place = Place::new();
    let children: Vec<_> =
        (0..4).map(|_| place.command(&["data", "spec.toml"]).spawn().unwrap()).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let mut fetched = place.server.fetched();
    let all = fetched.len();
    fetched.sort();
    fetched.dedup();
    assert_eq!((all, fetched.len()), (3, 3));
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_download_and_the_next_call_goes_on() {
    let place = Place::new();
    place.server.fail(CDN, 1, Fault::Stall(800));
    // It would wait for half a minute then.
    let later = vec![("retry-after", "30".to_owned())];
    place.server.fail(CDN, 1, Fault::Status(503, later));
    let mut command = place.command(&["data", "spec.toml"]);
    command.env("XP_HUB_RETRY_S", "600").env("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while place.server.requests().iter().filter(|r| r.host == "cdn").count() < 2 {
        assert!(begin.elapsed() < Duration::from_mins(1), "the second request never came");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let (code, text) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, 75, "{text}");
    assert!(text.contains("run the same command again"), "{text}");
    place.server.forget_requests();
    assert_eq!(place.data().0, 0);
    let first = place.server.requests().into_iter().find(|r| r.host == "cdn").unwrap();
    assert_eq!(first.from, Some(800));
}

#[test]
fn a_server_without_ranges_sends_the_file_again() {
    let place = Place::new();
    place.server.fail(CDN, 1, Fault::Truncate(900));
    assert_eq!(place.data().0, 3);
    place.server.fail(CDN, usize::MAX, Fault::NoRange);
    assert_eq!(place.data().0, 0);
}

#[test]
fn doctor_asks_whether_the_hub_answers_and_tells_no_secret() {
    let place = Place::new();
    let doctor = |envs: &[(&str, &str)]| {
        let mut command = place.command(&["doctor", "--json"]);
        let output = command.envs(envs.iter().copied()).output().unwrap();
        assert_eq!(told(&output), (0, String::new()));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("secret"), "{text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    // This hub does not know the question, but it answers.
    let json = doctor(&[]);
    assert_eq!(
        (&json["hub"]["servers"][0]["reachable"], &json["hub"]["servers"][0]["problem"]),
        (&true.into(), &serde_json::Value::Null)
    );
    let dead = doctor(&[("HF_ENDPOINT", "http://me:secret@127.0.0.1:9")]);
    assert_eq!(dead["hub"]["servers"][0]["reachable"], false);
    let missing = dead["missing"].to_string();
    assert!(
        missing.contains("http://127.0.0.1:9") && missing.contains("HF_ENDPOINT to a mirror"),
        "{missing}"
    );
    place.server.fail("whoami", 1, Fault::Status(401, vec![]));
    let refused = doctor(&[("HF_TOKEN", "hf_secret")]);
    assert!(refused["missing"].to_string().contains("it refuses the token"), "{refused}");
    place.server.forget_requests();
    let offline = doctor(&[("HF_HUB_OFFLINE", "1"), ("HF_TOKEN", "hf_secret")]);
    assert_eq!(offline["hub"]["servers"][0]["reachable"], serde_json::Value::Null);
    assert_eq!(place.server.requests().len(), 0);
    place.spec("endpoints = [\"http://127.0.0.1:9\"]", 6000);
    let output = place.xp(&["doctor", "spec.toml"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(": answers in "), "{text}");
    assert!(text.contains("http://127.0.0.1:9: no answer: "), "{text}");
    assert!(!text.contains("missing    the hub"), "{text}");
}
