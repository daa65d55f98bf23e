//! The committed schema is the code's, and an independent validator agrees with the loader.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(pattern: &str) -> Vec<PathBuf> {
    let pattern = root().join(pattern);
    let found: Vec<_> =
        glob::glob(&pattern.to_string_lossy()).expect("a pattern").map(Result::unwrap).collect();
    assert!(!found.is_empty(), "{}", pattern.display());
    found
}

fn as_json(path: &Path) -> Option<Value> {
    toml::from_str(&std::fs::read_to_string(path).expect("readable")).ok()
}

#[test]
fn the_committed_schema_is_current() {
    let committed = std::fs::read_to_string(root().join("schema/experiment.schema.json")).unwrap();
    let committed: Value = serde_json::from_str(&committed).unwrap();
    assert!(
        committed == xp::spec::schema::schema(),
        "schema/ is not current; run: cargo run -- schema > schema/experiment.schema.json"
    );
}

#[test]
fn the_schema_takes_every_valid_spec() {
    let validator = jsonschema::validator_for(&xp::spec::schema::schema()).expect("a schema");
    for pattern in ["specs/*.toml", "specs/protocols/*.toml", "tests/specs/valid/*.toml"] {
        for path in files(pattern) {
            let spec = as_json(&path).expect("TOML");
            let errors: Vec<String> = validator
                .iter_errors(&spec)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        }
    }
}

#[test]
fn the_schema_refuses_what_the_loader_calls_a_structural_mistake() {
    let validator = jsonschema::validator_for(&xp::spec::schema::schema()).expect("a schema");
    let structural = [
        "spec-unknown-key",
        "spec-unknown-key-elsewhere",
        "spec-unknown-key-transform",
        "spec-wrong-type",
        "spec-wrong-type-transform",
        "spec-out-of-range",
        "spec-out-of-range-odd",
        "spec-out-of-range-zero",
        "spec-unknown-value",
        "spec-unknown-value-dataset",
        "spec-unknown-value-rope-dtype",
        "spec-wrong-length",
        "spec-duplicate-value",
        "spec-missing-key-layers",
        "spec-bad-name",
        "spec-bad-name-config",
        "spec-bad-name-transform",
        "spec-bad-pattern",
        "all-at-once",
    ];
    for name in structural {
        let path = root().join(format!("tests/specs/invalid/{name}.toml"));
        let spec = as_json(&path).expect("TOML");
        assert!(!validator.is_valid(&spec), "{name} passes the schema");
    }
}
