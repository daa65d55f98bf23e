"""xp's decoder in PyTorch, as someone who wants it fast would write it: fused attention and RMSNorm of PyTorch,
on a GPU bf16 autocast and projections fused as xp has them. Weights by Hugging Face's names, the head tied.
"""
import torch
import torch.nn.functional as F


class Model:
    """The decoder with given frequencies for sequences of up to `length` tokens."""

    def __init__(self, layers, hidden, heads, head_dim, vocab, inv_freq, length, device, eps=1e-6, scale=1.0, bf16=True):
        self.layers, self.hidden, self.heads, self.head_dim, self.vocab = layers, hidden, heads, head_dim, vocab
        self.device, self.eps, self.bf16 = device, eps, bf16 and device == "cuda"
        positions = torch.arange(length, dtype=torch.float32, device=device)
        angles = torch.outer(positions, torch.as_tensor(inv_freq, dtype=torch.float32, device=device))
        self.cos, self.sin = angles.cos().repeat(1, 2) * scale, angles.sin().repeat(1, 2) * scale

    def prepared(self, weights, trained=True):
        """The parameters: on a GPU q, k, v and gate, up are one matrix each."""
        if self.device == "cuda":
            for layer in range(self.layers):
                p = f"model.layers.{layer}."
                for fused, parts in (("self_attn.qkv_proj", [f"self_attn.{n}_proj" for n in "qkv"]),
                                     ("mlp.gate_up_proj", ["mlp.gate_proj", "mlp.up_proj"])):
                    weights[p + fused + ".weight"] = torch.cat([weights.pop(p + n + ".weight") for n in parts])
        return {name: tensor.requires_grad_(trained) for name, tensor in weights.items()}

    def autocast(self):
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bf16)

    def rotated(self, x):
        half, length = self.head_dim // 2, x.shape[-2]
        turned = x * self.cos[:length] + torch.cat((-x[..., half:], x[..., :half]), -1) * self.sin[:length]
        return turned.to(x.dtype)

    def project(self, w, x, prefix, names, fused):
        if self.device == "cuda":
            return F.linear(x, w[f"{prefix}{fused}_proj.weight"]).chunk(len(names), -1)
        return [F.linear(x, w[f"{prefix}{n}_proj.weight"]) for n in names]

    def hidden_states(self, w, ids):
        rows, length = ids.shape
        x = F.embedding(ids, w["model.embed_tokens.weight"])
        norm = lambda x, name: F.rms_norm(x, (self.hidden,), w[name + ".weight"], self.eps)
        for i in range(self.layers):
            p = f"model.layers.{i}."
            h = norm(x, p + "input_layernorm")
            q, k, v = (part.view(rows, length, self.heads, self.head_dim).transpose(1, 2)
                       for part in self.project(w, h, p + "self_attn.", "qkv", "qkv"))
            y = F.scaled_dot_product_attention(self.rotated(q), self.rotated(k), v, is_causal=True)
            y = y.transpose(1, 2).reshape(rows, length, self.heads * self.head_dim)
            x = x + F.linear(y, w[p + "self_attn.o_proj.weight"])
            h = norm(x, p + "post_attention_layernorm")
            gate, up = self.project(w, h, p + "mlp.", ("gate", "up"), "gate_up")
            x = x + F.linear(F.silu(gate) * up, w[p + "mlp.down_proj.weight"])
        return norm(x, "model.norm")

    def loss(self, w, ids):
        """Mean cross-entropy of rows of tokens, for a gradient."""
        with self.autocast():
            logits = F.linear(self.hidden_states(w, ids), w["model.embed_tokens.weight"])
            return F.cross_entropy(logits[:, :-1].reshape(-1, self.vocab), ids[:, 1:].reshape(-1))

    def mean_loss(self, w, ids):
        """The same of one sequence by chunks, as an evaluation would be written: no 3 GiB of logits."""
        with torch.inference_mode(), self.autocast():
            h = self.hidden_states(w, ids)[0, :-1]
            targets, total = ids[0, 1:], 0.0
            for i in range(0, len(targets), 1024):
                logits = F.linear(h[i:i + 1024], w["model.embed_tokens.weight"])
                total = total + F.cross_entropy(logits.float(), targets[i:i + 1024], reduction="sum")
        return float(total) / len(targets)
