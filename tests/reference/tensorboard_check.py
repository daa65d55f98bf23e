"""Holds what the real TensorBoard reads of runs against their own files.

    python -m venv V && V/bin/pip install tensorboard
    V/bin/python tests/reference/tensorboard_check.py target/debug/xp

Trains a small experiment four ways: in one go; killed with SIGKILL three times and resumed, while
a TensorBoard that is open all along follows it; stopped by a signal and left so; diverged. Then it
compares every scalar that `EventAccumulator` (TensorBoard's own reader) and, where the package has
it, the web server with its fast loader give with train.jsonl and run.json. Exits 1 at the first
difference. No network but the loopback device.
"""

import json
import math
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.backend.event_processing import plugin_event_accumulator, plugin_event_multiplexer
from tensorboard.util import tensor_util

SPEC = """
[experiment]
name = "tb"
seeds = [1]
[model]
layers = 2
hidden_size = 64
heads = 2
intermediate_size = 128
vocab_size = 256
[data]
dataset = "synthetic:stories"
tokenizer = "bytes"
[data.train]
max_tokens = "1M"
[data.validation]
max_tokens = 20000
[schedule]
seq_len = 64
batch_size = 16
max_steps = 600
lr = {lr}
[output]
checkpoint_every_steps = 50
[eval]
lengths = [64, 128]
chunks = 4
transform = [{{ name = "pi4", freq = "pi({{trained}}, factor=4)" }}]
[[config]]
name = "geo"
freq = "geo(theta=10k)"
"""
TRAIN = {"train/loss": "loss", "train/lr": "lr", "train/grad_norm": "grad_norm"}


def f32(value):
    """A float as an event file holds it; null in the log is a number that is not finite."""
    return math.nan if value is None else struct.unpack("f", struct.pack("f", value))[0]


def same(a, b):
    return a == b or (not math.isfinite(a) and math.isnan(b))


def check(ok, *words):
    if not ok:
        sys.exit(" ".join(str(word) for word in ("DIFFERENT:", *words)))


def expected(run):
    """Every scalar that the run's own files hold: tag -> [(step, value)]."""
    lines = (run / "train.jsonl").read_bytes().split(b"\n")[:-1]
    steps = [json.loads(line) for line in lines]
    wanted = {tag: [(s["step"], f32(s[key])) for s in steps] for tag, key in TRAIN.items()}
    if (run / "run.json").exists():
        record = json.loads((run / "run.json").read_text())
        last = record["train"]["steps"] - 1
        groups = [("", record["eval"])]
        groups += [("[pi4]", results) for results in record.get("transforms", {}).values()]
        for under, results in groups:
            for length, result in results.items():
                for key in ("ppl", "nll"):
                    wanted[f"eval/{key}@{length}{under}"] = [(last, f32(result[key]))]
    return wanted


def compare(name, wanted, got, speeds):
    """Every wanted scalar is there, in order, and nothing else but speeds of steps."""
    check(set(got) - {"train/tokens_per_s"} == set(wanted), name, sorted(got), sorted(wanted))
    count = 0
    for tag, points in wanted.items():
        check(len(points) == len(got[tag]), name, tag, len(points), "in the files,", len(got[tag]))
        for (step, value), (found_step, found) in zip(points, got[tag]):
            check(step == found_step and same(found, value), name, tag, step, value, found_step, found)
            count += 1
    if speeds:
        steps = [step for step, _ in got["train/tokens_per_s"]]
        check(steps == sorted(set(steps)) and min(v for _, v in got["train/tokens_per_s"]) > 0, name)
    return count


def value_of(event):
    return float(tensor_util.make_ndarray(event.tensor_proto))


def by_page(folder):
    """As the web page reads: scalars become tensors on the way in."""
    accumulator = plugin_event_accumulator.EventAccumulator(
        str(folder), size_guidance={event_accumulator.TENSORS: 0}, tensor_size_guidance={"scalars": 0})
    accumulator.Reload()
    return {tag: [(e.step, value_of(e)) for e in accumulator.Tensors(tag)]
            for tag in accumulator.Tags()["tensors"]}


def by_scripts(folder):
    """As scripts read."""
    accumulator = event_accumulator.EventAccumulator(
        str(folder), size_guidance={event_accumulator.SCALARS: 0})
    accumulator.Reload()
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)]
            for tag in accumulator.Tags()["scalars"]}


def start(xp, spec, folder):
    command = [xp, "run", str(spec), "--results", str(folder / "results"), "--device", "cpu", "-q"]
    environment = {**os.environ, "XP_CACHE": str(folder.parent / "cache")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def lines_of(run):
    log = run / "train.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def stop_at(process, run, lines, number):
    while process.poll() is None and lines_of(run) < lines:
        time.sleep(0.002)
    check(process.poll() is None, "the run ended before it could be stopped at", lines)
    process.send_signal(number)
    return process.wait()


def with_server(root, wanted):
    """What the web server gives, which reads with another program where the package has it."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root), "--port", "0",
               "--samples_per_plugin", "scalars=100000", "--reload_interval", "1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_PROXY": "*"})
    try:
        port = None
        for line in server.stderr:
            if " at http" in line:
                port = line.split(":")[2].split("/")[0]
                break
        check(port, "the server did not start")
        base = f"http://127.0.0.1:{port}/data/plugin/scalars"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        get = lambda path: opener.open(base + path, timeout=20).read().decode()
        count = 0
        for run, scalars in wanted.items():
            for tag, points in scalars.items():
                query = urllib.parse.urlencode({"run": run, "tag": tag})
                for _ in range(40):
                    try:
                        found = json.loads(get(f"/scalars?{query}"))
                    except urllib.error.HTTPError:
                        found = []
                    if len(found) == len(points):
                        break
                    time.sleep(0.5)
                check(len(found) == len(points), "server:", run, tag, len(found), len(points))
                for (step, value), (_, found_step, found_value) in zip(points, found):
                    check(step == found_step and same(float(found_value), value), "server:", run, tag, step)
                    count += 1
        return count
    finally:
        server.terminate()
        server.wait()


def main():
    xp = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folders = {}
        for case in ("whole", "killed", "interrupted", "diverged"):
            folder = root / case
            folder.mkdir()
            lr = "1e6\ngrad_clip = 1e30\nweight_decay = 1000\nwarmup_frac = 0" if case == "diverged" else "3e-3"
            (folder / "spec.toml").write_text(SPEC.format(lr=lr))
            folders[case] = folder
        run_of = lambda case: folders[case] / "results/tb/geo/seed-1"
        spec_of = lambda case: folders[case] / "spec.toml"

        check(start(xp, spec_of("whole"), folders["whole"]).wait() == 0, "the run in one go failed")

        # A reader that is open all along, as a web page is.
        live = plugin_event_multiplexer.EventMultiplexer(size_guidance={
            event_accumulator.TENSORS: 0}, tensor_size_guidance={"scalars": 0})
        torn = 0
        for lines in (90, 210, 330):
            stop_at(start(xp, spec_of("killed"), folders["killed"]), run_of("killed"), lines, signal.SIGKILL)
            event_file = sorted((run_of("killed") / "tb").iterdir())[-1]
            # What a kill in the middle of a record leaves: the write of a whole buffer hides it.
            text = event_file.read_bytes()
            event_file.write_bytes(text[:-17])
            torn += 1
            live.AddRunsFromDirectory(str(run_of("killed")))
            live.Reload()
        process = start(xp, spec_of("killed"), folders["killed"])
        while process.poll() is None:
            live.Reload()
            time.sleep(0.2)
        check(process.returncode == 0, "the resumed run failed")
        for _ in range(3):
            live.Reload()
        attempts = json.loads((run_of("killed") / "provenance.json").read_text())["attempts"]
        check((run_of("killed") / "run.json").read_bytes() == (run_of("whole") / "run.json").read_bytes(), "run.json")

        code = stop_at(start(xp, spec_of("interrupted"), folders["interrupted"]), run_of("interrupted"), 120,
                       signal.SIGTERM)
        check(code == 75, "a signal ends with", code)
        check(start(xp, spec_of("diverged"), folders["diverged"]).wait() == 1, "the hot run did not diverge")

        wanted = {}
        for case in folders:
            run = run_of(case)
            files = [path for path in (run / "tb").iterdir() if path.stat().st_size]
            check(len(files) == 1, case, "has", len(files), "event files")
            first = next(iter(event_file_loader.EventFileLoader(str(files[0])).Load()))
            check(first.file_version == "brain.Event:2", first.file_version)
            want = expected(run)
            count = sum(compare(case, want, read(run / "tb"), speeds=True) for read in (by_page, by_scripts))
            wanted[str((run / "tb").relative_to(root))] = want
            print(f"{case}: {len(want['train/loss'])} steps, {len(want)} tags, {count} scalars by two readers: the same")
        print(f"killed {torn} times, attempts from steps {[a['from_step'] for a in attempts]}")

        [run] = [run for run in live.Runs() if live.Runs()[run]["tensors"]]
        found = {tag: [(e.step, value_of(e)) for e in live.Tensors(run, tag)] for tag in live.Runs()[run]["tensors"]}
        count = compare("followed live", expected(run_of("killed")), found, speeds=True)
        print(f"followed live through the kills: {count} scalars: the same")
        print(f"web server: {with_server(root, wanted)} scalars: the same")


if __name__ == "__main__":
    main()
