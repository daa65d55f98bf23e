//! The keys of a config.json with which transformers and vLLM compute a set.
//!
//! What the libraries do with them was read and run in transformers 5.23.0 (tests/reference) and
//! read in vLLM 0.33.0:
//!
//! - Type `longrope` with `rope_theta` 1 computes `1 / factor` in f32. The long list applies from
//!   `original_max_position_embeddings` on, so both lists are the same.
//! - The attention scale of transformers is `attention_factor`, and if that is missing a formula
//!   of `factor`, and if that is missing of the two lengths: both are written always. vLLM does
//!   not read it; it takes `short_mscale` and `long_mscale`, and if they are missing a formula of
//!   the two lengths. transformers warns that it does not know these two, and goes on.
//! - Both lengths are the longest to serve, so that no formula of their ratio applies.
//! - `partial_rotary_factor` is written also for whole heads: `gpt_neox`, `phi`, `stablelm` and
//!   `persimmon` have a default that is not 1.
//! - inv_freq is in no checkpoint: a buffer of that name is ignored when a model is loaded.

use serde_json::{Map, Value, json};

use super::fidelity::divisor;
use super::{Error, Fidelity, text};
use crate::freq::{Context, FrequencySet, RopeDtype};

/// The model types of transformers that were seen to rotate the first dimensions of a head in
/// pairs (i, i + rotary_dim/2) and leave the others alone.
pub const PARTIAL_MODEL_TYPES: [&str; 4] = ["gpt_neox", "phi", "stablelm", "persimmon"];

/// The divisor of a frequency of 0: a JSON number that becomes infinite as an f32, so that its
/// reciprocal is exactly 0.
const ZERO: f64 = 1e39;

/// How a configuration names the set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// `rope_type = "default"`: the library computes θ^(-2k/d) itself.
    Default {
        /// The base.
        theta: f64,
    },
    /// `rope_type = "longrope"` with the divisors of each channel.
    LongRope,
}

/// A fragment of config.json.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// How it names the set.
    pub form: Form,
    /// The keys `rope_parameters` and `max_position_embeddings`, and `xp_freq`, which says what they
    /// were made from; libraries keep it and do not use it.
    pub keys: Map<String, Value>,
    /// What the library computes from it. For [`Form::Default`] as far as its power function is
    /// correctly rounded, which is not promised: torch's differs from device to device.
    pub fidelity: Fidelity,
}

/// The fragment with which transformers and vLLM compute `set`, which was evaluated in `context`,
/// up to its target length (if it has none, its training length).
///
/// It is divisors (`longrope`), unless the set is `geo(theta)` on the standard grid with an
/// attention scale of 1 and divisors would not give it exactly either: then it is the type
/// `default`, which all software knows.
///
/// # Errors
/// [`Error::NoLength`] without a length.
pub fn config(set: &FrequencySet, context: &Context) -> Result<Config, Error> {
    let serve_len = context.target_len.or(context.train_len).ok_or(Error::NoLength)?;
    Ok(config_up_to(set, context, serve_len))
}

/// As [`config`], up to `serve_len` tokens whatever the lengths that the set was evaluated for.
#[must_use]
pub fn config_up_to(set: &FrequencySet, context: &Context, serve_len: u64) -> Config {
    let want = set.inv_freq_f32();
    let divided: Vec<f32> = want.iter().map(|w| 1.0 / divisor(*w)).collect();
    let by_division = Fidelity::of(&want, &divided);
    let (form, fidelity, mut parameters) = match geometric(set) {
        Some(theta) if !by_division.is_exact() => (
            Form::Default { theta },
            Fidelity::of(&want, &library_geo(theta, want.len())),
            json!({"rope_type": "default", "rope_theta": theta}),
        ),
        _ => {
            let factors: Vec<Value> = want.iter().map(|w| factor(*w)).collect();
            let parameters = json!({
                "rope_type": "longrope",
                "rope_theta": 1.0,
                "factor": 1.0,
                "attention_factor": set.attention_scale,
                "original_max_position_embeddings": serve_len,
                "short_mscale": set.attention_scale,
                "long_mscale": set.attention_scale,
                "short_factor": factors,
                "long_factor": factors,
            });
            (Form::LongRope, by_division, parameters)
        }
    };
    parameters["partial_rotary_factor"] = json!(rotary_share(2 * want.len(), set.head_dim));
    let keys = [
        ("rope_parameters".to_owned(), parameters),
        ("max_position_embeddings".to_owned(), json!(serve_len)),
        ("xp_freq".to_owned(), provenance(set, context, form, fidelity)),
    ];
    Config { form, keys: keys.into_iter().collect(), fidelity }
}

/// With what the set can be evaluated again, and what the libraries make of it.
fn provenance(set: &FrequencySet, context: &Context, form: Form, fidelity: Fidelity) -> Value {
    let mut entries = Map::new();
    entries.insert("expression".to_owned(), json!(set.expression));
    entries.insert("head_dim".to_owned(), json!(set.head_dim));
    let lengths = [
        ("train_len", context.train_len),
        ("target_len", context.target_len),
        ("seq_len", context.seq_len),
    ];
    for (name, length) in lengths {
        if let Some(length) = length {
            entries.insert(name.to_owned(), json!(length));
        }
    }
    if set.rope_dtype != RopeDtype::F32 {
        entries.insert("rope_dtype".to_owned(), json!(set.rope_dtype));
    }
    entries.insert("vec_id".to_owned(), json!(set.vec_id));
    let bit_exact = form == Form::LongRope && fidelity.is_exact();
    entries.insert("bit_exact".to_owned(), json!(bit_exact));
    entries.insert("channels_off".to_owned(), json!(fidelity.channels));
    entries.insert("max_ulp".to_owned(), json!(fidelity.max_ulp));
    Value::Object(entries)
}

/// The divisor as a JSON number.
fn factor(w: f32) -> Value {
    let divisor = divisor(w);
    if divisor.is_infinite() { json!(ZERO) } else { text::number(divisor) }
}

/// θ, if the set is θ^(-k/K) and nothing else.
fn geometric(set: &FrequencySet) -> Option<f64> {
    let theta = set.theta?;
    let channels = set.inv_freq.len() as f64;
    let same = |(k, w): (usize, &f64)| *w == libm::pow(theta, -(k as f64 / channels));
    let plain = set.attention_scale == 1.0 && set.inv_freq.iter().enumerate().all(same);
    plain.then_some(theta)
}

/// What transformers computes for type `default`, step by step in f32:
/// `1.0 / (base ** (torch.arange(0, dim, 2).float() / dim))`.
fn library_geo(theta: f64, channels: usize) -> Vec<f32> {
    let base = f64::from(theta as f32);
    let exponent = |k: usize| (2 * k) as f32 / (2 * channels) as f32;
    (0..channels).map(|k| 1.0 / libm::pow(base, f64::from(exponent(k))) as f32).collect()
}

/// The share of the dimensions of a head that rotate, such that the library's
/// `int(head_dim * share)` is `rotary_dim` again.
fn rotary_share(rotary_dim: usize, head_dim: u32) -> f64 {
    let head_dim = f64::from(head_dim);
    let share = rotary_dim as f64 / head_dim;
    // 49 * (1/49) < 1: where the product falls short, the next larger share does not.
    if (head_dim * share) < rotary_dim as f64 { share.next_up() } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freq::evaluate;

    fn serving(length: u64) -> Context {
        Context { target_len: Some(length), ..Context::new(64) }
    }

    fn set(expression: &str) -> FrequencySet {
        evaluate(expression, &Context::new(64)).expect(expression)
    }

    /// The divisors as a library reads them: JSON number, f64, f32.
    fn factors(config: &Config, key: &str) -> Vec<f32> {
        let list = config.keys["rope_parameters"][key].as_array().expect("a list");
        list.iter().map(|p| p.as_f64().expect("a number") as f32).collect()
    }

    #[test]
    fn fidelity_is_that_of_the_numbers_that_are_written() {
        let set = set("mix(geo(theta=100k), anchored_poly(theta=100k), alpha=0.2)");
        let config = config(&set, &serving(16_384)).unwrap();
        assert_eq!(config.form, Form::LongRope);
        let read: Vec<f32> =
            factors(&config, "short_factor").iter().map(|p| 1.0 / (p * 1.0)).collect();
        assert_eq!(Fidelity::of(&set.inv_freq_f32(), &read), config.fidelity);
        assert_eq!(config.fidelity.max_ulp, 1, "this set has channels that do not survive");
        assert_eq!(factors(&config, "short_factor"), factors(&config, "long_factor"));
        let parameters = &config.keys["rope_parameters"];
        assert_eq!(parameters["original_max_position_embeddings"], 16_384);
        assert_eq!(config.keys["max_position_embeddings"], 16_384);
        let made_from = &config.keys["xp_freq"];
        assert_eq!(made_from["vec_id"], set.vec_id);
        assert_eq!((&made_from["bit_exact"], &made_from["max_ulp"]), (&json!(false), &json!(1)));
        assert_eq!(made_from["channels_off"], config.fidelity.channels);
        assert!(made_from["target_len"] == 16_384 && made_from.get("train_len").is_none());
        for key in ["attention_factor", "short_mscale", "long_mscale", "factor", "rope_theta"] {
            assert_eq!(parameters[key], 1.0, "{key}");
        }
    }

    #[test]
    fn a_zero_comes_back_as_zero_and_is_json() {
        let set = set("clip(geo(theta=10k), min=0)");
        let zero = FrequencySet { inv_freq: vec![1.0, 0.0], theta: None, ..set };
        let config = config(&zero, &serving(64)).unwrap();
        assert!(config.fidelity.is_exact());
        assert_eq!(factors(&config, "long_factor"), [1.0, f32::INFINITY]);
        let text = text::pretty(&Value::Object(config.keys));
        assert!(text.contains("\"long_factor\": [1.0, 1e+39]"), "{text}");
        assert!(serde_json::from_str::<Value>(&text).is_ok());
    }

    #[test]
    fn geo_is_the_default_type_and_only_geo() {
        let plain = config(&set("geo(theta=500k)"), &serving(2048)).unwrap();
        assert_eq!(plain.form, Form::Default { theta: 500e3 });
        assert_eq!(
            plain.keys["rope_parameters"],
            json!({"rope_type": "default", "rope_theta": 500e3, "partial_rotary_factor": 1.0})
        );
        for other in [
            "geo(theta=500k, grid=mid)",
            "scale(geo(theta=500k), c=0.5)",
            "anchored_poly(theta=500k)",
            "mix(geo(theta=500k), geo(theta=10k), alpha=0.5)",
        ] {
            assert_eq!(
                config(&set(other), &serving(2048)).unwrap().form,
                Form::LongRope,
                "{other}"
            );
        }
        // 1, 1/4, 1/16, 1/64 are reciprocals: divisors give them exactly.
        let exact = evaluate("geo(theta=256)", &Context::new(8)).unwrap();
        let exact = config(&exact, &serving(64)).unwrap();
        assert_eq!(exact.form, Form::LongRope);
        assert!(exact.fidelity.is_exact());
    }

    #[test]
    fn an_attention_scale_needs_divisors() {
        let scaled = FrequencySet { attention_scale: 1.25, ..set("geo(theta=500k)") };
        let config = config(&scaled, &serving(2048)).unwrap();
        assert_eq!(config.form, Form::LongRope);
        for key in ["attention_factor", "short_mscale", "long_mscale"] {
            assert_eq!(config.keys["rope_parameters"][key], 1.25, "{key}");
        }
    }

    #[test]
    fn every_share_of_a_head_gives_its_dimensions_back() {
        for head_dim in (2..=512).step_by(2) {
            for rotary_dim in (2..=head_dim as usize).step_by(2) {
                let share = rotary_share(rotary_dim, head_dim);
                let back = (f64::from(head_dim) * share) as usize;
                assert_eq!(back, rotary_dim, "{rotary_dim} of {head_dim}");
                assert!(share <= 1.0);
            }
        }
    }

    #[test]
    fn without_a_length_there_is_no_configuration() {
        assert_eq!(config(&set("geo()"), &Context::new(64)), Err(Error::NoLength));
    }
}
