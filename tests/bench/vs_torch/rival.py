#!/usr/bin/env python3
"""One PyTorch process of the benchmark: the same model, weights and tokens as `cargo bench --bench step`.

    rival.py --size S --weights DIR/S.safetensors --steps 10 [--compile] [--threads 2]
    rival.py --size E --weights DIR/E.safetensors              evaluation of 16,384 tokens

Prints one JSON object: seconds of every step after the warm-up, the loss of the first, peak memory in MiB.
The rival is meant to be fast: fused attention, RMSNorm and AdamW of PyTorch, its own cross-entropy, and
with --compile the whole loss compiled.
"""
import argparse, json, os, resource, time

SIZES = {"S": (2, 128, 4, 512, 4096, 8, 256), "M": (4, 256, 4, 1024, 8192, 8, 512),
         "X": (6, 512, 8, 2048, 50304, 1, 2048), "E": (6, 512, 8, 2048, 50304, 1, 16384)}
ap = argparse.ArgumentParser()
ap.add_argument("--size", required=True, choices=SIZES)
ap.add_argument("--weights", required=True)
ap.add_argument("--steps", type=int, default=10)
ap.add_argument("--warmup", type=int, default=2)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--compile", action="store_true")
a = ap.parse_args()
os.environ["OMP_NUM_THREADS"] = str(a.threads)

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

torch.set_num_threads(a.threads)
layers, hidden, heads, _, vocab, rows, length = SIZES[a.size]
head_dim = hidden // heads
weights = {name: tensor.requires_grad_(a.size != "E") for name, tensor in load_file(a.weights).items()}
tokens = (torch.arange(rows * length, dtype=torch.int64) * 7919 % vocab).view(rows, length)
inv_freq = torch.tensor([5e5 ** (-k / (head_dim // 2)) for k in range(head_dim // 2)], dtype=torch.float32)
angles = torch.outer(torch.arange(length, dtype=torch.float32), inv_freq)
cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)


def rotated(x):
    half = head_dim // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def hidden_states(w, ids):
    x = F.embedding(ids, w["model.embed_tokens.weight"])
    for i in range(layers):
        p = f"model.layers.{i}."
        h = F.rms_norm(x, (hidden,), w[p + "input_layernorm.weight"], 1e-6)
        q, k, v = (F.linear(h, w[p + f"self_attn.{n}_proj.weight"]).view(rows, length, heads, head_dim).transpose(1, 2)
                   for n in "qkv")
        y = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
        x = x + F.linear(y.transpose(1, 2).reshape(rows, length, hidden), w[p + "self_attn.o_proj.weight"])
        h = F.rms_norm(x, (hidden,), w[p + "post_attention_layernorm.weight"], 1e-6)
        gate, up = (F.linear(h, w[p + f"mlp.{n}_proj.weight"]) for n in ("gate", "up"))
        x = x + F.linear(F.silu(gate) * up, w[p + "mlp.down_proj.weight"])
    return F.rms_norm(x, (hidden,), w["model.norm.weight"], 1e-6)


def loss_of(w, ids):
    logits = F.linear(hidden_states(w, ids), w["model.embed_tokens.weight"])
    return F.cross_entropy(logits[:, :-1].reshape(-1, vocab), ids[:, 1:].reshape(-1))


def report(seconds, loss):
    print(json.dumps({"seconds": seconds, "loss": loss, "torch": torch.__version__,
                      "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def evaluate():
    """Chunked cross-entropy, as an evaluation at this length would be written: no 3 GiB of logits."""
    with torch.inference_mode():
        start = time.perf_counter()
        h = hidden_states(weights, tokens)[0, :-1]
        targets = tokens[0, 1:]
        parts = [F.cross_entropy(F.linear(h[i:i + 1024], weights["model.embed_tokens.weight"]), targets[i:i + 1024],
                                 reduction="sum") for i in range(0, len(targets), 1024)]
        loss = float(sum(parts)) / len(targets)
        report([time.perf_counter() - start], loss)


def train():
    compute = torch.compile(loss_of) if a.compile else loss_of
    parameters = list(weights.values())
    optimiser = torch.optim.AdamW(parameters, lr=6e-4, betas=(.9, .95), eps=1e-8, weight_decay=.1, fused=True)
    seconds, first = [], None
    for _ in range(a.warmup + a.steps):
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        loss = compute(weights, tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        value = loss.item()
        seconds.append(time.perf_counter() - start)
        first = value if first is None else first
    report(seconds[a.warmup:], first)


evaluate() if a.size == "E" else train()
