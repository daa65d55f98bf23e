//! `xp freq diff A B`: what differs between two sets.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;

use super::number::{digits_17, short};
use super::sets::{Named, Reference, evaluated};
use super::{ContextArgs, json as set_json, text};
use crate::diag::Diagnostic;
use crate::freq::{self, Difference};

/// What differs between two frequency expressions: parts, channels, ids
#[derive(Debug, Clone, clap::Args)]
pub struct DiffArgs {
    /// The first expression
    #[arg(value_name = "A")]
    a: String,
    /// The second expression
    #[arg(value_name = "B")]
    b: String,
    #[command(flatten)]
    context: ContextArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The answer.
///
/// # Errors
/// Those of both expressions.
pub(super) fn answer(args: &DiffArgs) -> Result<String, Vec<Diagnostic>> {
    let context = args.context.context();
    let mut errors = Vec::new();
    let mut evaluate = |name: &str, text: &str| {
        evaluated(name, text, &context).map_err(|found| errors.extend(found)).ok()
    };
    let (a, b) = (evaluate("<a>", &args.a), evaluate("<b>", &args.b));
    let (Some((a, _)), Some((b, _))) = (a, b) else { return Err(errors) };
    let parsed = |expression: &str| freq::parse(expression).expect("a canonical form can be read");
    let differences = freq::differences(&parsed(&a.expression), &parsed(&b.expression));
    let reference = Arc::new(Reference { name: args.a.clone(), set: a });
    let named = Named::compared(args.b.clone(), b, &context, reference.clone());
    Ok(if args.json {
        as_json(&reference, &named, &differences, &context)
    } else {
        as_text(&reference, &named, &differences)
    })
}

/// Channels whose f32 frequency differs; if the sets have not the same number, those of the larger
/// that the smaller lacks differ, too.
fn differing(a: &[f32], b: &[f32]) -> usize {
    let (shorter, longer) = (a.len().min(b.len()), a.len().max(b.len()));
    a.iter().zip(b).filter(|(a, b)| a != b).count() + longer - shorter
}

/// The channel whose ratio is farthest from 1, on a log scale.
fn farthest(named: &Named) -> Option<(usize, f64)> {
    let ratios = (0..named.set.inv_freq.len()).filter_map(|k| Some((k, named.ratio(k)?)));
    let far = |ratio: f64| if ratio > 0.0 { ratio.ln().abs() } else { f64::INFINITY };
    ratios.reduce(|a, b| if far(b.1) > far(a.1) { b } else { a })
}

fn as_text(a: &Reference, b: &Named, differences: &[Difference]) -> String {
    let mut out = format!("a  {}\nb  {}\n", a.set.expression, b.set.expression);
    for Difference { place, a, b } in differences {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(out, "   {place}: {} -> {}", side(a), side(b));
    }
    let (a32, b32) = (a.set.inv_freq_f32(), b.set.inv_freq_f32());
    let channels = differing(&a32, &b32);
    if a.set.vec_id == b.set.vec_id {
        out.push_str("the same set: one vec_id\n");
    } else {
        let _ = writeln!(
            out,
            "different sets: {channels} of {} channels differ in f32",
            a32.len().max(b32.len())
        );
    }
    if a.set.attention_scale != b.set.attention_scale {
        let (a, b) = (a.set.attention_scale, b.set.attention_scale);
        let _ = writeln!(out, "attention scale {a} -> {b}");
    }
    if let Some((k, ratio)) = farthest(b).filter(|(_, ratio)| *ratio != 1.0) {
        let _ = writeln!(out, "farthest apart: channel {k}, b/a = {}", short(ratio));
    }
    let mut rows =
        vec![["k", "omega a", "omega b", "period a", "period b", "b/a"].map(str::to_owned)];
    for k in 0..a32.len().max(b32.len()) {
        let omega = |set: &freq::FrequencySet| {
            set.inv_freq.get(k).map_or("-".to_owned(), |w| format!("{w:.6e}"))
        };
        let period = |set: &freq::FrequencySet| {
            set.inv_freq.get(k).map_or("-".to_owned(), |_| short(set.period(k)))
        };
        let ratio = if k < b32.len() { b.ratio(k) } else { None };
        rows.push([
            k.to_string(),
            omega(&a.set),
            omega(&b.set),
            period(&a.set),
            period(&b.set),
            ratio.map_or("-".to_owned(), |ratio| format!("x{}", short(ratio))),
        ]);
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    out + &text::aligned(&rows)
}

fn as_json(
    a: &Reference,
    b: &Named,
    differences: &[Difference],
    context: &freq::Context,
) -> String {
    let (a32, b32) = (a.set.inv_freq_f32(), b.set.inv_freq_f32());
    let plain = |name: &str, set: &freq::FrequencySet| {
        let named = Named::alone(name.to_owned(), set.clone(), context);
        set_json::object(&named, false)
    };
    let farthest = farthest(b).map_or("null".to_owned(), |(k, ratio)| {
        format!("{{\"k\":{k},\"ratio\":{}}}", digits_17(ratio))
    });
    format!(
        "{{\"a\":{},\"b\":{},\"same\":{},\"differences\":{},\"channels_differing\":{},\
         \"ratio\":[{}],\"farthest\":{farthest}}}\n",
        plain("a", &a.set),
        plain("b", &b.set),
        a.set.vec_id == b.set.vec_id,
        json!(differences),
        differing(&a32, &b32),
        set_json::numbers((0..b32.len()).map(|k| b.ratio(k))),
    )
}
