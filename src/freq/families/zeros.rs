//! Families that stop the rotation of slow channels.

use std::f64::consts::PI;

use super::ntk::by_index;
use super::turns::turns;
use super::{Family, Interval, Param};

const LAST: Param = Param::required("n", Interval::NOT_NEGATIVE, "how many of the last channels");

/// Only the first share of the channels rotates.
pub(super) const P_ROPE: Family = Family {
    name: "p_rope",
    summary: "only the first share p of the channels rotates; exponents stay those of all",
    formula: "w / factor if k < int(p K), else 0",
    source: "p-RoPE, arXiv 2410.06205; transformers `proportional`",
    inner: &["inner"],
    params: &[
        Param::number("p", Interval::UNIT, 0.25, "the share that rotates"),
        Param::number("factor", Interval::from(1.0), 1.0, "the extension of the length"),
    ],
    declares_zeros: true,
    example: "p_rope(geo(theta=1M), p=0.5)",
    eval: |call| {
        let (p, factor) = (call.number("p"), call.number("factor"));
        let kept = (p * call.inner[0].inv_freq.len() as f64).trunc();
        Ok(by_index(call, |k, w| if k < kept { w / factor } else { 0.0 }))
    },
    ..Family::PLAIN
};

/// The last channels fade out along half a cosine.
pub(super) const COPE: Family = Family {
    name: "cope",
    summary: "the last n channels fade out along half a cosine; the last does not rotate",
    formula: "w (1 + cos(pi j/(n-1)))/2 for the last n, j = 0..n-1",
    source: "CoPE, arXiv 2602.05258 (n = 20 at head_dim 128)",
    inner: &["inner"],
    params: &[Param::required("n", Interval::from(2.0), "how many of the last channels")],
    declares_zeros: true,
    min_channels: 2,
    example: "cope(geo(theta=500k), n=2)",
    eval: |call| {
        let channels = call.inner[0].inv_freq.len();
        let n = call.count("n", channels)?;
        Ok(by_index(call, |k, w| {
            let j = k - (channels - n) as f64;
            let last = n as f64 - 1.0;
            if j < 0.0 {
                w
            } else if j == last {
                // The cosine of the rounded pi is no exact -1.
                0.0
            } else {
                w * 0.5 * (1.0 + libm::cos(PI * j / last))
            }
        }))
    },
    ..Family::PLAIN
};

/// The last channels do not rotate.
pub(super) const ZERO_LOW: Family = Family {
    name: "zero_low",
    summary: "the last n channels do not rotate",
    formula: "0 for the last n, else w",
    source: "CoPE's hard clip, arXiv 2602.05258",
    inner: &["inner"],
    params: &[LAST],
    declares_zeros: true,
    example: "zero_low(geo(theta=500k), n=1)",
    eval: |call| {
        let channels = call.inner[0].inv_freq.len();
        let n = call.count("n", channels)?;
        Ok(by_index(call, |k, w| if k < (channels - n) as f64 { w } else { 0.0 }))
    },
    ..Family::PLAIN
};

/// Channels that do not turn once within the training length do not rotate.
pub(super) const FLOOR_ZERO: Family = Family {
    name: "floor_zero",
    summary: "channels that do not turn once within the training length do not rotate",
    formula: "w if train_len w >= 2 pi, else 0",
    source: "FoPE's clamp, arXiv 2412.17739; the idea of HoPE, arXiv 2410.21216",
    inner: &["inner"],
    declares_zeros: true,
    reads: &["train_len"],
    example: "floor_zero(geo(theta=500k))",
    eval: |call| {
        let train_len = call.train_len()?;
        Ok(call.inner[0].map(|w| if turns(w, train_len) < 1.0 { 0.0 } else { w }))
    },
    ..Family::PLAIN
};
