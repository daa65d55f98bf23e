//! JSON as it stands in a config.json, with each list of numbers on one line.

use std::fmt::Write as _;

use serde_json::Value;

/// Indented JSON in which a list takes one line.
#[must_use]
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out.push('\n');
    out
}

fn write(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            out.push_str("{\n");
            for (i, (key, entry)) in entries.iter().enumerate() {
                let _ = write!(out, "{:1$}{2}: ", "", indent + 2, Value::from(key.as_str()));
                write(out, entry, indent + 2);
                out.push_str(if i + 1 < entries.len() { ",\n" } else { "\n" });
            }
            let _ = write!(out, "{:indent$}}}", "");
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            let _ = write!(out, "[{}]", items.join(", "));
        }
        other => out.push_str(&other.to_string()),
    }
}

/// An f32 as the JSON number that reads back to it, both through f64 and directly: the shortest
/// digits, or all of them where the shortest would be rounded twice to another value.
pub(super) fn number(value: f32) -> Value {
    let shortest: f64 = value.to_string().parse().expect("a number is printed as a number");
    Value::from(if shortest as f32 == value { shortest } else { f64::from(value) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn lists_take_one_line() {
        let value = json!({"a": {"b": [1.0, 2.5], "c": "x\"y"}, "d": {}, "e": []});
        let text = "{\n  \"a\": {\n    \"b\": [1.0, 2.5],\n    \"c\": \"x\\\"y\"\n  },\n  \
                    \"d\": {},\n  \"e\": []\n}\n";
        assert_eq!(pretty(&value), text);
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value);
    }

    proptest! {
        #[test]
        fn every_f32_reads_back(bits in 0u32..0x7f80_0000) {
            let value = f32::from_bits(bits);
            let text = number(value).to_string();
            prop_assert_eq!(text.parse::<f32>().unwrap(), value, "{}", text);
            prop_assert_eq!(text.parse::<f64>().unwrap() as f32, value, "{}", text);
        }
    }
}
