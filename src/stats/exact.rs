//! Tests whose distribution is counted, not approximated: sign flips, signs, signed ranks.
//!
//! Each is of "the differences are as likely above zero as below", two-sided, and gives p alone.
//! With few pairs none of them can reach 5 %: [`smallest_p`] says what n pairs can reach.

/// Most differences whose sign flips are enumerated: 2^15 sums, so that a report with a thousand
/// comparisons does not wait.
pub const MOST_FLIPPED: usize = 16;

/// The exact sign-flip permutation test of the mean of `differences`: the share of all 2^n
/// assignments of signs whose sum is as far from zero as the observed one.
///
/// Assumes that under "no difference" each difference is as likely with the other sign, which
/// holds if pairs are exchangeable (as configs under one seed are); no distribution is assumed.
/// Source: Fisher (1935), "The Design of Experiments", section 21.
///
/// `None` without differences, with more than [`MOST_FLIPPED`], or if one is not finite.
#[must_use]
pub fn sign_flip(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    if !(1..=MOST_FLIPPED).contains(&n) || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let observed: f64 = differences.iter().sum::<f64>().abs();
    // Sums in another order differ by rounding: what is as far is as far.
    let tolerance = 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    // The first sign may stay: each assignment and its mirror image are as far from zero.
    let assignments = 1u32 << (n - 1);
    let as_far = (0..assignments).filter(|signs| {
        let signed = |(i, d): (usize, &f64)| if signs >> i & 1 == 1 { -d } else { *d };
        let sum: f64 = differences.iter().enumerate().map(signed).sum();
        sum.abs() >= observed - tolerance
    });
    Some(as_far.count() as f64 / f64::from(assignments))
}

/// The sign test: whether more differences are on one side of zero than chance would have it.
///
/// Assumes independent differences, nothing of their distribution; zeros are left out. Source:
/// Arbuthnott (1710); Conover (1999), "Practical Nonparametric Statistics", section 3.4.
///
/// `None` without a difference that is not zero, with more than 1,000, or if one is not finite.
#[must_use]
pub fn sign_test(differences: &[f64]) -> Option<f64> {
    if differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let above = differences.iter().filter(|d| **d > 0.0).count();
    let n = differences.iter().filter(|d| **d != 0.0).count();
    if !(1..=1000).contains(&n) {
        return None;
    }
    let fewer = above.min(n - above);
    // C(n, k) / 2^n, one from the other; 2^-1000 is still an f64.
    let mut term = 0.5f64.powi(n as i32);
    let mut tail = term;
    for k in 1..=fewer {
        term *= (n - k + 1) as f64 / k as f64;
        tail += term;
    }
    Some((2.0 * tail).min(1.0))
}

/// Most differences that [`wilcoxon`] counts.
pub const MOST_RANKED: usize = 500;

/// Wilcoxon's signed-rank test, by its exact distribution given the ranks.
///
/// Assumes that the differences are symmetric about their median. Zeros are left out (Wilcoxon's
/// way); equal sizes share the mean of their ranks, and the distribution is that of these ranks.
/// Source: Wilcoxon (1945), "Individual comparisons by ranking methods", Biometrics Bulletin 1.
///
/// `None` without a difference that is not zero, with more than [`MOST_RANKED`], or if one is not
/// finite.
#[must_use]
pub fn wilcoxon(differences: &[f64]) -> Option<f64> {
    if differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    let mut sizes: Vec<(f64, bool)> =
        differences.iter().filter(|d| **d != 0.0).map(|d| (d.abs(), *d > 0.0)).collect();
    if !(1..=MOST_RANKED).contains(&sizes.len()) {
        return None;
    }
    sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the ranks: whole numbers, with ties too.
    let mut doubled = Vec::with_capacity(sizes.len());
    for tied in sizes.chunk_by(|a, b| a.0 == b.0) {
        let first = doubled.len();
        doubled.extend(std::iter::repeat_n(2 * first + tied.len() + 1, tied.len()));
    }
    let total: usize = doubled.iter().sum();
    let above: usize = doubled.iter().zip(&sizes).filter(|(_, (_, up))| *up).map(|(r, _)| r).sum();
    // Share of the assignments of signs with each sum of ranks above zero.
    let mut shares = vec![0.0; total + 1];
    shares[0] = 1.0;
    let mut reached = 0;
    for rank in doubled {
        reached += rank;
        for sum in (0..=reached).rev() {
            let with = if sum >= rank { shares[sum - rank] } else { 0.0 };
            shares[sum] = f64::midpoint(shares[sum], with);
        }
    }
    let least = above.min(total - above);
    let tail: f64 = shares[..=least].iter().sum();
    Some((2.0 * tail).min(1.0))
}

/// The smallest p that these tests can give with `n` pairs: all differences on one side.
#[must_use]
pub fn smallest_p(n: usize) -> f64 {
    (2.0 * 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX))).min(1.0)
}
