#!/usr/bin/env python3
"""What transformers and llama.cpp make of `xp export`.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy transformers==5.23.0 gguf xllamacpp
    cargo build --example logits --bin xp
    /tmp/venv/bin/python tests/reference/export_model.py target/debug/xp target/debug/examples/logits \\
        [../shared/data/gpt-neox-20b/tokenizer.json]

Carries out export/export.toml (weights that no step changes), the same with ten steps of training, and a
model of another shape with a trained tokenizer, and with one from a file if it is named; exports each config, as trained and under its transform; loads
the folders in transformers and the files in llama.cpp; and compares logits and perplexities at two lengths with
xp's. Fails if transformers' logits differ by more than 1e-5 or a perplexity by more than 1e-5 of it. Writes
export/golden.json: what transformers computes for the weights that no step changes, and the hash of the file
that llama.cpp was held against, which tests/export_model holds xp against. Also starts xp from checkpoints that transformers writes, in shards, in
f32, bf16 and f16.
"""
import ctypes, hashlib, json, math, os, shutil, subprocess, sys, tempfile
from pathlib import Path

import gguf, numpy as np, torch, transformers, xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
XP, LOGITS, *TOKENIZER = map(os.path.abspath, sys.argv[1:4])
SPEC = HERE / "export/export.toml"
LENGTHS, CHUNKS = [32, 128], 3
TRANSFORM = "yarn4"
CASES = [("geo", None), ("hybrid", None), ("partial", None), ("geo", TRANSFORM), ("hybrid", TRANSFORM)]
TRAINED = ["--set", "schedule.lr=3e-3", "--set", "schedule.max_steps=10"]
BPE = [
    *TRAINED, "--set", "model={layers=3, hidden_size=48, heads=3, head_dim=24, intermediate_size=64, vocab_size=320, "
    "init_std=0.1, tie_embeddings=false, norm_eps=1e-5, rope_dtype='f32-recip'}", "--set", "data.tokenizer={train_bpe=300}",
    "--set", "schedule.max_steps=3",
]
# A vocabulary that is padded, as the reference protocol's is.
FILE = [*BPE, "--set", "model.vocab_size=50304", "--set", f"data.tokenizer={json.dumps(''.join(TOKENIZER))}", "--set", "schedule.max_steps=2"]
# Every how many-th id of the logits of two positions is kept as a golden value.
KEPT = 4


def xp(*args):
    done = subprocess.run([XP, *map(str, args)], capture_output=True)
    assert done.returncode == 0, (args, done.stderr.decode())
    return done.stdout.decode()


def xp_logits(run, transform, length, tokens):
    given = " ".join(map(str, tokens)).encode()
    done = subprocess.run([LOGITS, run, transform or "-", str(length)], input=given, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, dtype="<f4").reshape(len(tokens), -1)


def perplexity(model, tokens, length):
    """PROTOCOL's: exp of the mean over chunks of the chunk's mean cross-entropy."""
    losses = []
    for chunk in range(CHUNKS):
        ids = torch.tensor([tokens[chunk * length:(chunk + 1) * length]])
        logits = model(ids).logits[0, :-1].double()
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:]).item())
    return math.exp(sum(losses) / CHUNKS)


def same_files(a, b):
    names = sorted(p.name for p in a.iterdir())
    assert names == sorted(p.name for p in b.iterdir())
    for name in names:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    return names


def check_hf(run, transform, tokens, folder, named, end):
    said = json.loads(xp("export", run, "--to", "hf", folder / "hf", *named, "--json"))
    xp("export", run, "--to", "hf", folder / "again", *named)
    names = same_files(folder / "hf", folder / "again")
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
            "generation_config.json", "README.md"} == set(names)

    model, report = AutoModelForCausalLM.from_pretrained(folder / "hf", output_loading_info=True)
    assert type(model).__name__ == "LlamaForCausalLM" and model.dtype == torch.float32
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    ids = [model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id]
    assert ids == [end, end, None], ids
    tokenizer = AutoTokenizer.from_pretrained(folder / "hf")
    text = (HERE / "small/text.txt").read_text()[:400]
    encoded = tokenizer(text)["input_ids"]
    known = len(encoded) - 2
    assert known > 80 and encoded[:known] == tokens[:known] and tokenizer.decode(encoded) == text
    assert (tokenizer.eos_token_id, tokenizer.bos_token_id) == (end, end)
    assert tokenizer.model_max_length == said["length"] == max(LENGTHS)

    record = json.loads((run / "run.json").read_text())
    held = record["eval"]
    if transform:
        [held] = record["transforms"].values()
    rope = model.model.rotary_emb
    scale = 0.1 * math.log(4) + 1 if transform else 1.0
    assert abs(rope.attention_scaling - scale) < 1e-12, rope.attention_scaling
    if not transform:
        said_of = json.loads((folder / "hf/config.json").read_text())["xp_freq"]
        ours = np.array(record["freq"]["inv_freq"])
        recip = said_of.get("rope_dtype") == "f32-recip"
        ours = np.float32(1) / (1 / ours).astype(np.float32) if recip else ours.astype(np.float32)
        theirs = rope.inv_freq.numpy()
        assert not theirs[len(ours):].any()
        ulp = np.abs(ours.view(np.int32).astype(np.int64) - theirs[:len(ours)].view(np.int32))
        # The powers of a plain geo are torch's own, which are right to a unit.
        plain = model.config.rope_parameters["rope_type"] == "default"
        assert plain or (said_of["channels_off"], said_of["max_ulp"]) == ((ulp > 0).sum(), ulp.max()), (said_of, ulp)
        assert ulp.max() <= said_of["max_ulp"] + plain
    result = {"fidelity": said["fidelity"], "config": json.loads((folder / "hf/config.json").read_text())}
    result["logits"], result["perplexity"], worst = {}, {}, 0.0
    with torch.no_grad():
        for length in LENGTHS:
            given = tokens[:length]
            theirs = model(torch.tensor([given])).logits[0].numpy()
            ours = xp_logits(run, transform, length, given)
            worst = max(worst, float(np.abs(theirs - ours).max()))
            ppl = perplexity(model, tokens, length)
            off = abs(ppl / held[str(length)]["ppl"] - 1)
            assert off < 1e-5, (length, ppl, held[str(length)], off)
            worst_ppl = max(result.get("ppl_off", 0.0), off)
            result["ppl_off"] = worst_ppl
            result["perplexity"][str(length)] = ppl
            kept = {p: [float(str(x)) for x in theirs[p, ::KEPT]] for p in (length // 2, length - 1)}
            result["logits"][str(length)] = {str(p): values for p, values in kept.items()}
        size = float(np.abs(ours).max())
    assert worst < 1e-5, worst
    # Text goes on being produced.
    out = model.generate(torch.tensor([tokens[:8]]), max_new_tokens=4, do_sample=False)
    assert out.shape[1] == 12
    return result, worst, size


class Llama:
    """llama.cpp through the C interface that the package exports. Its structures of parameters are larger here
    than there, which costs nothing: they are passed in memory, and what lies beyond is not looked at."""

    def __init__(self):
        shared = next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"))
        self.lib = ctypes.CDLL(str(shared))
        self.log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        self.lib.llama_log_set(self.log, None)
        self.lib.llama_backend_init()
        self.params = ctypes.c_uint32 * 256

    def call(self, name, result, *types):
        function = getattr(self.lib, name)
        function.restype, function.argtypes = result, types
        return function

    def logits(self, path, tokens):
        """Logits [tokens, vocabulary], with keys and values kept in f32; and what it makes of a text."""
        class Params(ctypes.Structure):
            _fields_ = [("words", self.params)]

        class Batch(ctypes.Structure):
            _fields_ = [
                ("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
                ("pos", ctypes.POINTER(ctypes.c_int32)), ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8)),
            ]
        pointer = ctypes.c_void_p
        load = self.call("llama_model_load_from_file", pointer, ctypes.c_char_p, Params)
        model = load(str(path).encode(), self.call("llama_model_default_params", Params)())
        assert model, f"llama.cpp does not load {path}"
        params = self.call("llama_context_default_params", Params)()
        words = params.words
        assert words[0] == 512, "n_ctx does not come first"
        # GGML_TYPE_F16 = 1 twice in a row is the type of keys and of values; F32 is 0.
        kinds = [i for i in range(12, 60) if words[i] == 1 and words[i + 1] == 1]
        assert len(kinds) == 1, kinds
        words[kinds[0]] = words[kinds[0] + 1] = 0
        # Four kinds that the library chooses (-1): scaling, pooling, attention, and fused attention, which rounds.
        [kinds] = [i for i in range(4, 20) if list(words[i:i + 4]) == [2**32 - 1] * 4]
        words[kinds + 3] = 0
        context = self.call("llama_init_from_model", pointer, pointer, Params)(model, params)
        assert context
        n = len(tokens)
        batch = self.call("llama_batch_init", Batch, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)(n, 0, 1)
        batch.n_tokens = n
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        assert self.call("llama_decode", ctypes.c_int32, pointer, Batch)(context, batch) == 0
        vocab = self.call("llama_model_get_vocab", pointer, pointer)(model)
        width = self.call("llama_vocab_n_tokens", ctypes.c_int32, pointer)(vocab)
        row = self.call("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), pointer, ctypes.c_int32)
        logits = np.array([row(context, i)[:width] for i in range(n)], dtype=np.float32)
        # Type 0 is none: ids in, logits out.
        if self.call("llama_vocab_type", ctypes.c_int32, pointer)(vocab) == 0:
            return logits, None, None
        text = (HERE / "small/text.txt").read_bytes()[:200]
        encode = self.call(
            "llama_tokenize", ctypes.c_int32, pointer, ctypes.c_char_p, ctypes.c_int32,
            ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool, ctypes.c_bool,
        )
        ids = (ctypes.c_int32 * 400)()
        count = encode(vocab, text, len(text), ids, 400, True, True)
        end = self.call("llama_vocab_eos", ctypes.c_int32, pointer)(vocab)
        self.call("llama_free", None, pointer)(context)
        self.call("llama_model_free", None, pointer)(model)
        return logits, list(ids[:count]), end


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def check_gguf(llama, run, transform, tokens, folder, named):
    path = folder / "model.gguf"
    xp("export", run, "--to", "gguf", path, *named)
    first = path.read_bytes()
    xp("export", run, "--to", "gguf", path, "--force", *named)
    assert path.read_bytes() == first
    reader = gguf.GGUFReader(path)
    fields = {f.name: f.contents() for f in reader.fields.values()}
    tensors = {t.name: t for t in reader.tensors}
    record = json.loads((run / "run.json").read_text())
    rope = json.loads((folder / "hf/config.json").read_text())["rope_parameters"]
    factors = tensors["rope_freqs.weight"].data
    head_dim = fields["llama.attention.key_length"]
    assert fields["llama.rope.dimension_count"] == head_dim == 2 * len(factors)
    assert fields["llama.rope.freq_base"] == 1.0 and fields["xp.train_id"] == record["train_id"]
    if "long_factor" in rope:
        theirs = np.minimum(np.array(rope["long_factor"]), 1e30).astype(np.float32)
        assert np.array_equal(factors, theirs)
    scale = fields.get("llama.rope.scaling.attn_factor", 1.0)
    assert scale == (np.float32(0.1 * math.log(4) + 1) if transform else 1.0), scale
    # The file whatever the ids of its run are.
    for name in ("train_id", "protocol"):
        first = first.replace(record[name].encode(), b"0" * 32)
    worst = 0.0
    for length in LENGTHS:
        given = tokens[:length]
        ours = xp_logits(run, transform, length, given)
        theirs, encoded, end = llama.logits(path, given)
        worst = max(worst, relative(theirs, ours))
        # The end of the text is cut in the middle of a word.
        known = len(encoded) - 2
        assert known > 30 and encoded[:known] == tokens[:known], (encoded, tokens[:known])
        assert end not in tokens
    # The factors, and the order of the rows, are what llama.cpp goes by: without either it is another model.
    def spoiled(name, data):
        other = folder / "spoiled.gguf"
        shutil.copy(path, other)
        with other.open("r+b") as file:
            file.seek(tensors[name].data_offset)
            file.write(data.astype("<f4").tobytes())
        return relative(llama.logits(other, given)[0], ours)
    without_factors = spoiled("rope_freqs.weight", np.ones_like(factors))
    q = tensors["blk.0.attn_q.weight"].data
    heads = q.reshape(-1, head_dim, q.shape[-1])
    unpermuted = np.concatenate([heads[:, ::2], heads[:, 1::2]], 1).reshape(q.shape)
    without_order = spoiled("blk.0.attn_q.weight", unpermuted)
    assert worst < 1e-5 and min(without_factors, without_order) > 300 * worst, (worst, without_factors, without_order)
    return worst, without_factors, without_order, hashlib.sha256(first).hexdigest()


def check_without_tokenizer(llama, run, tokens, folder):
    path = folder / "none.gguf"
    xp("export", run, "--to", "gguf", path, "--no-tokenizer")
    given = tokens[:32]
    logits, encoded, _ = llama.logits(path, given)
    assert encoded is None and relative(logits, xp_logits(run, None, 32, given)) < 1e-5


def check_init_from(tokens, folder):
    """A checkpoint that transformers writes, in shards and in half precision, as a start: xp's logits of it."""
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, head_dim=16,
        intermediate_size=72, rms_norm_eps=1e-5, tie_word_embeddings=False, initializer_range=0.1,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}, max_position_embeddings=128,
    )
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        checkpoint = folder / f"from-{dtype}"
        transformers.LlamaForCausalLM(config).to(dtype).save_pretrained(checkpoint, max_shard_size="40KB")
        assert len(list(checkpoint.glob("*.safetensors"))) > 2 and (checkpoint / "model.safetensors.index.json").exists()
        results = folder / f"results-{dtype}"
        shape = "layers=3, hidden_size=48, heads=4, head_dim=16, intermediate_size=72, vocab_size=256, norm_eps=1e-5"
        given = f"model={{{shape}, tie_embeddings=false, init_from='{checkpoint}'}}"
        xp("run", SPEC, "--results", results, "-q", "--set", given, "--only", "geo")
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        with torch.no_grad():
            theirs = model(torch.tensor([tokens[:128]])).logits[0].numpy()
        ours = xp_logits(results / "export/geo/seed-0", None, 128, tokens[:128])
        off = float(np.abs(ours - theirs).max())
        assert off < 1e-5, off
        print(f"init_from, {str(dtype):19} {np.abs(ours).max():6.2f}  {off:.1e}")


def tokens_of(cache):
    """The tokens of both splits, which are the same text, as the cache has them."""
    [path] = cache.glob("tokens/*/tokens.bin")
    return np.fromfile(path, dtype="<u2").tolist()


def main():
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    llama = Llama()
    golden = {}
    print(f"{'':38} transformers            llama.cpp, relative")
    print(f"{'case':30} {'size':>6}  logits   perplexity  logits   no factors  no order")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        kinds = [("frozen", [], CASES), ("trained", TRAINED, CASES), ("bpe", BPE, CASES)]
        for name, sets, cases in kinds + [("file", FILE, CASES[3:])] * len(TOKENIZER):
            os.environ["XP_CACHE"] = str(folder / name / "cache")
            results = folder / name / "results"
            xp("run", SPEC, "--results", results, "-q", *sets)
            tokens = tokens_of(folder / name / "cache")
            for config, transform in cases:
                case = folder / name / f"{config}-{transform}"
                case.mkdir()
                run = results / "export" / config / "seed-0"
                named = ["--transform", transform] if transform else []
                named += ["--tokenizer", *TOKENIZER] if name == "file" else []
                end = 0 if name == "file" else None
                result, worst, size = check_hf(run, transform, tokens, case, named, end)
                off = result.pop("ppl_off")
                llamas = check_gguf(llama, run, transform, tokens, case, named)
                what = f"{name} {config}{' ' + transform if transform else ''}"
                print(f"{what:30} {size:6.2f}  {worst:.1e}  {off:.1e}     {llamas[0]:.1e}  {llamas[1]:.1e}     {llamas[2]:.1e}")
                if name == "bpe":
                    assert result["fidelity"]["bit_exact"], result["fidelity"]
                if name == "frozen" and (config, transform) == CASES[0]:
                    check_without_tokenizer(llama, run, tokens, case)
                    check_init_from(tokens, case)
                if name == "frozen":
                    golden[what.removeprefix("frozen ")] = {
                        "config_name": config, "transform": transform, "gguf_sha256": llamas[3], **result,
                    }
    versions = {p.__name__: p.__version__ for p in (torch, transformers, np)}
    head = {"made_by": "tests/reference/export_model.py", "versions": versions, "kept": KEPT}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(case)}" for name, case in golden.items())
    text = json.dumps(head, indent=1).removesuffix("\n}") + f',\n "cases": {{\n{lines}\n }}\n}}\n'
    json.loads(text)
    (HERE / "export/golden.json").write_text(text)


main()
