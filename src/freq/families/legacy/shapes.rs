//! Sigmoids, polynomials and mixtures that had the names of others.

use std::f64::consts::PI;

use super::super::super::error::Error;
use super::super::{Call, Family, Interval, Param, Shape};

const THETA: Param = Param::required("theta", Interval::above(1.0), "the base");
const OMF: Param =
    Param::required("omf", Interval::POSITIVE, "the least frequency over the greatest");
const ALPHA: Param = Param::required("alpha", Interval::UNIT, "share of the mixture");
const SLOPE: Param = Param::computed(
    "slope",
    Interval::POSITIVE,
    "16.05 / head_dim",
    "steepness of the sigmoid, for one channel",
);
const CENTER: Param = Param::computed(
    "center",
    Interval::NOT_NEGATIVE,
    "0.47 * head_dim / 2",
    "channel of the middle of the sigmoid",
);

const SIGMOID: Family = Family { name: "legacy_sigmoid", needs_version: true, ..Family::PLAIN };
const POLY: Family = Family { name: "legacy_anchored_poly", needs_version: true, ..Family::PLAIN };
const HYBRID: Family = Family { name: "legacy_hybrid", needs_version: true, ..Family::PLAIN };
const ANCHORED: Family =
    Family { name: "legacy_anchored_sigmoid", needs_version: true, ..Family::PLAIN };

fn sigma(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// θ^(-k/K).
fn geo(call: &Call<'_>, theta: f64, k: f64) -> f64 {
    libm::pow(theta, -k / call.channels() as f64)
}

/// k/(K-1), from 0 to 1.
fn closed(call: &Call<'_>, k: f64) -> f64 {
    k / (call.channels() as f64 - 1.0)
}

/// The sigmoid of a channel with the call's slope and center.
fn by_channel(call: &Call<'_>, k: f64) -> f64 {
    sigma(call.number("slope") * (k - call.number("center")))
}

#[expect(clippy::unnecessary_wraps, reason = "returns what the registry takes")]
fn shape(call: &Call<'_>, f: impl Fn(f64) -> f64) -> Result<Shape, Error> {
    Ok(Shape::plain(call.per_channel(f)))
}

pub(in super::super) const SIGMOID_1: Family = Family {
    version: 1,
    summary: "the least frequency is omf whatever the base, and the first one is 1",
    formula: "omf^(s(t) - s(0)), s(t) = 1/(1 + exp(-steepness (t - midpoint))), t = k/(K-1)",
    source: "hybrid-rope, run_a100_aligned_search.py (Feb 2026)",
    params: &[
        Param::number("steepness", Interval::POSITIVE, 8.0, "slope in t"),
        Param::number("midpoint", Interval::ANY, 0.5, "middle in t"),
        Param::number("omf", Interval::POSITIVE, 0.2, "the least frequency over the greatest"),
    ],
    min_channels: 2,
    example: "legacy_sigmoid@1(steepness=8, midpoint=0.5, omf=0.2)",
    eval: |call| {
        let (a, m) = (call.number("steepness"), call.number("midpoint"));
        let (first, omf) = (sigma(-a * m), call.number("omf"));
        shape(call, |k| libm::pow(omf, sigma(a * (closed(call, k) - m)) - first))
    },
    ..SIGMOID
};

pub(in super::super) const SIGMOID_2: Family = Family {
    version: 2,
    summary: "normalised to both ends of the base: from 1 to 1/theta",
    formula: "theta^(-(s(k) - s(0))/(s(K-1) - s(0))), s(k) = 1/(1 + exp(-slope (k - center)))",
    source: "hybrid-rope, lib/rope/schedules.py `sigmoid`; others by slope and center",
    params: &[THETA, SLOPE, CENTER],
    min_channels: 2,
    example: "legacy_sigmoid@2(theta=500k)",
    eval: |call| {
        let (first, last) = (by_channel(call, 0.0), by_channel(call, call.channels() as f64 - 1.0));
        if first == last {
            let message = "the sigmoid is the same in all channels".to_owned();
            return Err(call.contradiction("slope", message, "too flat, or too far away"));
        }
        let theta = call.number("theta");
        shape(call, |k| libm::pow(theta, -(by_channel(call, k) - first) / (last - first)))
    },
    ..SIGMOID
};

pub(in super::super) const SIGMOID_3: Family = Family {
    version: 3,
    summary: "omf as a factor on all frequencies; the grid was another in training and evaluation",
    formula: "omf theta^(-s(t)), s(t) = 1/(1 + exp(-steepness (t - midpoint))), t = k/K (grid=std) or k/(K-1) (grid=ends)",
    source: "hybrid-rope, run_train_freq_comparison.py and eval_trained_700m.py (Feb 2026)",
    params: &[
        THETA,
        Param::required("steepness", Interval::POSITIVE, "slope in t"),
        Param::required("midpoint", Interval::ANY, "middle in t"),
        Param::required("omf", Interval::POSITIVE, "factor on all frequencies"),
        Param {
            name: "grid",
            doc: "where t lies",
            kind: super::super::Kind::Choice(&["std", "ends"]),
            default: super::super::Default::Required,
        },
    ],
    min_channels: 2,
    example: "legacy_sigmoid@3(theta=500k, steepness=8, midpoint=0.5, omf=0.3, grid=std)",
    eval: |call| {
        let (theta, omf) = (call.number("theta"), call.number("omf"));
        let (a, m) = (call.number("steepness"), call.number("midpoint"));
        let channels = call.channels() as f64;
        let std = call.choice("grid") == "std";
        let t = |k: f64| if std { k / channels } else { closed(call, k) };
        shape(call, |k| omf * libm::pow(theta, -sigma(a * (t(k) - m))))
    },
    ..SIGMOID
};

pub(in super::super) const SIGMOID_4: Family = Family {
    version: 4,
    summary: "rising and nearly flat: a slip, kept because results were made with it",
    formula: "1e-6 + (1 - 1e-6)/(1 + exp(-(10/length)(100 k - length/2)))",
    source: "hybrid-rope, run_llama_theta_matched.py (Feb 2026)",
    params: &[Param::required("length", Interval::POSITIVE, "a length in tokens")],
    example: "legacy_sigmoid@4(length=8192)",
    eval: |call| {
        let length = call.number("length");
        shape(call, |k| 1e-6 + (1.0 - 1e-6) * sigma(10.0 / length * (100.0 * k - length / 2.0)))
    },
    ..SIGMOID
};

pub(in super::super) const SIGMOID_5: Family = Family {
    version: 5,
    summary: "geometric, the later channels lowered by up to alpha",
    formula: "theta^(-k/K) (1 - alpha/(1 + exp(-4 (k - K/2)/K)))",
    source: "hybrid-rope, `v3` (Feb 2026)",
    params: &[THETA, ALPHA],
    example: "legacy_sigmoid@5(theta=500k, alpha=0.5)",
    eval: |call| {
        let (theta, alpha) = (call.number("theta"), call.number("alpha"));
        let channels = call.channels() as f64;
        let weight = |k: f64| sigma(4.0 * (k - channels / 2.0) / channels);
        shape(call, |k| geo(call, theta, k) * (1.0 - alpha * weight(k)))
    },
    ..SIGMOID
};

pub(in super::super) const POLY_1: Family = Family {
    version: 1,
    summary: "the least frequency is omf whatever the base",
    formula: "omf^(t^p), t = k/(K-1)",
    source: "hybrid-rope, run_a100_aligned_search.py (Feb 2026)",
    params: &[Param::number("p", Interval::POSITIVE, 3.9, "the power"), OMF],
    min_channels: 2,
    example: "legacy_anchored_poly@1(p=3.9, omf=0.2)",
    eval: |call| {
        let (p, omf) = (call.number("p"), call.number("omf"));
        shape(call, |k| libm::pow(omf, libm::pow(closed(call, k), p)))
    },
    ..POLY
};

pub(in super::super) const POLY_2: Family = Family {
    version: 2,
    summary: "to the lowest geometric frequency, without omf",
    formula: "theta^(-(K-1)/K t^p), t = k/(K-1)",
    source: "hybrid-rope, phase_transition_theory",
    params: &[THETA, Param::number("p", Interval::POSITIVE, 2.0, "the power")],
    min_channels: 2,
    example: "legacy_anchored_poly@2(theta=500k)",
    eval: |call| {
        let (theta, p) = (call.number("theta"), call.number("p"));
        let channels = call.channels() as f64;
        let end = (channels - 1.0) / channels;
        shape(call, |k| libm::pow(theta, -end * libm::pow(closed(call, k), p)))
    },
    ..POLY
};

pub(in super::super) const POLY_3: Family = Family {
    version: 3,
    summary: "a power of a line in k (`poly v2`)",
    formula: "(alpha k + beta)^(-p)",
    source: "hybrid-rope, sigmoid_rope_experiments",
    params: &[
        Param::required("alpha", Interval::POSITIVE, "slope of the line"),
        Param::required("beta", Interval::POSITIVE, "its value at k = 0"),
        Param::required("p", Interval::POSITIVE, "the power"),
    ],
    example: "legacy_anchored_poly@3(alpha=1, beta=1, p=2)",
    eval: |call| {
        let (alpha, beta, p) = (call.number("alpha"), call.number("beta"), call.number("p"));
        shape(call, |k| libm::pow(alpha * k + beta, -p))
    },
    ..POLY
};

pub(in super::super) const HYBRID_1: Family = Family {
    version: 1,
    summary: "the linear mix with alpha the other way round: the share of the first",
    formula: "alpha a + (1 - alpha) b",
    source: "hybrid-rope, run_h800_parallel_rope.py (`hybrid_alpha0.15`)",
    inner: &["a", "b"],
    params: &[ALPHA],
    example: "legacy_hybrid@1(geo(theta=10k), anchored_poly(theta=10k), alpha=0.15)",
    eval: |call| {
        let alpha = call.number("alpha");
        super::super::combine::combine(call, |_, a, b| alpha * a + (1.0 - alpha) * b)
    },
    ..HYBRID
};

pub(in super::super) const HYBRID_2: Family = Family {
    version: 2,
    summary: "a mix of exponents: linear and a power",
    formula: "omf theta^(-((1-alpha) t + alpha t^p)), t = k/(K-1)",
    source: "hybrid-rope, 700M and the first LoRA runs (Feb 2026)",
    params: &[
        THETA,
        Param::required("p", Interval::POSITIVE, "the power"),
        Param::required("omf", Interval::POSITIVE, "factor on all frequencies"),
        ALPHA,
    ],
    min_channels: 2,
    example: "legacy_hybrid@2(theta=500k, p=3.9, omf=0.3, alpha=0.2)",
    eval: |call| {
        let (theta, p) = (call.number("theta"), call.number("p"));
        let (omf, alpha) = (call.number("omf"), call.number("alpha"));
        shape(call, |k| {
            let t = closed(call, k);
            omf * libm::pow(theta, -((1.0 - alpha) * t + alpha * libm::pow(t, p)))
        })
    },
    ..HYBRID
};

pub(in super::super) const HYBRID_3: Family = Family {
    version: 3,
    summary: "one base for the first half of the channels, another for the second",
    formula: "theta1^(-k/K) if k < K/2, else theta2^(-k/K)",
    source: "hybrid-rope, run_sigmoid_v3 and phase_collision_comparison",
    params: &[
        Param::required("theta1", Interval::above(1.0), "base of the first half"),
        Param::required("theta2", Interval::above(1.0), "base of the second half"),
    ],
    example: "legacy_hybrid@3(theta1=10k, theta2=500k)",
    eval: |call| {
        let (first, second) = (call.number("theta1"), call.number("theta2"));
        let half = call.channels() as f64 / 2.0;
        shape(call, |k| geo(call, if k < half { first } else { second }, k))
    },
    ..HYBRID
};

const ANCHOR: Param =
    Param::required("anchor", Interval::POSITIVE, "the factor that is approached");

pub(in super::super) const ANCHORED_SIGMOID_1: Family = Family {
    version: 1,
    summary: "geometric, divided by up to the anchor; the name `hybrid` became an alias of it",
    formula: "theta^(-k/K)/(1 + (anchor - 1) s(k)), s(k) = 1/(1 + exp(-slope (k - center)))",
    source: "hybrid-rope, lib/rope/schedules.py; its anchor is clamp(2.5 max(1, L/8192), 2, 30)",
    params: &[THETA, ANCHOR, SLOPE, CENTER],
    example: "legacy_anchored_sigmoid@1(theta=500k, anchor=2.5)",
    eval: |call| {
        let (theta, anchor) = (call.number("theta"), call.number("anchor"));
        shape(call, |k| geo(call, theta, k) / (1.0 + (anchor - 1.0) * by_channel(call, k)))
    },
    ..ANCHORED
};

pub(in super::super) const ANCHORED_SIGMOID_2: Family = Family {
    version: 2,
    summary: "geometric, multiplied by up to the anchor",
    formula: "theta^(-k/K)(1 + (anchor - 1) s(k)), s(k) = 1/(1 + exp(-slope (k - center)))",
    source: "hybrid-rope, sigmoid_rope_experiments; train_phase_transition with center 0.93 K",
    params: &[
        THETA,
        Param::number("anchor", Interval::POSITIVE, 20.0, "the factor that is approached"),
        SLOPE,
        CENTER,
    ],
    example: "legacy_anchored_sigmoid@2(theta=500k, anchor=20)",
    eval: |call| {
        let (theta, anchor) = (call.number("theta"), call.number("anchor"));
        shape(call, |k| geo(call, theta, k) * (1.0 + (anchor - 1.0) * by_channel(call, k)))
    },
    ..ANCHORED
};

pub(in super::super) const ANCHORED_SIGMOID_3: Family = Family {
    version: 3,
    summary: "two geometric sets mixed by a sigmoid, the second with anchor times the base",
    formula: "(1-s(k)) theta^(-k/K) + s(k) (anchor theta)^(-k/K), s(k) = 1/(1 + exp(-slope (k - center)))",
    source: "hybrid-rope, run_anchored_sigmoid_validation; the collision scripts with larger anchors",
    params: &[
        THETA,
        ANCHOR,
        Param::number("slope", Interval::POSITIVE, 0.5, "steepness, for one channel"),
        Param::number("center", Interval::NOT_NEGATIVE, 16.0, "channel of the middle"),
    ],
    example: "legacy_anchored_sigmoid@3(theta=10k, anchor=20)",
    eval: |call| {
        let (theta, anchor) = (call.number("theta"), call.number("anchor"));
        shape(call, |k| {
            let w = by_channel(call, k);
            (1.0 - w) * geo(call, theta, k) + w * geo(call, anchor * theta, k)
        })
    },
    ..ANCHORED
};

pub(in super::super) const ANCHORED_SIGMOID_4: Family = Family {
    version: 4,
    summary: "a base for each channel, up to anchor times theta",
    formula: "(theta (1 + (anchor - 1) s(k)))^(-k/K), s(k) = 1/(1 + exp(-slope/100 (k - center)))",
    source: "hybrid-rope, advisor_followup, night_run and the 13B runs",
    params: &[
        THETA,
        ANCHOR,
        Param::required("slope", Interval::POSITIVE, "steepness, for a hundred channels"),
        Param::required("center", Interval::NOT_NEGATIVE, "channel of the middle"),
    ],
    example: "legacy_anchored_sigmoid@4(theta=10k, anchor=20, slope=16.05, center=1)",
    eval: |call| {
        let (theta, anchor) = (call.number("theta"), call.number("anchor"));
        let (slope, center) = (call.number("slope") / 100.0, call.number("center"));
        shape(call, |k| geo(call, theta * (1.0 + (anchor - 1.0) * sigma(slope * (k - center))), k))
    },
    ..ANCHORED
};

pub(in super::super) const ANCHORED_HYBRID_1: Family = Family {
    name: "legacy_anchored_hybrid",
    version: 1,
    summary: "the first channels geometric, the others mixed with a larger base by a cosine ramp",
    formula: "(1-b r) theta^(-k/K) + b r (theta max(factor^2, 4))^(-k/K) from k = rigid on, r = (1 - cos(pi t))/2, \
              b = clamp(0.16 log2(factor), 0.08, 0.4); geometric at factor 1",
    source: "hybrid-rope, lib/rope/schedules.py (from 22 Feb 2026; before, geometric at theta = 500k)",
    params: &[
        THETA,
        Param::required("factor", Interval::from(1.0), "length over 8192"),
        Param::number("rigid", Interval::NOT_NEGATIVE, 12.0, "channels that stay geometric"),
    ],
    needs_version: true,
    example: "legacy_anchored_hybrid@1(theta=500k, factor=2, rigid=1)",
    eval: anchored_hybrid,
    ..Family::PLAIN
};

fn anchored_hybrid(call: &Call<'_>) -> Result<Shape, Error> {
    let (theta, factor) = (call.number("theta"), call.number("factor"));
    let rigid = call.number("rigid").floor().min(call.channels() as f64);
    let tail = theta * (factor * factor).max(4.0);
    let most = (0.16 * libm::log2(factor)).clamp(0.08, 0.4);
    let last = call.channels() as f64 - rigid - 1.0;
    shape(call, |k| {
        let own = geo(call, theta, k);
        if k < rigid || factor == 1.0 {
            return own;
        }
        let ramp = if last > 0.0 { 0.5 - 0.5 * libm::cos(PI * (k - rigid) / last) } else { 1.0 };
        (1.0 - most * ramp) * own + most * ramp * geo(call, tail, k)
    })
}
