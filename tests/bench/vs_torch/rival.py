#!/usr/bin/env python3
"""One PyTorch process of the benchmark: the same model, weights and tokens as `cargo bench --bench step`.

    rival.py --size S --weights DIR/S.safetensors --steps 10 [--compile] [--threads 2]
    rival.py --size E --weights DIR/E.safetensors              evaluation of 16,384 tokens
    rival.py --size R --weights DIR/R.safetensors --device cuda [--compile]     the reference run's batch, bf16

Prints one JSON object: seconds of every step after the warm-up, the loss of the first, peak memory in MiB.
The rival is meant to be fast: fused attention, RMSNorm and AdamW of PyTorch, its own cross-entropy, and
with --compile the whole loss compiled; on a GPU bf16 autocast and projections fused as xp has them.
"""
import argparse, json, os, resource, time

SIZES = {"S": (2, 128, 4, 512, 4096, 8, 256), "M": (4, 256, 4, 1024, 8192, 8, 512),
         "X": (6, 512, 8, 2048, 50304, 1, 2048),
         "R": (6, 512, 8, 2048, 50304, 32, 2048), "E": (6, 512, 8, 2048, 50304, 1, 16384)}
ap = argparse.ArgumentParser()
ap.add_argument("--size", required=True, choices=SIZES)
ap.add_argument("--weights", required=True)
ap.add_argument("--steps", type=int, default=10)
ap.add_argument("--warmup", type=int, default=2)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--compile", action="store_true")
ap.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
ap.add_argument("--chunks", type=int, default=0, help="of each of four lengths, in an evaluation")
a = ap.parse_args()
os.environ["OMP_NUM_THREADS"] = str(a.threads)

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

torch.set_num_threads(a.threads)
layers, hidden, heads, _, vocab, rows, length = SIZES[a.size]
head_dim = hidden // heads
weights = load_file(a.weights, device=a.device)
if a.device == "cuda":
    torch.set_default_device("cuda")
    for layer in range(layers):
        p = f"model.layers.{layer}."
        for fused, parts in (("self_attn.qkv_proj", [f"self_attn.{n}_proj" for n in "qkv"]),
                             ("mlp.gate_up_proj", ["mlp.gate_proj", "mlp.up_proj"])):
            weights[p + fused + ".weight"] = torch.cat([weights.pop(p + n + ".weight") for n in parts])
weights = {name: tensor.requires_grad_(a.size != "E") for name, tensor in weights.items()}
tokens = (torch.arange(rows * length, dtype=torch.int64) * 7919 % vocab).view(rows, length)
inv_freq = torch.tensor([5e5 ** (-k / (head_dim // 2)) for k in range(head_dim // 2)], dtype=torch.float32)
angles = torch.outer(torch.arange(length, dtype=torch.float32), inv_freq)
cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)


def rotated(x):
    half, length = head_dim // 2, x.shape[-2]
    turned = x * cos[:length] + torch.cat((-x[..., half:], x[..., :half]), -1) * sin[:length]
    return turned.to(x.dtype)


def autocast():
    return torch.autocast(a.device, torch.bfloat16, enabled=a.device == "cuda")


def project(w, x, prefix, names, fused):
    if a.device == "cuda":
        return F.linear(x, w[f"{prefix}{fused}_proj.weight"]).chunk(len(names), -1)
    return [F.linear(x, w[f"{prefix}{n}_proj.weight"]) for n in names]


def hidden_states(w, ids):
    rows, length = ids.shape
    x = F.embedding(ids, w["model.embed_tokens.weight"])
    for i in range(layers):
        p = f"model.layers.{i}."
        h = F.rms_norm(x, (hidden,), w[p + "input_layernorm.weight"], 1e-6)
        q, k, v = (part.view(rows, length, heads, head_dim).transpose(1, 2)
                   for part in project(w, h, p + "self_attn.", "qkv", "qkv"))
        y = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
        x = x + F.linear(y.transpose(1, 2).reshape(rows, length, hidden), w[p + "self_attn.o_proj.weight"])
        h = F.rms_norm(x, (hidden,), w[p + "post_attention_layernorm.weight"], 1e-6)
        gate, up = project(w, h, p + "mlp.", ("gate", "up"), "gate_up")
        x = x + F.linear(F.silu(gate) * up, w[p + "mlp.down_proj.weight"])
    return F.rms_norm(x, (hidden,), w["model.norm.weight"], 1e-6)


def loss_of(w, ids):
    with autocast():
        logits = F.linear(hidden_states(w, ids), w["model.embed_tokens.weight"])
        return F.cross_entropy(logits[:, :-1].reshape(-1, vocab), ids[:, 1:].reshape(-1))


def report(seconds, loss):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if a.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps({"seconds": seconds, "loss": loss, "torch": torch.__version__, "peak_mib": peak}))


def mean_loss(ids):
    """Chunked cross-entropy, as an evaluation at this length would be written: no 3 GiB of logits."""
    with autocast():
        h = hidden_states(weights, ids)[0, :-1]
        targets, total = ids[0, 1:], 0.0
        for i in range(0, len(targets), 1024):
            logits = F.linear(h[i:i + 1024], weights["model.embed_tokens.weight"])
            total = total + F.cross_entropy(logits.float(), targets[i:i + 1024], reduction="sum")
    return float(total) / len(targets)


def evaluate():
    with torch.inference_mode():
        if a.chunks:
            mean_loss(tokens)
        start = time.perf_counter()
        loss = mean_loss(tokens)
        seconds = [time.perf_counter() - start]
        if a.chunks:
            start = time.perf_counter()
            for part in (8, 4, 2, 1):
                for _ in range(a.chunks):
                    mean_loss(tokens[:, :length // part])
            seconds.append(time.perf_counter() - start)
        report(seconds, loss)


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
