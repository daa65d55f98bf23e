//! The answer as JSON, written by hand because `serde_json` prints the shortest digits, and the
//! contract is 17.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::number::digits_17;
use super::sets::Named;

/// One object; of several sets, or of those of a spec, a list in it.
pub(super) fn text(named: &[Named], of_spec: bool) -> String {
    match named {
        [one] if !of_spec => format!("{}\n", object(one, false)),
        several => {
            let objects: Vec<String> = several.iter().map(|one| object(one, of_spec)).collect();
            format!("{{\"sets\":[{}]}}\n", objects.join(",\n"))
        }
    }
}

/// A set as an object, with its name if that is not its expression.
pub(super) fn object(named: &Named, with_name: bool) -> String {
    let set = &named.set;
    let text = |value: Value| value.to_string();
    let mut out = String::from("{");
    if with_name {
        let _ = write!(out, "\"name\":{},", text(json!(named.name)));
    }
    let _ = write!(
        out,
        "\"expression\":{},\"head_dim\":{},\"inv_freq\":[{}],\"attention_scale\":{},\
         \"expr_id\":{},\"vec_id\":{},\"checks\":{}",
        text(json!(set.expression)),
        set.head_dim,
        numbers(set.inv_freq.iter().copied().map(Some)),
        digits_17(set.attention_scale),
        text(json!(set.expr_id)),
        text(json!(set.vec_id)),
        text(json!(set.checks)),
    );
    if set.rope_dtype != crate::freq::RopeDtype::F32 {
        let _ = write!(out, ",\"rope_dtype\":{}", text(json!(set.rope_dtype)));
    }
    if let Some(other) = &named.reference {
        let mut against = json!({"expression": other.set.expression, "vec_id": other.set.vec_id});
        if with_name {
            against["name"] = json!(other.name);
        }
        let _ = write!(
            out,
            ",\"against\":{},\"ratio\":[{}]",
            text(against),
            numbers((0..set.inv_freq.len()).map(|k| named.ratio(k))),
        );
    }
    out.push('}');
    out
}

/// Numbers with 17 digits, `null` for none.
pub(super) fn numbers(values: impl Iterator<Item = Option<f64>>) -> String {
    let values: Vec<_> = values.map(|value| value.map_or("null".to_owned(), digits_17)).collect();
    values.join(",")
}
