//! One form for one value: canonical JSON, the ids hashed from it, and differences key by key.

use serde_json::Value;

/// Hexadecimal digits of an id: 128 bits, so that no two experiments ever meet by chance.
const ID_LEN: usize = 32;

/// Canonical JSON: keys sorted, no white space, numbers at their shortest (after RFC 8785;
/// floats are written as Rust writes them, which reads back to the same bits).
#[must_use]
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        // 1 and 1.0 are the same number, and must be the same id.
        Value::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() && x.fract() == 0.0 && x.abs() < 9.0e15 => {
                out.push_str(&(x as i64).to_string());
            }
            _ => out.push_str(&n.to_string()),
        },
        other => out.push_str(&other.to_string()),
    }
}

/// The id of a value in a namespace: blake3 of the namespace and the canonical JSON.
#[must_use]
pub fn id(namespace: &str, value: &Value) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("xp id v1 {namespace}"));
    hasher.update(to_string(value).as_bytes());
    hasher.finalize().to_hex()[..ID_LEN].to_owned()
}

/// A key that two values disagree about.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Dotted path: `schedule.lr`.
    pub key: String,
    /// The value on the left, if it has the key.
    pub left: Option<Value>,
    /// The value on the right, if it has the key.
    pub right: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or("nothing".into(), to_string);
        write!(f, "{}: {} -> {}", self.key, show(&self.left), show(&self.right))
    }
}

/// The leaves in which two values differ, sorted by path.
#[must_use]
pub fn differences(left: &Value, right: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(left), Some(right), &mut found);
    found
}

fn compare(path: &str, left: Option<&Value>, right: Option<&Value>, found: &mut Vec<Difference>) {
    let (l, r) = (left.and_then(Value::as_object), right.and_then(Value::as_object));
    if let (Some(l), Some(r)) = (l, r) {
        let mut keys: Vec<&String> = l.keys().chain(r.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            compare(&inner, l.get(key), r.get(key), found);
        }
    } else if left.map(to_string) != right.map(to_string) {
        found.push(Difference { key: path.to_owned(), left: left.cloned(), right: right.cloned() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_spelling_do_not_matter_values_do() {
        let a = json!({"b": [1, 2.0, "x"], "a": {"d": null, "c": true}});
        let b = json!({"a": {"c": true, "d": null}, "b": [1.0, 2, "x"]});
        assert_eq!(to_string(&a), r#"{"a":{"c":true,"d":null},"b":[1,2,"x"]}"#);
        assert_eq!(id("t", &a), id("t", &b));
        assert_ne!(id("t", &a), id("u", &a));
        assert_ne!(id("t", &a), id("t", &json!({"b": [1, 2, "x"], "a": {"c": true}})));
        assert_eq!(id("t", &a).len(), 32);
    }

    #[test]
    fn differences_are_named_by_path() {
        let a = json!({"schedule": {"lr": 1e-3, "eps": 1e-8}, "model": {"layers": 2}});
        let b = json!({"schedule": {"lr": 3e-3, "eps": 1e-8}, "model": {"layers": 2, "x": 1}});
        let found: Vec<_> = differences(&a, &b).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["model.x: nothing -> 1", "schedule.lr: 0.001 -> 0.003"]);
    }
}
