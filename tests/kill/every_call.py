#!/usr/bin/env python3
"""Kills xp at every call that changes a file, one after the other, and lets it go on: what lies there in the end
must be what lies there without a kill, with nothing left over. And takes from xp what file systems may lack.

strace counts the calls and kills (SIGKILL) at the n-th of a thread, or lets them fail. Without strace, or where it may not trace,
the test says so and is skipped.

usage: tests/kill/every_call.py XP
"""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SPEC = """
[experiment]
name = "killed"
seeds = [1]
[model]
layers = 1
hidden_size = 32
heads = 1
intermediate_size = 64
vocab_size = 256
[data]
dataset = "synthetic:stories"
tokenizer = "bytes"
[data.train]
max_tokens = 20_000
[data.validation]
max_tokens = 5_000
[schedule]
seq_len = 32
batch_size = 4
lr = 1e-3
max_steps = 9
[eval]
lengths = [32, 64]
chunks = 3
transform = "scale({trained}, c=0.5)"
[output]
checkpoint_every_steps = 3
[[config]]
name = "a"
freq = "geo(theta=10k)"
[[config]]
name = "b"
freq = "geo(theta=20k)"
"""
# Those with a question mark are not on every architecture.
CALLS = ["write", "?rename,?renameat,?renameat2", "?unlink,unlinkat", "fsync", "?mkdir,mkdirat", "?link,linkat"]


def files(root):
    """Hashes of what must be the same; names of what must be there. Reports and provenance have dates."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_dir() or "/report/" in name or path.name in (".lock", ".guard"):
            continue
        if "/tb/" in name:
            found[str(Path(name).parent)] = "events"
        elif path.name in ("provenance.json", "lock.json"):
            found[name] = "dated"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def killed(command, calls, n):
    """Whether `command` was killed at the n-th of these calls."""
    trace = ["strace", "-f", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={n}"]
    code = subprocess.run(trace + command, capture_output=True).returncode
    return code in (-9, 137)


def begun(part, base):
    """The folder that a command begins with: none, or a copy of `base`."""
    if base:
        shutil.copytree(base, part)
    return part


def kills(command, calls, part, expected, base):
    """How often `command` was killed at these calls, each time with the expected files in the end."""
    n = 1
    while killed(command(begun(part, base)), calls, n):
        again = subprocess.run(command(part), capture_output=True, text=True)
        if again.returncode != 0:
            raise SystemExit(f"killed at {calls} {n} it does not go on ({again.returncode}): {again.stderr}")
        found = files(part)
        if found != expected:
            names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
            raise SystemExit(f"killed at {calls} {n} it leaves other files: {', '.join(names)}")
        shutil.rmtree(part)
        n += 1
    return n - 1


def every_call(what, command, folder, least, base=None):
    whole = begun(folder / "whole", base)
    subprocess.run(command(whole), check=True, capture_output=True)
    expected = files(whole)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(kills, command, calls, folder / calls, expected, base) for calls in CALLS]
        try:
            count = sum(job.result() for job in jobs)
        except SystemExit as failure:
            sys.exit(f"{what}: {failure}")
    if count < least:
        sys.exit(f"{what} was killed {count} times only")
    print(f"{what}: the same files after each of {count} kills")


def lacking(command, folder):
    """What file systems may lack: `command` goes without it, or says what is lacking."""
    subprocess.run(command(folder / "whole"), check=True, capture_output=True)
    expected = files(folder / "whole")
    for calls, error, part, code, told in [
        ("?link,linkat", "EPERM", None, 0, ""),
        ("fsync", "EINVAL", "killed/a/seed-1", 0, ""),  # of a folder alone
        ("fsync", "EIO", "killed/a/seed-1", 3, "cannot sync folder"),
        ("flock", "ENOLCK", None, 3, "its file system has no locks"),
    ]:
        to = folder / error
        trace = ["strace", "-f", "-o", str(folder / "log"), "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"]
        traced = trace + (["-P", str(to / part)] if part else []) + command(to)
        done = subprocess.run(traced, capture_output=True, text=True)
        if "INJECTED" not in (folder / "log").read_text():
            sys.exit(f"{calls} was never called")
        if done.returncode != code or told not in done.stderr:
            sys.exit(f"{calls} with {error}: {done.returncode}, {done.stderr}")
        if code == 0 and files(to) != expected:
            sys.exit(f"{calls} with {error}: other files")
    print("file systems without links, synced folders or locks: as it should be")


def main():
    xp = str(Path(sys.argv[1]).resolve())
    try:
        traced = killed(["sh", "-c", "echo > /dev/null"], "write", 1)
    except FileNotFoundError:
        traced = False
    if not traced:
        print("skipped: strace is not installed, or may not trace here")
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        os.chdir(folder)  # no repository, whose lock a killed git would leave
        (folder / "spec.toml").write_text(SPEC)
        os.environ["XP_CACHE"] = str(folder / "cache")
        run = [xp, "run", str(folder / "spec.toml"), "--quiet"]
        every_call("xp run", lambda to: [*run, "--results", str(to)], folder / "run", 60)
        lacking(lambda to: [*run, "--results", str(to)], folder / "lacking")
        # Trained again for a further length: without its weights, whose log must stay.
        without = SPEC.replace("[output]", "[output]\nkeep_weights = false")
        (folder / "without.toml").write_text(without)
        (folder / "further.toml").write_text(without.replace("[32, 64]", "[32, 64, 96]"))
        base = folder / "without"
        to_base = [xp, "run", str(folder / "without.toml"), "--quiet", "--results", str(base)]
        subprocess.run(to_base, check=True, capture_output=True)
        further = [xp, "run", str(folder / "further.toml"), "--quiet", "--results"]
        every_call("xp run of a further length", lambda to: [*further, str(to)], folder / "further", 60, base)
        for shard in "12":
            part = [*run, "--results", str(folder / shard), "--shard", f"{shard}/2"]
            subprocess.run(part, check=True, capture_output=True)
        merge = [xp, "merge", str(folder / "1"), str(folder / "2"), "--quiet"]
        every_call("xp merge", lambda to: [*merge, "--results", str(to)], folder / "merge", 60)


main()
