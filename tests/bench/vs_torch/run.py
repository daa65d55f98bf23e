#!/usr/bin/env python3
"""xp against PyTorch on this machine: one command, one table.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch safetensors
    /tmp/venv/bin/python tests/bench/vs_torch/run.py [--sizes S,M,X,E] [--rounds 5] [--out FILE.json]
    ... run.py --device cuda --sizes R,E [--xp BINARY]     on a GPU, in bf16; BINARY is the built bench

Every round runs xp, PyTorch eager and torch.compile one after the other, each in a process of its own on
the same weights and tokens; the ratios are of steps in one round, so that a machine that drifts moves both
sides. The first losses must agree (to 1e-5, in bf16 to 1e-3), or it is no comparison.
"""
import argparse, json, os, platform, statistics, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STEPS = {"S": 20, "M": 6, "X": 3, "R": 20, "E": 1}
ap = argparse.ArgumentParser()
ap.add_argument("--sizes", default="S,M,X,E")
ap.add_argument("--rounds", type=int, default=5)
ap.add_argument("--threads", type=int, default=os.cpu_count())
ap.add_argument("--out")
ap.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
ap.add_argument("--xp", help="the built bench `step`; else it is built")
a = ap.parse_args()


def last_json(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def binary():
    build = ["cargo", "bench", "--no-run", "--bench", "step", "--message-format", "json"]
    lines = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found = [m["executable"] for m in map(json.loads, lines) if m.get("executable") and m["target"]["name"] == "step"]
    return found[-1]


def main():
    xp, rival = a.xp or binary(), Path(__file__).with_name("rival.py")
    rows, cuda = [], a.device == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        for size in a.sizes.split(","):
            weights = f"{folder}/{size}.safetensors"
            steps = str(STEPS[size])
            ours = [xp, "--json", "--steps", steps, "--threads", str(a.threads), "--weights", weights, size]
            theirs = [sys.executable, rival, "--size", size, "--steps", steps, "--threads", str(a.threads),
                      "--weights", weights]
            for command in (ours, theirs):
                command += ["--device", a.device] + (["--chunks", "10"] if cuda and size == "E" else [])
            sides = {"xp": ours, "eager": theirs}
            if size != "E":
                sides["compile"] = theirs + ["--compile"]
            runs = {name: [] for name in sides}
            rows.append(None)
            for _ in range(a.rounds):
                for name, command in sides.items():
                    runs[name].append(last_json(command))
                rows[-1] = summary(size, runs)
                # After every round: what a time limit ends has its first ones.
                if a.out:
                    about = {"processor": gpu() if cuda else processor(), "threads": a.threads, "rounds": a.rounds,
                             "torch": runs["eager"][0]["torch"], "sizes": rows}
                    Path(a.out).write_text(json.dumps(about, indent=1) + "\n")
            show(rows[-1])


def summary(size, runs):
    """One row of the table, of the rounds so far."""
    cuda = a.device == "cuda"
    losses = {name: found[0]["loss"] for name, found in runs.items()}
    if max(losses.values()) - min(losses.values()) > (1e-3 if cuda else 1e-5) * max(losses.values()):
        sys.exit(f"{size}: the first losses differ, so the models do: {losses}")
    row = {"size": size, "losses": losses}
    for name, found in runs.items():
        # An evaluation gives the longest sequence, then the four lengths together.
        medians = [run["seconds"][0] if size == "E" else statistics.median(run["seconds"]) for run in found]
        row[name] = {"seconds": statistics.median(medians), "rounds": medians,
                     "peak_mib": max(run["peak_mib"] for run in found)}
        if size == "E" and cuda:
            row[name]["four_lengths_s"] = statistics.median(run["seconds"][1] for run in found)
    for name in runs.keys() - {"xp"}:
        pairs = [t / o for t, o in zip(row[name]["rounds"], row["xp"]["rounds"])]
        row[name]["ratio"] = statistics.median(pairs)
        row[name]["ratio_spread"] = [min(pairs), max(pairs)]
        row[name]["memory_ratio"] = row[name]["peak_mib"] / row["xp"]["peak_mib"]
    return row


def gpu():
    ask = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(ask, capture_output=True, text=True).stdout.splitlines()[0]


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def show(row):
    xp = row["xp"]
    print(f"{row['size']}: xp {xp['seconds']:.4f} s, {xp['peak_mib']:.0f} MiB")
    for name in ("eager", "compile"):
        if name in row:
            other = row[name]
            low, high = other["ratio_spread"]
            print(f"   {name:8} {other['seconds']:.4f} s, {other['peak_mib']:.0f} MiB; "
                  f"time {other['ratio']:.2f} ({low:.2f} to {high:.2f}), memory {other['memory_ratio']:.2f}")
    sys.stdout.flush()


main()
