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
from safetensors.torch import load_file

from model import Model

torch.set_num_threads(a.threads)
layers, hidden, heads, _, vocab, rows, length = SIZES[a.size]
head_dim = hidden // heads
inv_freq = [5e5 ** (-k / (head_dim // 2)) for k in range(head_dim // 2)]
model = Model(layers, hidden, heads, head_dim, vocab, inv_freq, length, a.device)
weights = model.prepared(load_file(a.weights, device=a.device), trained=a.size != "E")
tokens = (torch.arange(rows * length, dtype=torch.int64, device=a.device) * 7919 % vocab).view(rows, length)


def report(seconds, loss):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if a.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps({"seconds": seconds, "loss": loss, "torch": torch.__version__, "peak_mib": peak}))


def evaluate():
    if a.chunks:
        model.mean_loss(weights, tokens)
    start = time.perf_counter()
    loss = model.mean_loss(weights, tokens)
    seconds = [time.perf_counter() - start]
    if a.chunks:
        start = time.perf_counter()
        for part in (8, 4, 2, 1):
            for _ in range(a.chunks):
                model.mean_loss(weights, tokens[:, :length // part])
        seconds.append(time.perf_counter() - start)
    report(seconds, loss)


def train():
    compute = torch.compile(model.loss) if a.compile else model.loss
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
