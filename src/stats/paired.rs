//! Student's t test on paired differences.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::summary::{mean, std};

/// What the paired t test says of a list of differences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedT {
    /// Number of pairs.
    pub n: usize,
    /// Degrees of freedom, n - 1.
    pub df: usize,
    /// Mean of the differences.
    pub mean: f64,
    /// mean / (std / sqrt(n)); infinite if all differences are the same and not zero.
    pub t: f64,
    /// Two-sided p of "the mean difference is zero".
    pub p: f64,
    /// Level of the interval.
    pub level: f64,
    /// Lower end of the interval of the mean difference.
    pub low: f64,
    /// Upper end of the interval of the mean difference.
    pub high: f64,
}

impl PairedT {
    /// One-sided p of "the mean difference is at most `margin`": Student's t test of the differences less
    /// the margin. The other direction is that of the negated test.
    #[must_use]
    pub fn beyond(&self, margin: f64) -> f64 {
        if self.t.is_infinite() || self.mean == 0.0 && self.low == self.high {
            return if self.mean > margin { 0.0 } else { 1.0 };
        }
        let student = StudentsT::new(0.0, 1.0, self.df as f64).expect("df is at least 1");
        // A mean of zero has t = 0, so the error comes from the interval's width.
        let std_error = if self.t == 0.0 {
            (self.high - self.low) / 2.0 / student.inverse_cdf(f64::midpoint(1.0, self.level))
        } else {
            self.mean / self.t
        };
        student.sf((self.mean - margin) / std_error)
    }

    /// The same test of the negated differences.
    #[must_use]
    pub fn negated(&self) -> Self {
        Self { mean: -self.mean, t: -self.t, low: -self.high, high: -self.low, ..*self }
    }
}

/// The paired t test and the interval of the mean difference at `level` (0.95 for 95 %).
///
/// Assumes that the differences are independent and about normal; that the two members of a
/// pair are dependent is the point of pairing. The interval covers at the stated level even for
/// n = 2, where a percentile bootstrap does not (it covers 75 % for n = 3).
/// Source: Student (1908), "The probable error of a mean", Biometrika 6.
///
/// `None` with fewer than two differences or if one is not finite. Without spread the limit is
/// returned: p = 0 and an interval of one point, or p = 1 if all differences are zero.
#[must_use]
pub fn paired_t(differences: &[f64], level: f64) -> Option<PairedT> {
    let n = differences.len();
    if n < 2 || !(0.0..1.0).contains(&level) {
        return None;
    }
    let mean = mean(differences)?;
    let std_error = std(differences, 1)? / (n as f64).sqrt();
    let df = n - 1;
    if std_error == 0.0 {
        let (t, p) = if mean == 0.0 { (0.0, 1.0) } else { (mean.signum() * f64::INFINITY, 0.0) };
        return Some(PairedT { n, df, mean, t, p, level, low: mean, high: mean });
    }
    let student = StudentsT::new(0.0, 1.0, df as f64).expect("df is at least 1");
    let t = mean / std_error;
    let half_width = student.inverse_cdf(f64::midpoint(1.0, level)) * std_error;
    let p = (2.0 * student.sf(t.abs())).min(1.0);
    Some(PairedT { n, df, mean, t, p, level, low: mean - half_width, high: mean + half_width })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-10 * b.abs().max(1e-3), "{a} is not {b}");
    }

    /// Hollander & Wolfe's depression scores; reference values by scipy 1 `ttest_rel`.
    #[test]
    #[expect(clippy::approx_constant, reason = "3.14 is a score of the data set, not pi")]
    fn it_agrees_with_scipy() {
        let x = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let y = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
        let differences: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
        let test = paired_t(&differences, 0.95).unwrap();
        close(test.t, 3.035_375_415_648_591_7);
        close(test.p, 0.016_176_627_434_908_088);
        close(test.low, 0.103_778_712_272_168_56);
        close(test.high, 0.759_999_065_505_609_3);
        assert_eq!((test.n, test.df), (9, 8));
    }

    /// The reference runs at 16384 tokens, hybrid_a0.2_t100k against geo_500k.
    #[test]
    fn it_gives_the_published_t_of_the_reference_runs() {
        let baseline = [18.224, 19.138, 17.258];
        let hybrid = [16.847, 17.408, 17.716];
        let plain: Vec<f64> = baseline.iter().zip(hybrid).map(|(b, h)| b - h).collect();
        let test = paired_t(&plain, 0.95).unwrap();
        close(test.t, 1.301_977_101_576_034);
        close(test.p, 0.322_689_761_726_903_4);
        let logs: Vec<f64> = baseline.iter().zip(hybrid).map(|(b, h)| b.ln() - h.ln()).collect();
        let test = paired_t(&logs, 0.95).unwrap();
        close(test.p, 0.325_013_254_073_783_6);
        close(test.low, -0.114_052_372_221_518_01);
        close(test.high, 0.212_132_666_894_492_7);
    }

    /// Quantiles and tails of Student's t by scipy.
    #[test]
    fn quantiles_and_tails_hold_from_one_to_many_degrees_of_freedom() {
        for (df, quantile, tail, far_tail) in [
            (1usize, 12.706_204_736_174_694, 0.417_428_800_320_305_44, 0.079_166_848_321_131_09),
            (2, 4.302_652_729_749_462, 0.323_247_031_816_040_3, 0.015_268_072_165_338_14),
            (4, 2.776_445_105_197_793_4, 0.263_451_596_471_224_1, 0.001_323_896_909_217_167_2),
            (9, 2.262_157_162_798_205, 0.225_906_372_673_049_33, 2.213_481_680_940_015_5e-5),
            (99, 1.984_216_951_586_417_4, 0.196_619_569_643_423_42, 2.400_303_821_056_885_3e-12),
        ] {
            let student = StudentsT::new(0.0, 1.0, df as f64).unwrap();
            close(student.inverse_cdf(0.975), quantile);
            close(2.0 * student.sf(1.3), tail);
            close(2.0 * student.sf(8.0) / far_tail, 1.0);
        }
    }

    #[test]
    fn edge_cases_have_a_stated_answer() {
        assert_eq!(paired_t(&[], 0.95), None);
        assert_eq!(paired_t(&[1.0], 0.95), None);
        assert_eq!(paired_t(&[1.0, f64::NAN], 0.95), None);
        assert_eq!(paired_t(&[0.0, 0.0], 0.95).unwrap().p, 1.0);
        let constant = paired_t(&[-0.5, -0.5, -0.5], 0.95).unwrap();
        assert_eq!((constant.p, constant.low, constant.high), (0.0, -0.5, -0.5));
    }
}
