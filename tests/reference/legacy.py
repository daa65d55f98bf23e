#!/usr/bin/env python3
"""Frequencies of the legacy families, from their formulas restated in numpy, independent of xp.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install numpy
    /tmp/venv/bin/python tests/reference/legacy.py

Writes legacy.json beside this file; src/freq/tests holds xp to it, 1e-12 relative.
"""
import json, math
from pathlib import Path

import numpy as np

L = 2048


def sigma(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_1(k, K, steepness=8, midpoint=.5, omf=.2):
    s = sigma(steepness * (k / (K - 1) - midpoint))
    return np.exp((s - s[0]) * math.log(omf))


def sigmoid_2(k, K, theta, slope=None, center=None):
    slope, center = slope or 16.05 / (2 * K), .47 * K if center is None else center
    s = sigma(slope * (k - center))
    return 1 / theta ** ((s - s[0]) / (s[-1] - s[0]))


def sigmoid_3(k, K, theta, steepness, midpoint, omf, grid):
    t = k / K if grid == "std" else k / (K - 1)
    return omf * theta ** -sigma(steepness * (t - midpoint))


def sigmoid_4(k, K, length):
    return 1e-6 + (1 - 1e-6) * sigma(10 / length * (100 * k - length / 2))


def sigmoid_5(k, K, theta, alpha):
    return theta ** (-k / K) * (1 - alpha * sigma(4 * (k - K / 2) / K))


def anchored_poly_1(k, K, p, omf):
    return np.exp((k / (K - 1)) ** p * math.log(omf))


def anchored_poly_2(k, K, theta, p=2):
    return np.exp((k / (K - 1)) ** p * math.log(theta ** (-(K - 1) / K)))


def anchored_poly_3(k, K, alpha, beta, p):
    return (alpha * k + beta) ** -float(p)


def hybrid_1(k, K, theta, alpha):
    """Of geo(theta) and xp's anchored_poly(theta)."""
    poly = np.exp((k / (K - 1)) ** 3.9 * math.log(.3 * theta ** (-(K - 1) / K)))
    return alpha * theta ** (-k / K) + (1 - alpha) * poly


def hybrid_2(k, K, theta, p, omf, alpha):
    t = k / (K - 1)
    return omf * theta ** -((1 - alpha) * t + alpha * t ** p)


def hybrid_3(k, K, theta1, theta2):
    return np.where(k < K / 2, theta1 ** (-k / K), theta2 ** (-k / K))


def anchored_sigmoid_1(k, K, theta, anchor):
    return theta ** (-k / K) / (1 + (anchor - 1) * sigma(16.05 / (2 * K) * (k - .47 * K)))


def anchored_sigmoid_2(k, K, theta, anchor=20, slope=None, center=None):
    slope, center = slope or 16.05 / (2 * K), .47 * K if center is None else center
    return theta ** (-k / K) * (1 + (anchor - 1) * sigma(slope * (k - center)))


def anchored_sigmoid_3(k, K, theta, anchor):
    w = sigma(.5 * (k - 16))
    return (1 - w) * theta ** (-k / K) + w * (anchor * theta) ** (-k / K)


def anchored_sigmoid_4(k, K, theta, anchor, slope, center):
    return (theta * (1 + (anchor - 1) * sigma(slope / 100 * (k - center)))) ** (-k / K)


def anchored_hybrid_1(k, K, theta, factor, rigid=12):
    geo = theta ** (-k / K)
    if factor == 1:
        return geo
    tail = max(theta * factor ** 2, theta * 4) ** (-k / K)
    t = np.clip((k - rigid) / max(K - rigid - 1, 1), 0, 1)
    blend = min(.4, max(.08, .16 * math.log2(factor))) * (.5 - .5 * np.cos(math.pi * t))
    return np.where(k < rigid, geo, (1 - blend) * geo + blend * tail)


def phi(u, tau):
    return 1 - u if tau < 1e-8 else 1 - np.arcsinh((1 - u) * math.sinh(tau)) / tau


def evq_cosh_1(k, K, theta, tau):
    return (1 / theta) ** (1 - phi(k / (K - 1), tau))


def evq_cosh_2(k, K, theta, tau):
    return 1 / theta ** phi(k / (K - 1), tau)


def warped(k, geo, tau, r):
    u = (k - r) / max(len(k) - 1 - r, 1)
    tail = geo[-1] ** phi(u, tau) * geo[r] ** (1 - phi(u, tau))
    return np.where(k < r, geo, tail)


def evq_hybrid_1(k, K, theta, tau, r):
    u = (k + .5) / K
    if r == 0:
        return theta ** -(u if tau < 1e-8 else phi(u, tau))
    geo = theta ** -u
    return geo if r >= K else warped(k, geo, tau, r)


def evq_hybrid_2(k, K, theta, tau, r):
    geo = theta ** (-k / K)
    return geo if r >= K else warped(k, geo, tau, r)


def yarn_1(k, w, factor):
    K = len(k)
    start, end = int(.2 * K), int(.9 * K)
    if end <= start:
        end = min(K - 1, start + 1)
    ramp = np.clip((k - start) / max(1, end - start), 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return w / (factor ** ramp * (1 + .07 * math.log2(factor)) ** (.5 * ramp))


def yarn_2(k, w, factor, alpha=1, beta=32):
    period, low, high = 2 * math.pi / w, alpha * L, beta * L
    between = w / (1 + (period - low) / (high - low) * (factor - 1))
    return np.where(period > high, w / factor, np.where(period < low, w, between))


def yarn_3(k, w, factor):
    s = np.clip((2 * math.pi / w - L / 4) / (L - L / 4), 0, 1)
    return (1 - s) * w / factor + s * w


def yarn_4(k, w, factor):
    d = 2 * len(k)
    return w / factor ** (d / (d - 2))


def yarn_5(k, w, factor):
    return w / (1 + (factor - 1) * (k / len(k)) ** 2)


def yarn_6(k, w, factor, theta):
    """Of geo(theta)."""
    d = 2 * len(k)
    at = lambda turns: d * math.log(L / (turns * 2 * math.pi)) / (2 * math.log(theta))
    low, high = max(math.floor(at(32)), 0), min(math.ceil(at(1)), d - 1)
    return w / (1 + (factor - 1) * np.clip((k - low) / (high - low), 0, 1))


def dynamic_ntk_1(k, K, theta, seq_len):
    if seq_len <= L:
        return theta ** (-(k + .5) / K)
    return (theta * (seq_len / L) ** (2 * K / (2 * K - 2))) ** (-k / K)


def cases():
    """(expression, head_dim, seq_len, frequencies)"""
    for head_dim in (64, 32):
        K = head_dim // 2
        k = np.arange(K, dtype=np.float64)
        geo = lambda theta: float(theta) ** (-k / K)

        def one(expression, values, seq_len=None):
            assert values.shape == (K,) and np.isfinite(values).all(), expression
            return expression, head_dim, seq_len, [float(v) for v in values]

        yield one("legacy_sigmoid@1()", sigmoid_1(k, K))
        yield one("legacy_sigmoid@1(steepness=6, midpoint=0.4, omf=0.1)", sigmoid_1(k, K, 6, .4, .1))
        yield one("legacy_sigmoid@2(theta=500k)", sigmoid_2(k, K, 5e5))
        yield one("legacy_sigmoid@2(theta=10k, slope=0.3, center=7)", sigmoid_2(k, K, 1e4, .3, 7))
        for grid in ("std", "ends"):
            yield one(f"legacy_sigmoid@3(theta=100k, steepness=8, midpoint=0.5, omf=0.3, grid={grid})",
                      sigmoid_3(k, K, 1e5, 8, .5, .3, grid))
        for length in (8192, 16384):
            yield one(f"legacy_sigmoid@4(length={length})", sigmoid_4(k, K, length))
        for alpha in (.2, 1.):
            yield one(f"legacy_sigmoid@5(theta=500k, alpha={alpha})", sigmoid_5(k, K, 5e5, alpha))
        for p, omf in ((3.9, .2), (2., .3)):
            yield one(f"legacy_anchored_poly@1(p={p}, omf={omf})", anchored_poly_1(k, K, p, omf))
        yield one("legacy_anchored_poly@2(theta=500k)", anchored_poly_2(k, K, 5e5))
        yield one("legacy_anchored_poly@2(theta=10k, p=3)", anchored_poly_2(k, K, 1e4, 3))
        for a, b, p in ((1, 1, 2), (.5, 2, 3.5)):
            yield one(f"legacy_anchored_poly@3(alpha={a}, beta={b}, p={p})", anchored_poly_3(k, K, a, b, p))
        for alpha in (.15, .8):
            yield one(f"legacy_hybrid@1(geo(theta=100k), anchored_poly(theta=100k), alpha={alpha})",
                      hybrid_1(k, K, 1e5, alpha))
        for alpha in (.2, .5):
            yield one(f"legacy_hybrid@2(theta=500k, p=3.9, omf=0.3, alpha={alpha})",
                      hybrid_2(k, K, 5e5, 3.9, .3, alpha))
        for t1, t2 in ((1e4, 5e5), (1e4, 1e5)):
            yield one(f"legacy_hybrid@3(theta1={t1:.0f}, theta2={t2:.0f})", hybrid_3(k, K, t1, t2))
        for a in (2.5, 5.):
            yield one(f"legacy_anchored_sigmoid@1(theta=500k, anchor={a})", anchored_sigmoid_1(k, K, 5e5, a))
        yield one("legacy_anchored_sigmoid@2(theta=500k)", anchored_sigmoid_2(k, K, 5e5))
        yield one("legacy_anchored_sigmoid@2(theta=10k, anchor=3, slope=0.2, center=0.93*head_dim/2)",
                  anchored_sigmoid_2(k, K, 1e4, 3, .2, .93 * K))
        for a in (20., 1e5):
            yield one(f"legacy_anchored_sigmoid@3(theta=10k, anchor={a})", anchored_sigmoid_3(k, K, 1e4, a))
        for s, c in ((16.05, 15), (40, 8)):
            yield one(f"legacy_anchored_sigmoid@4(theta=10k, anchor=20, slope={s}, center={c})",
                      anchored_sigmoid_4(k, K, 1e4, 20, s, c))
        for f, r in ((2, 12), (16, 4), (1, 12)):
            yield one(f"legacy_anchored_hybrid@1(theta=500k, factor={f}, rigid={r})",
                      anchored_hybrid_1(k, K, 5e5, f, r))
        for tau in (1.414, 0.):
            yield one(f"legacy_evq_cosh@1(theta=500k, tau={tau})", evq_cosh_1(k, K, 5e5, tau))
            yield one(f"legacy_evq_cosh@2(theta=500k, tau={tau})", evq_cosh_2(k, K, 5e5, tau))
            for r in (0, 4, K - 1, K):
                yield one(f"legacy_evq_hybrid@1(theta=500k, tau={tau}, r={r})", evq_hybrid_1(k, K, 5e5, tau, r))
                yield one(f"legacy_evq_hybrid@2(theta=500k, tau={tau}, r={r})", evq_hybrid_2(k, K, 5e5, tau, r))
        for f in (8, 1.5):
            for version, scaled in enumerate((yarn_1, yarn_2, yarn_3, yarn_4, yarn_5), 1):
                yield one(f"legacy_yarn@{version}(geo(theta=500k), factor={f})", scaled(k, geo(5e5), f))
            yield one(f"legacy_yarn@6(geo(theta=500k), factor={f})", yarn_6(k, geo(5e5), f, 5e5))
        yield one("legacy_yarn@2(geo(theta=10k), factor=4, alpha=0.5, beta=4)", yarn_2(k, geo(1e4), 4, .5, 4))
        for seq_len in (2048, 16384):
            yield one("legacy_dynamic_ntk@1(theta=500k)", dynamic_ntk_1(k, K, 5e5, seq_len), seq_len)


def main():
    names = ("expr", "head_dim", "seq_len", "inv_freq")
    rows = [json.dumps(dict(zip(names, case))) for case in cases()]
    head = f'"made_by": "tests/reference/legacy.py", "numpy": "{np.__version__}", "train_len": {L}'
    text = "{" + head + ', "cases": [\n' + ",\n".join(rows) + "\n]}\n"
    (Path(__file__).parent / "legacy.json").write_text(text)
    print(len(rows), "cases")


if __name__ == "__main__":
    main()
