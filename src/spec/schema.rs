//! The JSON schema of a spec, made from the types.

use schemars::transform::{Transform, transform_subschemas};
use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::types::Spec;

/// A number in a string: digits with a suffix (`"50M"`), or a template (`"{{ lr }}"`).
const QUOTED_NUMBER: &str = r"^\s*[0-9][0-9_]*(\.[0-9]+)?([eE][+-]?[0-9]+)?[kMG]?\s*$|\{\{";

/// The schema (draft 2020-12), the same for `xp schema`, the committed file and the loader.
#[must_use]
pub fn schema() -> Value {
    // No `$ref`: where a key refers to its type, editors show the type's words and not the key's own,
    // which have the default.
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let settings = settings.with_transform(ForPeople);
    let mut schema = settings.into_generator().into_root_schema_for::<Spec>();
    schema.insert("title".into(), json!("xp experiment"));
    schema.insert(
        "$comment".into(),
        json!("Written by `xp schema`; change src/spec/types.rs, not this file."),
    );
    schema.to_value()
}

/// Turns what schemars derives into what an editor should say: no `null` (TOML has none), no
/// Rust number formats, plain enums, and numbers that may be quoted with a suffix or a template.
#[derive(Clone)]
struct ForPeople;

impl Transform for ForPeople {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        unwrap_nullable(schema);
        plain_enum(schema);
        let Some(object) = schema.as_object_mut() else { return };
        object.remove("format");
        object.remove("default");
        let words = object.remove("x-words");
        let numeric = object.get("type").and_then(Value::as_str).map(str::to_owned);
        if let Some(numeric) = numeric.filter(|t| t == "integer" || t == "number") {
            let mut pattern = QUOTED_NUMBER.to_owned();
            for word in words.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str)
            {
                pattern = format!("^{word}$|{pattern}");
            }
            object.insert("type".into(), json!([numeric, "string"]));
            object.insert("pattern".into(), json!(pattern));
        }
        // Completeness is `xp check`'s, after `extends`; inline tables keep theirs.
        let inline = |p: &Value| {
            let has = |key| p.get(key).is_some();
            has("train_bpe") || has("as") || has("local") || (has("freq") && !has("sweep"))
        };
        if !object.get("properties").is_some_and(inline) {
            object.remove("required");
        }
    }
}

/// `Option<T>`: drops the `null` alternative.
fn unwrap_nullable(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// A `oneOf` of constants becomes an `enum`, so that messages name the values; what each is for goes
/// where taplo looks for it.
fn plain_enum(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    let Some(Value::Array(branches)) = object.get("oneOf") else { return };
    let constants: Option<Vec<Value>> = branches.iter().map(|b| b.get("const").cloned()).collect();
    if let Some(constants) = constants {
        let words: Vec<Value> =
            branches.iter().map(|b| b.get("description").cloned().unwrap_or_default()).collect();
        object.remove("oneOf");
        object.insert("type".into(), json!("string"));
        object.insert("enum".into(), Value::Array(constants));
        object.insert("x-taplo".into(), json!({ "docs": { "enumValues": words } }));
    }
}
