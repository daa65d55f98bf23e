#!/usr/bin/env python3
"""The licences of the crates that a binary of xp contains, each text once: for release archives.

The crates are those that cargo links for one target (neither build scripts nor tests), their texts
the files that their authors ship. A crate that ships none is listed with the licence that it names.

usage: .ci/licences.py --target TRIPLE [--features LIST]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path


def linked(metadata):
    """Ids of the packages that are linked into xp: normal dependencies, transitively."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    seen, todo = set(), [metadata["resolve"]["root"]]
    while todo:
        package = todo.pop()
        if package in seen:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    return seen - {metadata["resolve"]["root"]}


def texts(folder):
    """The licence files of a crate."""
    names = ("licen", "copying", "copyright", "notice", "unlicense")
    return [
        path.read_text(encoding="utf-8", errors="replace").strip()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name.lower().startswith(names) and path.suffix != ".rs"
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--features", default="")
    args = parser.parse_args()
    command = ["cargo", "metadata", "--format-version=1", "--locked"]
    command += ["--filter-platform", args.target, "--features", args.features]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    metadata = json.loads(run.stdout)
    ids = linked(metadata)
    packages = [package for package in metadata["packages"] if package["id"] in ids]
    packages.sort(key=lambda package: (package["name"], package["version"]))

    print("xp contains these crates. The texts of their licences follow, each once.\n")
    by_text = {}
    for package in packages:
        label = f"{package['name']} {package['version']}"
        found = texts(Path(package["manifest_path"]).parent)
        remark = "" if found else "; its package holds no text"
        print(f"{label} ({package['license'] or package['license_file']}{remark})")
        for text in found:
            # The same words in other lines are the same text.
            _, labels = by_text.setdefault(" ".join(text.split()), (text, []))
            labels.append(label)
    for text, labels in by_text.values():
        print(f"\n{'-' * 78}\n{', '.join(labels)}:\n\n{text}")


if __name__ == "__main__":
    sys.exit(main())
