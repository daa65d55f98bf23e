#!/usr/bin/env python3
"""PyTorch on a run of xp: the same initial weights, batches and schedule, and the loss curves beside each other.

    cargo run --release --example inputs -- SPEC CONFIG SEED /tmp/inputs
    curve.py train /tmp/inputs results/EXPERIMENT/CONFIG/seed-SEED --out curve.json [--device cuda --compile]
    curve.py beside curve.json results/EXPERIMENT/CONFIG/seed-SEED ELSEWHERE/EXPERIMENT/CONFIG/seed-SEED
    curve.py plot curve.json... --out curves.svg

`train` needs torch and safetensors. The schedule is computed here again from its constants (PROTOCOL.md), the
perplexities are of the evaluation's own chunks. `beside` adds the log of a third training to a curve: xp again, in
another precision or on another device, as far as it went. `beside` and `plot` need nothing.
"""
import argparse, json, math, time
from pathlib import Path

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
sub = ap.add_subparsers(dest="what", required=True)
of = sub.add_parser("train")
of.add_argument("inputs", type=Path)
of.add_argument("run", type=Path)
of.add_argument("--out", type=Path, required=True)
of.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
of.add_argument("--compile", action="store_true")
of.add_argument("--steps", type=int, help="only the first ones, of the whole schedule; then without perplexities")
of.add_argument("--rows", type=int, help="rows of a batch at a time, their gradients added: what fits into memory")
of = sub.add_parser("beside")
of.add_argument("curve", type=Path)
of.add_argument("run", type=Path)
of.add_argument("other", type=Path)
of = sub.add_parser("plot")
of.add_argument("curves", type=Path, nargs="+")
of.add_argument("--out", type=Path, required=True)
a = ap.parse_args()


def rate(train, steps, step):
    warmup = math.floor(train["warmup_frac"] * steps)
    if step < warmup:
        return train["lr"] * step / warmup
    left = {"cosine": lambda x: 0.5 * (1 + math.cos(math.pi * x)), "linear": lambda x: 1 - x, "constant": lambda x: 1}
    part = left[train["decay"]]((step - warmup) / max(steps - warmup, 1))
    return train["lr"] * (train["min_lr_frac"] + (1 - train["min_lr_frac"]) * part)


def train():
    import numpy as np, torch
    from safetensors.torch import load_file

    from model import Model

    about = json.loads((a.inputs / "inputs.json").read_text())
    shape, schedule, steps = about["model"], about["train"], about["steps"]
    lengths = json.loads((a.inputs / "evaluation.json").read_text())
    if 2 * len(about["inv_freq"]) != shape["head_dim"]:
        raise SystemExit("only a part of each head is rotated, which this model does not have")
    model = Model(shape["layers"], shape["hidden_size"], shape["heads"], shape["head_dim"], shape["vocab_size"],
                  about["inv_freq"], max([schedule["seq_len"], *lengths]), a.device, shape["norm_eps"],
                  about["attention_scale"], schedule["precision"] == "bf16")
    weights = model.prepared(load_file(a.inputs / "weights.safetensors", device=a.device))
    batches = np.memmap(a.inputs / "batches.u32", np.uint32, "r")
    batches = batches.reshape(steps, schedule["batch_size"], schedule["seq_len"])
    compute = torch.compile(model.loss) if a.compile else model.loss
    parameters = list(weights.values())
    optimiser = torch.optim.AdamW(parameters, lr=0.0, betas=schedule["betas"], eps=schedule["eps"],
                                  weight_decay=schedule["weight_decay"], fused=True)
    done, rows = min(a.steps or steps, steps), a.rows or schedule["batch_size"]
    if schedule["batch_size"] % rows:
        raise SystemExit(f"--rows {rows} does not divide the batch of {schedule['batch_size']} rows")
    losses, norms, start = [], [], time.perf_counter()
    for step in range(done):
        ids = torch.from_numpy(batches[step].astype(np.int64)).to(a.device)
        for group in optimiser.param_groups:
            group["lr"] = rate(schedule, steps, step)
        optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for part in ids.split(rows):
            share = compute(weights, part) * (rows / len(ids))
            share.backward()
            loss = loss + share.detach()
        # In f64: clip_grad_norm_ adds up a gradient's squares in f32, one after the other on a CPU, where the norm of
        # as many normal values as the embedding has (25.7 million) comes out 1.4e-3 too small (pytorch issue 169237).
        norms.append(torch.stack([p.grad.double().square().sum() for p in parameters]).sum().sqrt())
        torch.nn.utils.clip_grads_with_norm_(parameters, schedule["grad_clip"], norms[-1].float())
        optimiser.step()
        losses.append(loss)
    losses, norms = [[float(x) for x in values] for values in (losses, norms)]
    seconds = time.perf_counter() - start

    tokens = np.fromfile(a.inputs / "evaluation.u32", np.uint32).astype(np.int64)
    nll, at = {}, 0
    for length in lengths if done == steps else []:
        ids = torch.from_numpy(tokens[at:at + length]).to(a.device)[None]
        nll.setdefault(length, []).append(model.mean_loss(weights, ids))
        at += length
    theirs = {str(length): math.exp(sum(values) / len(values)) for length, values in nll.items()}

    record = json.loads((a.run / "run.json").read_text())
    carried_out_on = json.loads((a.run / "provenance.json").read_text())["device_class"]
    log = [json.loads(line) for line in (a.run / "train.jsonl").read_text().splitlines()]
    ours = {length: record["eval"][length]["ppl"] for length in theirs}
    worst_rate = max(abs(line["lr"] - rate(schedule, steps, line["step"] - log[0]["step"])) for line in log)
    if len(log) != steps or worst_rate > 1e-12:
        raise SystemExit(f"{a.run}: {len(log)} of {steps} steps, learning rates differ by {worst_rate:.1e}: not this run")
    log = log[:done]
    differences = [x["loss"] - y for x, y in zip(log, losses)]
    tail = differences[-max(done // 10, 1):]
    answer = {
        "config": record["config"], "seed": record["seed"], "torch": torch.__version__, "compile": a.compile,
        "device": torch.cuda.get_device_name() if a.device == "cuda" else "cpu", "precision": "bf16" if model.bf16 else "f32",
        "xp_device": carried_out_on, "xp_precision": schedule["precision"],
        "seconds": seconds, "steps": done, "of_steps": steps, "first_loss_difference": differences[0],
        "largest_loss_difference": max(map(abs, differences)), "last_tenth_mean_difference": sum(tail) / len(tail),
        "ppl": {length: {"xp": ours[length], "pytorch": theirs[length]} for length in theirs},
        "loss": {"xp": [x["loss"] for x in log], "pytorch": losses},
        "grad_norm": {"xp": [x["grad_norm"] for x in log], "pytorch": norms},
    }
    a.out.write_text(json.dumps(answer) + "\n")
    pairs = ", ".join(f"{length}: {ours[length]:.3f} and {theirs[length]:.3f}" for length in theirs)
    print(f"{record['config']} seed {record['seed']}: {done} of {steps} steps in {seconds:.0f} s; loss differs by {differences[0]:.1e} "
          f"at first, at most {answer['largest_loss_difference']:.1e}, {answer['last_tenth_mean_difference']:+.1e} in the "
          f"mean of the last tenth" + (f"; perplexity of xp and PyTorch at {pairs}" if pairs else ""))


def training_of(run):
    """What a run was trained as, by the declaration of its experiment; precision by itself."""
    points = json.loads((run.parents[1] / "lock.json").read_text())["declared"]["points"]
    if len(points) != 1:
        raise SystemExit(f"{run}: one of {len(points)} protocols of its experiment, which this does not tell apart")
    config = next(c for c in points[0]["configs"] if c["name"] == run.parent.name)
    training = points[0]["training"]
    precision = training["schedule"].pop("precision")
    return (training, config["vec_id"], run.name), precision


def beside():
    curve, run, other = json.loads(a.curve.read_text()), a.run.resolve(), a.other.resolve()
    if (curve["config"], f'seed-{curve["seed"]}') != (run.parent.name, run.name):
        raise SystemExit(f'{a.curve} is of {curve["config"]} seed {curve["seed"]}, not of {run}')
    (training, precision), (theirs, other_precision) = training_of(run), training_of(other)
    if training != theirs:
        raise SystemExit(f"{run} and {other} were trained as more than their precision apart")
    log = [json.loads(line) for line in (other / "train.jsonl").read_text().splitlines()][:curve["steps"]]
    curve["beside"] = {
        "precision": other_precision, "steps": len(log),
        "device": json.loads((other / "provenance.json").read_text())["device_class"],
        "loss": [line["loss"] for line in log], "grad_norm": [line["grad_norm"] for line in log],
    }
    a.curve.write_text(json.dumps(curve) + "\n")
    for name in ("xp", "pytorch"):
        differences = [abs(x - y) for x, y in zip(curve["beside"]["loss"], curve["loss"][name])]
        norms = [abs(x / y - 1) for x, y in zip(curve["beside"]["grad_norm"], curve["grad_norm"][name])]
        print(f"{other_precision} beside {name}: {len(log)} steps, loss differs by at most {max(differences):.1e}, "
              f"the gradient's norm by {max(norms):.1e} of it")


def plot():
    """For each run a panel: the curves, and below them how far xp's are from PyTorch's."""
    curves = [json.loads(path.read_text()) for path in a.curves]
    width, high, low, gap, between, left = 720, 200, 80, 72, 26, 76
    parts, y = [], 40
    for curve in curves:
        x = lambda i: left + (width - left - 20) * i / max(curve["steps"] - 1, 1)
        on = lambda device: device.split(",")[0]
        lines = [(f'xp, {curve["xp_precision"]} ({on(curve["xp_device"])})', curve["loss"]["xp"], "#1f4e9c", "")]
        if other := curve.get("beside"):
            lines.append((f'xp, {other["precision"]} ({on(other["device"])})', other["loss"], "#3a8f4d", ""))
        theirs = curve["loss"]["pytorch"]
        differences = [(name, [p - q for p, q in zip(ours, theirs)], colour, "") for name, ours, colour, _ in lines]
        lines.append((f'PyTorch, {curve["precision"]} ({on(curve["device"])})', theirs, "#c44e52", ' stroke-dasharray="5 3"'))
        parts.append(f'<text x="{left}" y="{y - 12}" font-weight="bold">{curve["config"]}, seed {curve["seed"]}</text>')
        for group, top, height in ((lines, y, high), (differences, y + high + between, low)):
            values = [v for _, series, _, _ in group for v in series]
            floor, ceiling = min(values), max(values)
            span = ceiling - floor or 1.0
            parts.append(f'<rect x="{left}" y="{top}" width="{width - left - 20}" height="{height}" fill="none" stroke="#ccc"/>'
                         f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{ceiling:.3g}</text>'
                         f'<text x="{left - 6}" y="{top + height}" text-anchor="end">{floor:.3g}</text>')
            for _, series, colour, dash in group:
                points = " ".join(f"{x(i):.1f},{top + height - height * (v - floor) / span:.1f}" for i, v in enumerate(series))
                parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.2"{dash}/>')
        for i, (name, _, colour, dash) in enumerate(lines):
            parts.append(f'<text x="{width - 30}" y="{y + 20 + 16 * i}" text-anchor="end" fill="{colour}">'
                         f'{name}{" (dashed)" if dash else ""}</text>')
        parts.append(f'<text x="{left}" y="{y + high + between - 8}" fill="#555">training loss of xp less that of PyTorch, nats</text>'
                     f'<text x="{width - 20}" y="{y + high + between + low + 16}" text-anchor="end">step {curve["steps"]}</text>')
        y += high + between + low + gap
    a.out.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" '
                     f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
                     + "".join(parts) + "</svg>\n")


{"train": train, "beside": beside, "plot": plot}[a.what]()
