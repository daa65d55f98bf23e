#!/usr/bin/env python3
"""Golden values from PyTorch for a small model: PROTOCOL's decoder, loss, optimiser and evaluation.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python tests/reference/make_small.py

Writes tests/reference/small/: text.txt (what both read, as bytes), weights.safetensors (initial
weights, Hugging Face Llama names), gradients.safetensors (of the first batch, geo_500) and golden.json
(for each config of small.toml ten losses and gradient norms, and perplexities as trained and under
its transforms). Independent of xp: no value comes from it.
"""
import json, math, random
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = Path(__file__).parent / "small"
LAYERS, HIDDEN, HEADS, HEAD_DIM, INTERMEDIATE, VOCAB = 2, 48, 2, 16, 96, 256
SEQ_LEN, BATCH, STEPS, LR, WARMUP_FRAC = 32, 4, 10, 3e-3, 0.2
LENGTHS, CHUNKS = [32, 64, 128], 3
EPS = 1e-6

# Each config's sets, one a layer: (theta, channels of a head that rotate, attention scale).
CONFIGS = {
    "geo_500": [(500.0, HEAD_DIM, 1.0)] * LAYERS,
    "partial": [(500.0, HEAD_DIM // 2, 1.0)] * LAYERS,
    "by_layer": [(500.0, HEAD_DIM, 1.0), (8000.0, HEAD_DIM, 1.0)],
    "scaled": [(500.0, HEAD_DIM, 1.2)] * LAYERS,
}

torch.manual_seed(7)
torch.set_num_threads(1)
random.seed(7)


def text():
    """Sentences with some structure, so that the loss has something to fall by."""
    names, things, places = ["Mia", "Tom", "Ana", "Ben"], ["kite", "ball", "cake", "book"], ["park", "barn", "lake"]
    lines = []
    while sum(map(len, lines)) < SEQ_LEN * BATCH * STEPS + 400:
        n, t, p = random.choice(names), random.choice(things), random.choice(places)
        lines.append(f"{n} took the {t} to the {p}. ")
    return "".join(lines)


def parameters():
    p = {"model.embed_tokens.weight": torch.randn(VOCAB, HIDDEN) * 0.05}
    inner = HEADS * HEAD_DIM
    for i in range(LAYERS):
        b = f"model.layers.{i}."
        for name, shape in [
            ("self_attn.q_proj", (inner, HIDDEN)), ("self_attn.k_proj", (inner, HIDDEN)),
            ("self_attn.v_proj", (inner, HIDDEN)), ("self_attn.o_proj", (HIDDEN, inner)),
            ("mlp.gate_proj", (INTERMEDIATE, HIDDEN)), ("mlp.up_proj", (INTERMEDIATE, HIDDEN)),
            ("mlp.down_proj", (HIDDEN, INTERMEDIATE)),
        ]:
            p[b + name + ".weight"] = torch.randn(*shape) * 0.1
        for name in ("input_layernorm", "post_attention_layernorm"):
            p[b + name + ".weight"] = 1 + 0.1 * torch.randn(HIDDEN)
    p["model.norm.weight"] = 1 + 0.1 * torch.randn(HIDDEN)
    return p


def plain(theta, rotary, scale, length):
    k = torch.arange(rotary // 2, dtype=torch.float64)
    return (theta ** (-k / (rotary // 2))).float(), scale


def pi4(theta, rotary, scale, length):
    """pi({trained}, factor=4)"""
    k = torch.arange(rotary // 2, dtype=torch.float64)
    return (theta ** (-k / (rotary // 2)) / 4).float(), scale


def dynamic(theta, rotary, scale, length):
    """attn(dynamic_ntk({trained}, factor=2), scale=1.1)"""
    ratio = max(length, SEQ_LEN) / SEQ_LEN
    return plain(theta * (2 * ratio - 1) ** (rotary / (rotary - 2)), rotary, scale * 1.1, length)


TRANSFORMS = {"pi4": pi4, "dynamic": dynamic}


def norm(x, gain):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * gain


def rotate(x, cos, sin):
    """GPT-NeoX: the first channels in pairs (i, i + rotary/2), the others as they are."""
    rotary = 2 * cos.shape[-1]
    a, b = x[..., :rotary].chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, x[..., rotary:]], -1)


def logits(p, tokens, sets, how):
    rows, length = tokens.shape
    mask = torch.full((length, length), float("-inf")).triu(1)
    x = F.embedding(tokens, p["model.embed_tokens.weight"])
    for i in range(LAYERS):
        w = lambda name: p[f"model.layers.{i}.{name}.weight"]
        # An input of the evaluation is one token shorter than its chunk.
        inv_freq, scale = how(*sets[i], length + 1)
        angle = torch.arange(length, dtype=torch.float32)[:, None] * inv_freq
        cos, sin = angle.cos() * scale, angle.sin() * scale
        h = norm(x, w("input_layernorm"))
        split = lambda y: y.view(rows, length, HEADS, HEAD_DIM).transpose(1, 2)
        q, k, v = (split(h @ w(f"self_attn.{n}_proj").T) for n in "qkv")
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        attention = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(HEAD_DIM) + mask, -1) @ v
        x = x + attention.transpose(1, 2).reshape(rows, length, -1) @ w("self_attn.o_proj").T
        h = norm(x, w("post_attention_layernorm"))
        x = x + (F.silu(h @ w("mlp.gate_proj").T) * (h @ w("mlp.up_proj").T)) @ w("mlp.down_proj").T
    return norm(x, p["model.norm.weight"]) @ p["model.embed_tokens.weight"].T


def loss(p, rows, sets, how=plain):
    out = logits(p, rows[:, :-1], sets, how)
    return F.cross_entropy(out.reshape(-1, VOCAB), rows[:, 1:].reshape(-1))


def lr_at(step):
    warmup = math.floor(WARMUP_FRAC * STEPS)
    if step < warmup:
        return LR * step / warmup
    return LR * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup)))


def main():
    OUT.mkdir(exist_ok=True)
    source = text()
    (OUT / "text.txt").write_text(source + "\n<|endoftext|>\n")
    tokens = torch.tensor(list(source.encode()))
    p = parameters()
    save_file({k: v.contiguous() for k, v in p.items()}, OUT / "weights.safetensors")
    golden = {"made_by": "tests/reference/make_small.py", "torch": torch.__version__}
    golden["configs"] = {name: train(name, sets, p, tokens) for name, sets in CONFIGS.items()}
    (OUT / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(json.dumps(golden, indent=1))


def train(name, sets, initial, tokens):
    p = {k: v.clone().requires_grad_(True) for k, v in initial.items()}
    optimizer = torch.optim.AdamW(p.values(), lr=LR, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    losses, norms = [], []
    for step in range(STEPS):
        rows = tokens[step * BATCH * SEQ_LEN:(step + 1) * BATCH * SEQ_LEN].view(BATCH, SEQ_LEN)
        optimizer.zero_grad()
        value = loss(p, rows, sets)
        value.backward()
        if step == 0 and name == "geo_500":
            save_file({k: v.grad.contiguous() for k, v in p.items()}, OUT / "gradients.safetensors")
        norms.append(torch.nn.utils.clip_grad_norm_(p.values(), 1.0).item())
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step)
        optimizer.step()
        losses.append(value.item())

    def perplexities(how):
        found = {}
        with torch.no_grad():
            for length in LENGTHS:
                rows = [tokens[c * length:(c + 1) * length][None] for c in range(CHUNKS)]
                chunks = [loss(p, row, sets, how).double() for row in rows]
                found[length] = torch.stack(chunks).mean().exp().item()
        return found

    return {
        "losses": losses, "grad_norms": norms, "perplexity": perplexities(plain),
        "transforms": {name: perplexities(how) for name, how in TRANSFORMS.items()},
    }


main()
