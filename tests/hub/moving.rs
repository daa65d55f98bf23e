//! Tokens carried to a machine without a network.

use super::*;

#[test]
fn exported_tokens_are_found_where_there_is_no_network() {
    let place = Place::new();
    place.words();
    let first = place.json();
    let (code, text) = told(&place.xp(&["data", "export", "spec.toml", "tokens.tar"]));
    assert_eq!(code, 0, "{text}");

    let other = Place::new();
    std::fs::copy(place.path("spec.toml"), other.path("spec.toml")).unwrap();
    std::fs::copy(place.path("tokens.tar"), other.path("tokens.tar")).unwrap();
    let offline = |args: &[&str]| other.command(args).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(told(&offline(&["data", "spec.toml"])).0, 3);
    let output = offline(&["data", "import", "tokens.tar"]);
    assert_eq!(told(&output), (0, String::new()));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("taken: tokens/") && said.contains("taken: hub/models--tiny--words"),
        "{said}"
    );
    let found = offline(&["data", "spec.toml", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["streams"][0]["id"], first["streams"][0]["id"]);
    assert_eq!(found["streams"][0]["revision"], first["streams"][0]["revision"]);
    assert_eq!(told(&offline(&["run", "spec.toml", "-q"])), (0, String::new()));
    assert_eq!(other.server.requests().len(), 0);
    // The tokenizer came along: a spec that needs other tokens of local text can be made.
    assert!(other.path("hf/hub/models--tiny--words/refs/main").is_file());
}

#[test]
fn a_file_that_is_no_export_is_refused() {
    let place = Place::new();
    std::fs::write(place.path("x.tar"), "no archive").unwrap();
    let (code, text) = told(&place.xp(&["data", "import", "x.tar"]));
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("`x.tar`: it is not an archive of `xp data export`"), "{text}");
    let (code, text) = told(&place.xp(&["data", "import", "missing.tar"]));
    assert_eq!(code, 2, "{text}");
    let (code, text) = told(&place.xp(&["data"]));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("SPEC"), "{text}");
}
