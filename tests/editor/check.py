#!/usr/bin/env python3
"""What an editor makes of a spec: taplo, by way of the line `#:schema`, offline.

Checking (`taplo lint`)
  - every valid spec passes;
  - of every sample in tests/specs/invalid, taplo finds the mistakes that a schema can find, and no
    other. The snapshot beside a sample says which key on which line;
  - every key of the schema is given a value of a wrong type, every table a key that it lacks.
  A message names the key: in its text, or in the line that it prints and points at. None says
  "not valid under any of the schemas".
Completion (the language server, as an editor asks it, in a file that is not saved)
  - every table offers its keys with their descriptions, every key that has words its words;
  - the pointer on a key shows what the key is for;
  - what is wrong in the buffer is marked there.

usage: tests/editor/check.py [FOLDER]      FOLDER of install.sh; without it install.sh is asked
"""

import json
import queue
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCHEMA = ROOT / "schema/experiment.schema.json"
DIRECTIVE = "#:schema ../schema/experiment.schema.json\n"

# What a schema can judge of the findings of `xp check`.
STRUCTURAL = {
    "spec::bad-endpoint",
    "spec::bad-name",
    "spec::bad-pattern",
    "spec::duplicate-value",
    "spec::missing-key",
    "spec::out-of-range",
    "spec::unknown-key",
    "spec::unknown-value",
    "spec::wrong-length",
    "spec::wrong-type",
}
# Samples of these codes that need more than the file itself, and why.
BEYOND = {
    "spec-bad-name-swept-transform": "how the points of a sweep are called",
    "spec-missing-key": "whether a spec is complete shows after `extends`",
    "spec-missing-key-tokens": "which keys generated text needs",
}


class Failed(Exception):
    """What an editor should have shown and does not."""


def ensure(condition, message):
    if not condition:
        raise Failed(message)


# --- checking ---------------------------------------------------------------------------------


def lint(taplo, files, *options, cwd=ROOT):
    """Runs taplo; gives its findings as (file, line, column, text) and the exit status."""
    command = [taplo, "lint", "--colors", "never", *options, *files]
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    ensure("panicked" not in run.stderr, run.stderr)
    found = []
    for text, file, line, column in re.findall(
        r"^error: (.*)\n +┌─ (.*):(\d+):(\d+)$", run.stderr, re.MULTILINE
    ):
        found.append((Path(file).resolve(), int(line), int(column), text))
    return found, run.returncode


def names(finding, key, line):
    """Whether the text of a finding has the key, or the line of the key is what it points at."""
    file, at, _, text = finding
    if re.search(rf"['\"`]{re.escape(key)}['\"`]", text):
        return True
    source = file.read_text().splitlines()[at - 1]
    return at == line and re.search(rf"\b{re.escape(key)}\s*[=\]]", source) is not None


def plain(findings):
    for _, _, _, text in findings:
        ensure("any of the schemas" not in text, f"a message that names nothing: {text}")
        ensure("oneOf" not in text and "anyOf" not in text, f"a message about the schema: {text}")


def valid_specs():
    found = [
        path
        for folder in ("specs", "specs/protocols", "tests/specs/valid")
        for path in sorted((ROOT / folder).glob("*.toml"))
    ]
    ensure(len(found) > 10, "no specs")
    return found


def check_valid(taplo):
    specs = valid_specs()
    found, status = lint(taplo, specs, "--no-auto-config")
    ensure(not found and status == 0, f"valid specs are refused: {found}")
    return f"{len(specs)} valid specs pass"


def expected(sample):
    """What a schema can find of what `xp check` finds, from the snapshot: (code, key, line)."""
    found = []
    lines = sample.with_suffix(".snap").read_text().splitlines()
    for first, second in zip(lines, lines[1:]):
        head = re.match(r"error\[([^]]+)\]: (.*)", first)
        if not head:
            continue
        code, message = head.groups()
        place = re.match(r" +--> (.*):(\d+):(\d+)$", second)
        if code not in STRUCTURAL or not place or Path(place[1]).name != sample.name:
            continue
        line = int(place[2])
        quoted = re.findall(r"`([^`]+)`", message)
        if quoted and "synthetic:" not in message:
            # The path of the key; what is missing stands last.
            key = quoted[-1 if code == "spec::missing-key" else 0].rsplit(".", 1)[-1]
        else:
            before = sample.read_text().splitlines()[line - 1][: int(place[3])]
            key = re.findall(r"\b(\w+)\s*=", before)[-1]
        found.append((code, key, line))
    return found


def check_invalid(taplo):
    samples = sorted((ROOT / "tests/specs/invalid").glob("*.toml"))
    ensure(len(samples) > 50, "no samples")
    findings, _ = lint(taplo, samples, "--no-auto-config")
    plain(findings)
    # What is no TOML has no keys: that is refused, wherever its end is found.
    broken = {finding[0] for finding in findings if finding[3] == "invalid TOML"}
    ensure({file.stem for file in broken} == {"spec-syntax"}, f"not TOML: {broken}")
    findings = [finding for finding in findings if finding[0] not in broken]
    mistakes = 0
    for sample in samples:
        ours = [] if sample.stem in BEYOND else expected(sample)
        theirs = [finding for finding in findings if finding[0] == sample]
        for code, key, line in ours:
            ensure(
                any(names(finding, key, line) for finding in theirs),
                f"{sample.name}: no message names `{key}` of line {line} ({code}): {theirs}",
            )
        for finding in theirs:
            ensure(
                any(names(finding, key, line) for _, key, line in ours)
                or any(other[3] == finding[3] and other != finding for other in theirs),
                f"{sample.name}: xp finds nothing like {finding}",
            )
        ensure(bool(ours) == bool(theirs), f"{sample.name}: {theirs}")
        mistakes += len(ours)
    refused = len({finding[0] for finding in findings} | broken)
    return f"{refused} of {len(samples)} invalid samples are refused, {mistakes} mistakes named"


# --- the schema as an editor reads it ---------------------------------------------------------


class Schema:
    def __init__(self):
        self.root = json.loads(SCHEMA.read_text())

    def resolve(self, node):
        """What a key's schema says, its own words before those of the type it refers to."""
        target = node
        while "$ref" in target:
            target = self.root
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
        return {**target, **node}

    def tables(self):
        """Every table: its header in a spec, and its keys with their schemas."""

        def below(header, node):
            keys = {key: self.resolve(value) for key, value in node["properties"].items()}
            yield header, keys
            for key, value in keys.items():
                path = f"{header.strip('[]')}.{key}".lstrip(".")
                if value.get("type") == "object" and "properties" in value:
                    # A table of a [[config]] is one of the last config.
                    above = "[[config]]\n" if path.startswith("config.") else ""
                    yield from below(f"{above}[{path}]", value)
                elif value.get("type") == "array" and "properties" in self.resolve(value["items"]):
                    yield from below(f"[[{path}]]", self.resolve(value["items"]))

        yield from below("", self.root)


def wrong(schema):
    """A value of a type that the key does not take."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return next(
        text
        for kind, text in [("boolean", "true"), ("array", "[true]"), ("integer", "7")]
        if kind not in types
    )


def check_every_key(taplo, schema):
    mistakes = []
    for header, keys in schema.tables():
        mistakes.append((header, "no_such_key", "no_such_key = 1"))
        mistakes += [(header, key, f"{key} = {wrong(value)}") for key, value in keys.items()]
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, (header, key, text) in enumerate(mistakes):
            file = Path(folder).resolve() / f"{number:03}.toml"
            body = f"{header}\n{text}\n"
            file.write_text(body)
            files[file] = (key, body.splitlines().index(text) + 1, text)
        findings, _ = lint(taplo, files, "--no-auto-config", "--schema", SCHEMA.as_uri())
    plain(findings)
    for file, (key, line, text) in files.items():
        named = any(
            finding[0] == file and (f"'{key}'" in finding[3] or finding[1] == line)
            for finding in findings
        )
        ensure(named, f"no message for `{text}` in {file.name}")
    return f"{len(files)} wrong keys and values, one for every key of the schema, are refused"


def check_config(taplo):
    """`.taplo.toml`: a spec without the line `#:schema` is held to the schema too."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        for name in (".taplo.toml", "schema/experiment.schema.json"):
            (copy / name).parent.mkdir(exist_ok=True)
            (copy / name).write_text((ROOT / name).read_text())
        (copy / "specs/mine").mkdir(parents=True)
        bare = copy / "specs/mine/bare.toml"
        bare.write_text("[model]\nhaed_dim = 16\n")
        found, status = lint(taplo, [bare], cwd=copy)
        ensure(status != 0 and any("'haed_dim'" in f[3] for f in found), f".taplo.toml: {found}")
    return "a spec under specs/ is checked without a schema line too"


# --- the language server ----------------------------------------------------------------------


class Server:
    """The language server and an editor's side of the protocol."""

    def __init__(self, folder):
        command = ["node", str(HERE / "server.cjs"), str(folder)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.messages = queue.Queue()
        self.log = []
        self.last_id = 0
        self.last_file = 0
        threading.Thread(target=self.listen, daemon=True).start()
        threading.Thread(
            target=lambda: self.log.extend(self.process.stderr), daemon=True
        ).start()
        workspace = {"uri": ROOT.as_uri(), "name": "xp"}
        self.ask(
            "initialize",
            processId=None,
            rootUri=ROOT.as_uri(),
            workspaceFolders=[workspace],
            initializationOptions={},
            capabilities={
                "workspace": {"configuration": True, "workspaceFolders": True},
                "textDocument": {"hover": {"contentFormat": ["markdown"]}},
            },
        )
        self.send({"method": "initialized", "params": {}})

    def listen(self):
        out = self.process.stdout
        while True:
            header = out.readline()
            if not header:
                break
            out.readline()
            self.messages.put(json.loads(out.read(int(header.split(b":")[1]))))
        self.messages.put(None)

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()

    def wait(self, wanted):
        while True:
            try:
                message = self.messages.get(timeout=30)
            except queue.Empty:
                message = None
            if message is None:
                raise Failed(f"the server does not answer: {b''.join(self.log[-20:]).decode()}")
            if message.get("method") == "workspace/configuration":
                # No catalogue: the server would fetch one.
                settings = {"schema": {"enabled": True, "catalogs": []}}
                answer = [settings for _ in message["params"]["items"]]
                self.send({"id": message["id"], "result": answer})
            if wanted(message):
                return message

    def ask(self, method, **params):
        self.last_id += 1
        self.send({"id": self.last_id, "method": method, "params": params})
        answer = self.wait(lambda m: m.get("id") == self.last_id and "method" not in m)
        ensure("error" not in answer, f"{method}: {answer}")
        return answer["result"]

    def open(self, text, folder="specs"):
        """A new file that is nowhere on disk."""
        self.last_file += 1
        uri = (ROOT / folder / f"unsaved-{self.last_file}.toml").as_uri()
        document = {"uri": uri, "languageId": "toml", "version": 1, "text": text}
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        return uri

    def at(self, method, text):
        """Asks at the mark `|` of a text."""
        before = text[: text.index("|")]
        position = {"line": before.count("\n"), "character": len(before.rsplit("\n", 1)[-1])}
        uri = self.open(text.replace("|", "", 1))
        return self.ask(f"textDocument/{method}", textDocument={"uri": uri}, position=position)

    def complete(self, text):
        """What is offered at the mark: words with their descriptions."""
        offered = self.at("completion", text) or []
        return {item["label"]: item.get("documentation", {}).get("value", "") for item in offered}

    def hover(self, text):
        """What the pointer at the mark shows."""
        shown = self.at("hover", text)
        return shown["contents"]["value"] if shown else ""

    def marks(self, text, folder="specs"):
        """What is marked as wrong: the marked text, its line and the message."""
        uri = self.open(text, folder)
        message = self.wait(
            lambda m: m.get("method") == "textDocument/publishDiagnostics"
            and m["params"]["uri"] == uri
            and m["params"]["diagnostics"]
        )
        lines = text.splitlines()
        found = []
        for mark in message["params"]["diagnostics"]:
            start, end = mark["range"]["start"], mark["range"]["end"]
            line = lines[start["line"]] if start["line"] < len(lines) else ""
            last = end["character"] if end["line"] == start["line"] else None
            found.append((line[start["character"] : last], start["line"] + 1, mark["message"]))
        return found


def check_completion(server, schema):
    num_keys = num_words = 0
    for header, keys in schema.tables():
        if header.startswith("[[config]]\n"):
            continue  # this version's server ends there; `sweep.grid` is offered in [[config]]
        offered = server.complete(f"{DIRECTIVE}{header}\n|\n")
        for key, value in keys.items():
            ensure(key in offered, f"{header or 'a spec'} does not offer `{key}`: {list(offered)}")
            words = value["description"]
            ensure(offered[key] == words, f"{header} {key}: {offered[key]!r} instead of {words!r}")
            # In an array of tables the server knows values, but not keys, by the pointer.
            at = f'{key} = "|x"' if header.startswith("[[") else f"|{key} = 1"
            shown = server.hover(f"{DIRECTIVE}{header}\n{at}\n")
            ensure(shown == words, f"the pointer on {header} {key}: {shown!r}, not {words!r}")
            num_keys += 1
            if "enum" not in value:
                continue
            offered_words = server.complete(f'{DIRECTIVE}{header}\n{key} = "|"\n')
            wanted = [json.dumps(word) for word in value["enum"]]
            ensure(list(offered_words) == wanted, f"{header} {key}: {offered_words}")
            for word in wanted:
                what = offered_words[word]
                shown = server.hover(f'{DIRECTIVE}{header}\n{key} = "|{word[1:]}\n')
                explained = what not in ("", words) and shown == what
                ensure(explained, f"{header} {key} = {word}: {what!r}, {shown!r}")
                num_words += 1
    return f"{num_keys} keys and {num_words} words for values are offered and explained"


def check_by_name(server):
    """A few by name, so that a schema that lost something does not pass by agreeing with itself."""
    offered = server.complete(f"{DIRECTIVE}[model]\nlay|\n")
    ensure(offered.get("layers") == "Transformer blocks.", f"[model] lay: {offered}")
    offered = server.complete(f"{DIRECTIVE}[model]\nlayers = 2\n|\n")
    ensure("heads" in offered and "layers" not in offered, f"[model] has layers: {offered}")
    for header, keys in {
        "[|]": ["model", "data.train", "schedule", "report.win", "sweep.grid"],
        "[[|]]": ["config"],
        "[schedule]\n|": ["lr", "decay", "warmup_frac", "precision"],
        "[report.win]\n|": ["rule", "max_std_over_gap", "min_seeds_better", "guard"],
        "[[config]]\n|": ["name", "freq", "freq.local", "sweep.grid"],
        "[data]\ntokenizer = { | }": ["train_bpe"],
    }.items():
        offered = server.complete(f"{DIRECTIVE}{header}\n")
        ensure(set(keys) <= set(offered), f"{header}: {list(offered)}")
    offered = server.complete(f'{DIRECTIVE}[schedule]\ndecay = "|"\n')
    ensure(list(offered) == ['"cosine"', '"linear"', '"constant"'], f"decay: {offered}")
    shown = server.hover(f"{DIRECTIVE}[schedule]\n|decay = 'cosine'\n")
    ensure('Default: "cosine".' in shown, f"the pointer on decay: {shown}")
    shown = server.hover(f"{DIRECTIVE}[schedule]\ndecay = '|cosine'\n")
    ensure("cosine" in shown and "Default" not in shown, f"the pointer on a word: {shown}")
    offered = server.complete("[schedule]\n|\n")
    ensure("lr" in offered, f"without a schema line, by .taplo.toml: {list(offered)}")
    return "keys, tables and words that this test names are offered"


def check_marks(server):
    """The same mistakes as marks in an editor: on the key, or with its name."""
    mistakes = 0
    for sample in sorted((ROOT / "tests/specs/invalid").glob("*.toml")):
        ours = [] if sample.stem in BEYOND else expected(sample)
        if not ours:
            continue
        marks = server.marks(sample.read_text(), "tests/specs/invalid")
        for code, key, line in ours:
            named = any(
                marked == key or f"'{key}'" in text or f'"{key}"' in text or at == line
                for marked, at, text in marks
            )
            ensure(named, f"{sample.name}: no mark for `{key}` in line {line} ({code}): {marks}")
            mistakes += 1
    for spec in valid_specs():
        lines = spec.read_text().splitlines()
        lines.insert(1, "no_such_key = 1")
        marks = server.marks("\n".join(lines), spec.parent.relative_to(ROOT))
        named = [text for _, _, text in marks if "'no_such_key'" in text]
        ensure(named and len(marks) == len(named), f"{spec.name} with an unknown key: {marks}")
    return f"{mistakes} mistakes of the samples are marked, and one put into each valid spec"


def main():
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
    else:
        install = subprocess.run(
            [HERE / "install.sh"], stdout=subprocess.PIPE, text=True, check=False
        )
        if install.returncode != 0:
            print("skipped: taplo could not be fetched (tests/editor/install.sh)")
            return 0
        folder = Path(install.stdout.strip())
    taplo = folder / "cli/bin/taplo"
    schema = Schema()
    steps = [
        lambda: check_valid(taplo),
        lambda: check_invalid(taplo),
        lambda: check_every_key(taplo, schema),
        lambda: check_config(taplo),
    ]
    server = None
    if (folder / "server").is_dir():
        server = Server(folder / "server")
        steps += [
            lambda: check_by_name(server),
            lambda: check_completion(server, schema),
            lambda: check_marks(server),
        ]
    else:
        print("skipped: completion (taplo's language server needs node and npm)")
    failed = False
    for step in steps:
        try:
            print(f"ok: {step()}", flush=True)
        except (Failed, OSError) as problem:
            failed = True
            print(f"FAILED: {problem}", flush=True)
    if server:
        server.process.kill()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
