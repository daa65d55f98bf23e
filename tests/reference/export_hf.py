#!/usr/bin/env python3
"""What transformers and the gguf package make of `xp freq --export`.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy transformers==5.23.0 gguf
    cargo build && /tmp/venv/bin/python tests/reference/export_hf.py target/debug/xp

For each set: a model of the type is built from the exported keys, saved, loaded and run past its
original length; the frequencies it then has are compared with the set bit for bit, and with what
xp said of them. Writes export_hf.json beside this file: the bits that the library computed, which
tests/export.rs holds xp's prediction against. Fails if anything differs from what xp says.
"""
import io, json, re, subprocess, sys, tempfile
from pathlib import Path

import gguf, numpy as np, torch, transformers
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).parent
XP = sys.argv[1]
HYBRID = "mix(geo(theta=100k), anchored_poly(theta=100k, p=3.9, omf=0.3), alpha=0.2)"
LLAMA, PARTIAL_TYPES = "llama", ["gpt_neox", "phi", "stablelm", "persimmon"]

# expression, head_dim, train_len, target_len, model type; each as it is, and put through the
# reciprocal, which makes it bit-exact.
SETS = [
    ("geo(theta=500k)", 64, 2048, None, LLAMA),
    ("geo(theta=10k)", 96, 2048, None, LLAMA),
    ("geo(theta=10k)", 64, 2048, None, "gpt_neox"),
    ("geo(theta=500k, grid=mid)", 64, 2048, None, LLAMA),
    (HYBRID, 64, 2048, 16384, LLAMA),
    ("sigmoid(theta=10k)", 64, 2048, 16384, LLAMA),
    ("anchored_poly(theta=500k)", 128, 2048, 16384, LLAMA),
    ("anchored_poly(theta=500k)", 64, 2048, 16384, "phi"),
    ("mix_log(geo(theta=500k), sigmoid(theta=500k), alpha=0.5)", 64, 2048, 4096, "stablelm"),
    ("expr(\"theta^(-k/K) / (1 + t)\", theta=500k)", 64, 2048, None, "persimmon"),
    ("scale(geo(theta=500k), c=0.125)", 64, 2048, 16384, LLAMA),
    ("clip(geo(theta=500k), min=0.0001)", 64, 2048, None, LLAMA),
    ("table([1, 0.5, 0.3, 0.1, 0.01, 0.001, 1e-20, 0])", 16, 64, 128, LLAMA),
]


def xp(*args):
    done = subprocess.run([XP, "freq", *map(str, args)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def context(head_dim, train_len, target_len):
    lengths = {"--head-dim": head_dim, "--train-len": train_len, "--target-len": target_len}
    return [str(a) for name, n in lengths.items() if n is not None for a in (name, n)]


def frequencies(expression, args):
    values = np.load(io.BytesIO(xp(expression, *args, "--export", "npy")))
    assert values.dtype == np.float64
    return values.astype(np.float32)


def through_reciprocal(expression, args):
    """fl32(1/fl32(1/w)) of each frequency, as a table."""
    with np.errstate(divide="ignore"):
        divisors = (1 / frequencies(expression, args).astype(np.float64)).astype(np.float32)
    return f"table([{', '.join(repr(float(np.float32(1) / p)) for p in divisors)}])"


def model_of(model_type, head_dim, keys):
    keys = json.loads(json.dumps(keys))
    config = AutoConfig.for_model(
        model_type, hidden_size=2 * head_dim, num_attention_heads=2, num_key_value_heads=2,
        num_hidden_layers=1, intermediate_size=32, vocab_size=32, bos_token_id=0, eos_token_id=0,
        pad_token_id=0, **({"head_dim": head_dim} if model_type == LLAMA else {}), **keys,
    )
    model = AutoModelForCausalLM.from_config(config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return AutoModelForCausalLM.from_pretrained(folder)


def rotary(model):
    found = [m for m in model.modules() if hasattr(m, "inv_freq")]
    assert len(found) == 1, found
    return found[0]


def bits(values):
    return np.asarray(values, dtype=np.float32).view(np.int32).astype(np.int64)


def check(expression, head_dim, train_len, target_len, model_type, exact):
    args = context(head_dim, train_len, target_len)
    if exact:
        expression = through_reciprocal(expression, args)
    keys = json.loads(xp(expression, *args, "--export", "hf"))
    assert json.loads(xp(expression, *args, "--export", "vllm")) == keys
    said = keys["xp_freq"]
    ours = frequencies(expression, args)
    scale = json.loads(xp(expression, *args, "--json"))["attention_scale"]

    model = model_of(model_type, head_dim, keys)
    rope = rotary(model)
    before = rope.inv_freq.clone()
    # Past the original length the library takes the long list, and must find the same there.
    beyond = keys["max_position_embeddings"] + 3
    with torch.no_grad():
        model(torch.zeros(1, 2, dtype=torch.int64), position_ids=torch.tensor([[0, beyond]]))
    assert torch.equal(rope.inv_freq, before), "changed past the original length"
    assert rope.attention_scaling == scale, (rope.attention_scaling, scale)
    theirs = rope.inv_freq.numpy()
    assert theirs.shape == ours.shape

    distance = np.abs(bits(ours) - bits(theirs))
    off, ulp = int((distance > 0).sum()), int(distance.max())
    kind = keys["rope_parameters"]["rope_type"]
    if kind == "longrope":
        assert (off, ulp) == (said["channels_off"], said["max_ulp"]), (off, ulp, said)
        assert said["bit_exact"] == torch.equal(torch.from_numpy(ours), rope.inv_freq)
    else:
        # Its powers are not correctly rounded on every device: a unit on top of what xp says.
        assert not said["bit_exact"] and ulp <= said["max_ulp"] + 1, (off, ulp, said)
    if exact:
        assert kind == "longrope" and said["bit_exact"], said
    print(f"{model_type:10} {kind:9} {off:2} of {len(ours):2} off, {ulp} ulp  {expression[:90]}")
    return {
        "expression": expression, "head_dim": head_dim, "train_len": train_len, "target_len": target_len,
        "model_type": model_type, "rope_type": kind,
        "inv_freq_bits": [f"{b:08x}" for b in bits(theirs)], "attention_scaling": rope.attention_scaling,
    }


def gguf_file(expression, head_dim):
    """The file as the gguf package reads it, and added to a model as src/export/gguf.rs says."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        xp(expression, "--head-dim", head_dim, "--export", "gguf", "-o", folder / "set.gguf")
        described = json.loads(xp(expression, "--head-dim", head_dim, "--export", "gguf"))
        reader = gguf.GGUFReader(folder / "set.gguf")
        [tensor] = reader.tensors
        assert tensor.name == described["tensor"]["name"] == "rope_freqs.weight"
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        factors = np.array(described["tensor"]["data"]).astype(np.float32)
        assert np.array_equal(bits(tensor.data), bits(factors)) and len(factors) == head_dim // 2
        fields = {f.name: f.contents() for f in reader.fields.values() if not f.name.startswith("GGUF.")}
        assert fields == described["metadata"], (fields, described["metadata"])

        writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
        writer.add_rope_freq_base(10000.0)
        writer.add_string("general.name", "tiny")
        writer.add_token_list(["a", "b"])
        weight = np.arange(12, dtype=np.float32).reshape(3, 4)
        half = np.arange(6, dtype=np.float16).reshape(2, 3)
        writer.add_tensor("token_embd.weight", weight)
        writer.add_tensor("output.weight", half)
        writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
        writer.close()
        source = (HERE.parent.parent / "src/export/gguf.rs").read_text()
        recipe = re.search(r"^//! ```python\n(.*?)^//! ```", source, re.S | re.M)[1]
        recipe = re.sub(r"^//! ?", "", recipe, flags=re.M)
        for name in ("model.gguf", "set.gguf", "out.gguf"):
            recipe = recipe.replace(f'"{name}"', repr(str(folder / name)))
        exec(recipe, {})
        out = gguf.GGUFReader(folder / "out.gguf")
        tensors = {t.name: t.data for t in out.tensors}
        assert list(tensors) == ["token_embd.weight", "output.weight", "rope_freqs.weight"]
        assert np.array_equal(tensors["token_embd.weight"], weight) and np.array_equal(tensors["output.weight"], half)
        assert np.array_equal(bits(tensors["rope_freqs.weight"]), bits(factors))
        assert out.fields["llama.rope.freq_base"].contents() == 1.0
        assert out.fields["general.name"].contents() == "tiny"
        assert out.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
        print(f"gguf       {len(factors)} factors, {len(fields)} keys  {expression}")
        return {
            "expression": expression, "head_dim": head_dim,
            "file": (folder / "set.gguf").read_bytes().hex(),
        }


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sets = [check(*entry, exact) for entry in SETS for exact in (False, True)]
    files = [gguf_file(HYBRID, 16), gguf_file("table([1, 0.25, 0.001, 0])", 8)]
    versions = {p.__name__: p.__version__ for p in (torch, transformers, np)}
    golden = {"made_by": "tests/reference/export_hf.py", "versions": versions}
    # One set a line: readable, and a change shows which set changed.
    lists = {"sets": sets, "gguf": files}
    body = ",\n".join(
        f' "{name}": [\n  ' + ",\n  ".join(json.dumps(item) for item in items) + "\n ]" for name, items in lists.items()
    )
    head = json.dumps(golden, indent=1).removesuffix("\n}")
    (HERE / "export_hf.json").write_text(f"{head},\n{body}\n}}\n")


main()
