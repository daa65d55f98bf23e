#!/usr/bin/env python3
"""What scipy and statsmodels say of some samples, for src/stats.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install numpy scipy statsmodels
    /tmp/venv/bin/python tests/reference/stats.py

Writes stats.json beside this file; src/stats/tests.rs holds the functions to it, 1e-9 relative.
"""
import itertools, json
from pathlib import Path

import numpy as np, scipy, statsmodels
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

rng = np.random.default_rng(20261124)


def samples():
    """Pairs of equal length: perplexities of a baseline and a config under the same seeds."""
    yield [18.224, 19.138, 17.258], [16.847, 17.408, 17.716]
    for n in (2, 4, 5, 8, 10, 12, 20):
        seed = rng.normal(0, 1, n)
        yield list(18 + seed + rng.normal(0, .5, n)), list(17.6 + seed + rng.normal(0, .5, n))
    # Ties and a zero among the differences.
    yield [3., 5., 4., 8., 6., 7., 9., 2.], [2., 4., 5., 6., 4., 7., 6., 1.]


def flips(d):
    """Every assignment of signs, written out."""
    d = np.asarray(d)
    sums = np.array([np.dot(s, d) for s in itertools.product((1, -1), repeat=len(d))])
    return float(np.mean(np.abs(sums) >= abs(d.sum()) - 1e-12 * np.abs(d).sum()))


def signed_ranks(d):
    """Every assignment of signs to the ranks, written out (scipy has no exact p with ties)."""
    d = np.asarray(d)
    d = d[d != 0]
    ranks = stats.rankdata(np.abs(d))
    sums = np.array([np.dot(s, ranks) for s in itertools.product((0, 1), repeat=len(d))])
    observed = ranks[d > 0].sum()
    least = min(observed, ranks.sum() - observed)
    return float(min(1, 2 * np.mean(sums <= least + 1e-9)))


def pair(a, b):
    a, b = np.array(a), np.array(b)
    d = a - b
    paired = stats.ttest_rel(a, b)
    welch = stats.ttest_ind(a, b, equal_var=False)
    low, high = paired.confidence_interval(.95)
    wlow, whigh = CompareMeans(DescrStatsW(a), DescrStatsW(b)).tconfint_diff(usevar="unequal")
    above, nonzero = int((d > 0).sum()), int((d != 0).sum())
    ties = nonzero < len(d) or len(set(np.abs(d))) < len(d)
    out = {
        "a": a.tolist(), "b": b.tolist(),
        "paired": [paired.statistic, paired.pvalue, low, high],
        "welch": [welch.statistic, welch.df, welch.pvalue, wlow, whigh],
        "sign_test": stats.binomtest(above, nonzero).pvalue,
        "wilcoxon": signed_ranks(d) if ties or len(d) <= 12 else stats.wilcoxon(d, method="exact").pvalue,
        "dz": d.mean() / d.std(ddof=1),
        "beyond": [stats.ttest_1samp(d, m, alternative="greater").pvalue for m in (0., .1, -.3)],
        "below": stats.ttest_1samp(d, -.1, alternative="less").pvalue,
    }
    if len(d) <= 12:
        out["sign_flip"] = flips(d)
        if not ties:
            assert abs(out["wilcoxon"] - stats.wilcoxon(d, method="exact").pvalue) < 1e-12
        if len(d) > 2:
            test = stats.permutation_test((d,), np.sum, permutation_type="samples", n_resamples=np.inf)
            assert abs(test.pvalue - out["sign_flip"]) < 1e-12 or len(d) > 10, (test.pvalue, out["sign_flip"])
    return out


def bca(values, level):
    """scipy's interval, with the replicates that it drew, so that only the formula is compared."""
    values = np.array(values)
    result = stats.bootstrap((values,), np.mean, confidence_level=level, n_resamples=499, method="BCa",
                             rng=np.random.default_rng(3))
    replicates = result.bootstrap_distribution
    jackknife = [np.delete(values, i).mean() for i in range(len(values))]
    return {
        "observed": values.mean(), "replicates": replicates.tolist(), "jackknife": jackknife, "level": level,
        "interval": [result.confidence_interval.low, result.confidence_interval.high],
    }


def nested():
    """Unequal groups, and their variance components by the textbook's sums, in numpy."""
    runs = [[list(3 + s + r + rng.normal(0, .05, 6)) for r in rng.normal(0, .1, n)]
            for s, n in zip(rng.normal(0, .3, 5), (1, 2, 3, 1, 2))]
    means = [[np.mean(c) for c in attempts] for attempts in runs]
    flat = np.concatenate([np.array(m) for m in means])
    group = np.repeat(np.arange(len(means)), [len(m) for m in means])
    import statsmodels.api as sm, pandas as pd
    from statsmodels.formula.api import ols
    table = sm.stats.anova_lm(ols("y ~ C(g)", pd.DataFrame({"y": flat, "g": group})).fit())
    ms_between, ms_within = table["mean_sq"].iloc[0], table["mean_sq"].iloc[1]
    sizes = np.array([len(m) for m in means])
    n0 = (sizes.sum() - (sizes ** 2).sum() / sizes.sum()) / (len(sizes) - 1)
    chunk = np.mean([np.var(c, ddof=1) / len(c) for attempts in runs for c in attempts])
    return {"runs": runs, "seed": max(0, (ms_between - ms_within) / n0), "rerun": ms_within,
            "rerun_df": int(table["df"].iloc[1]), "chunk": chunk}


def rerun():
    """Differences of pairs of runs against a re-run std, by the distributions' own tails."""
    for n, std, df in ((1, .058, None), (6, .058, None), (4, .1, 7), (12, .05, 3)):
        d = rng.normal(0, .08, n)
        t = abs(d.mean() / (std * np.sqrt(2 / n)))
        ratio = (d ** 2).sum() / (2 * std ** 2)
        shift = 2 * (stats.norm.sf(t) if df is None else stats.t.sf(t, df))
        spread = stats.chi2.sf(ratio, n) if df is None else stats.f.sf(ratio / n, n, df)
        yield {"differences": d.tolist(), "std": std, "df": df, "shift": shift, "spread": spread}


def main():
    p = [.01, .04, .03, .005, .2, .04]
    golden = {
        "made_by": "tests/reference/stats.py",
        "versions": {m.__name__: m.__version__ for m in (np, scipy, statsmodels)},
        "pairs": [pair(a, b) for a, b in samples()],
        "holm": {"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()},
        "bca": [bca(rng.normal(0, 1, 12), .95), bca(rng.lognormal(0, 1, 25), .9)],
        "nested": nested(),
        "rerun": list(rerun()),
    }
    (Path(__file__).parent / "stats.json").write_text(json.dumps(golden, indent=None, default=float) + "\n")
    print(len(golden["pairs"]), "pairs")


main()
