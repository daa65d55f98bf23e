//! What was called `YaRN`: scalings for longer texts, all without an attention scale.

use std::f64::consts::TAU;

use super::super::ntk::{FACTOR, by_index};
use super::super::turns::{index_range, linear_ramp};
use super::super::{Family, Interval, Param, Shape};

const YARN: Family =
    Family { name: "legacy_yarn", needs_version: true, inner: &["inner"], ..Family::PLAIN };

pub(in super::super) const YARN_1: Family = Family {
    version: 1,
    summary: "a smooth ramp from channel 0.2 K to 0.9 K whatever the periods, its temperature on the frequencies",
    formula: "w/(factor^r (1 + 0.07 log2(factor))^(r/2)), r = x^2 (3 - 2x), x = clamp((k - int(0.2 K))/(int(0.9 K) - int(0.2 K)), 0, 1)",
    source: "hybrid-rope, lib/rope/schedules.py, phase 11, 14c, 17, 21b",
    params: &[FACTOR],
    example: "legacy_yarn@1(geo(theta=500k), factor=8)",
    eval: |call| {
        let factor = call.number("factor");
        let channels = call.inner[0].inv_freq.len() as f64;
        let (start, end) = ((0.2 * channels).floor(), (0.9 * channels).floor());
        let end = if end <= start { (channels - 1.0).min(start + 1.0) } else { end };
        let temperature = 1.0 + 0.07 * libm::log2(factor);
        Ok(by_index(call, |k, w| {
            let x = ((k - start) / (end - start).max(1.0)).clamp(0.0, 1.0);
            let ramp = x * x * (3.0 - 2.0 * x);
            w / (libm::pow(factor, ramp) * libm::pow(temperature, 0.5 * ramp))
        }))
    },
    ..YARN
};

pub(in super::super) const YARN_2: Family = Family {
    version: 2,
    summary: "thresholds the wrong way: kept below alpha training lengths, divided above beta of them",
    formula: "w if p < alpha L, w/factor if p > beta L, else w/(1 + (factor-1)(p - alpha L)/((beta - alpha) L)), p = 2 pi/w, L = train_len",
    source: "hybrid-rope, eval_extended_3seeds.py",
    params: &[
        FACTOR,
        Param::number("alpha", Interval::POSITIVE, 1.0, "training lengths below which w stays"),
        Param::number(
            "beta",
            Interval::POSITIVE,
            32.0,
            "training lengths above which w is divided",
        ),
    ],
    reads: &["train_len"],
    example: "legacy_yarn@2(geo(theta=500k), factor=8)",
    eval: |call| {
        let (factor, train_len) = (call.number("factor"), call.train_len()?);
        let (alpha, beta) = (call.number("alpha"), call.number("beta"));
        if alpha >= beta {
            let message = format!("alpha = {alpha} is not below beta = {beta}");
            return Err(call.contradiction("alpha", message, "not below"));
        }
        let (low, high) = (alpha * train_len, beta * train_len);
        Ok(by_index(call, |_, w| {
            let x = ((TAU / w - low) / (high - low)).clamp(0.0, 1.0);
            w / (1.0 + x * (factor - 1.0))
        }))
    },
    ..YARN
};

pub(in super::super) const YARN_3: Family = Family {
    version: 3,
    summary: "the ramp turned round: high frequencies divided, low ones kept",
    formula: "(1-s) w/factor + s w, s = clamp((p - L/4)/(L - L/4), 0, 1), p = 2 pi/w, L = train_len",
    source: "hybrid-rope, eval_passkey_teacher_forcing.py, phase 14b",
    params: &[FACTOR],
    reads: &["train_len"],
    example: "legacy_yarn@3(geo(theta=500k), factor=8)",
    eval: |call| {
        let (factor, train_len) = (call.number("factor"), call.train_len()?);
        let quarter = train_len / 4.0;
        Ok(by_index(call, |_, w| {
            let s = ((TAU / w - quarter) / (train_len - quarter)).clamp(0.0, 1.0);
            (1.0 - s) * w / factor + s * w
        }))
    },
    ..YARN
};

pub(in super::super) const YARN_4: Family = Family {
    version: 4,
    summary: "all channels divided by one factor: the exponent of NTK without its base",
    formula: "w/factor^(d/(d-2)), d = 2 K",
    source: "hybrid-rope, phase21b_quality_eval.py",
    params: &[FACTOR],
    min_channels: 2,
    example: "legacy_yarn@4(geo(theta=500k), factor=8)",
    eval: |call| {
        let dim = 2.0 * call.inner[0].inv_freq.len() as f64;
        let by = libm::pow(call.number("factor"), dim / (dim - 2.0));
        Ok(by_index(call, |_, w| w / by))
    },
    ..YARN
};

pub(in super::super) const YARN_5: Family = Family {
    version: 5,
    summary: "a square in the channel index (also called `LongRoPE`)",
    formula: "w/(1 + (factor-1)(k/K)^2)",
    source: "hybrid-rope, the collision scripts",
    params: &[FACTOR],
    example: "legacy_yarn@5(geo(theta=500k), factor=8)",
    eval: |call| {
        let factor = call.number("factor");
        let channels = call.inner[0].inv_freq.len() as f64;
        Ok(by_index(call, |k, w| {
            let u = k / channels;
            w / (1.0 + (factor - 1.0) * u * u)
        }))
    },
    ..YARN
};

pub(in super::super) const YARN_6: Family = Family {
    version: 6,
    summary: "YaRN's index ramp blended harmonically, without attention scale; used in training",
    formula: "w/(1 + (factor-1) r(k)), r from 0 to 1 between the channels with 32 and 1 turns in train_len, rounded outwards",
    source: "hybrid-rope, run_evq_sweep.py at 8616af4",
    params: &[FACTOR],
    reads: &["train_len"],
    example: "legacy_yarn@6(geo(theta=10k), factor=8)",
    eval: |call| {
        let factor = call.number("factor");
        let (low, high) = index_range(call, 32.0, 1.0, true)?;
        Ok(by_index(call, |k, w| w / (1.0 + (factor - 1.0) * linear_ramp(k, low, high))))
    },
    ..YARN
};

pub(in super::super) const DYNAMIC_NTK_1: Family = Family {
    name: "legacy_dynamic_ntk",
    version: 1,
    summary: "the middle grid up to the training length, the standard grid with a larger base beyond",
    formula: "theta^(-(k+0.5)/K) if n <= L, else (theta (n/L)^(d/(d-2)))^(-k/K), n = seq_len, L = train_len",
    source: "hybrid-rope, eval_pe_baselines.py",
    params: &[Param::required("theta", Interval::above(1.0), "the base")],
    needs_version: true,
    min_channels: 2,
    reads: &["train_len", "seq_len"],
    example: "legacy_dynamic_ntk@1(theta=500k)",
    eval: |call| {
        let (theta, train_len, seq_len) =
            (call.number("theta"), call.train_len()?, call.seq_len()?);
        let channels = call.channels() as f64;
        if seq_len <= train_len {
            return Ok(Shape::plain(call.per_channel(|k| libm::pow(theta, -(k + 0.5) / channels))));
        }
        let dim = 2.0 * channels;
        let base = theta * libm::pow(seq_len / train_len, dim / (dim - 2.0));
        Ok(Shape::plain(call.per_channel(|k| libm::pow(base, -k / channels))))
    },
    ..Family::PLAIN
};
