"""The source with LoRA on every matrix, on documents of any length laid end to end; and batched sampling from it.

Control tokens of DeepSeek's format sit on unused ids below 17. Their input embeddings and their rows of the output head are trained apart from the (tied)
embedding of the source, because the converted checkpoint keeps the two apart."""

import math
import os

import torch
import torch.nn.functional as F

import paths  # noqa: F401  (before checkpoint)
import checkpoint
import source
from rounding import FORMATS, Grid, straight_through
from source import CONTROL

MATRICES = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
TINY = 2.0 ** -17  # the factor of the latents' rows in the conversion
ROUNDED = {  # matrices whose rows the conversion takes over as they are, but for that factor
    "attn_v": "self_attn.kv_a_proj_with_mqa", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


class Model:
    """The frozen source; `lora` and the control rows are the only trained tensors.

    All of it is float32: on CPUs without AMX, PyTorch's products of bf16 are no faster (here 82 against 156 GFLOPS a core). With AMX they are twenty times
    faster, and `half` computes the source without its adapter that way."""

    def __init__(self, rank=32, seed=1, half=False):
        t, self.h = source.load()
        self.rank = rank
        self.E = t["token_embd.weight"]
        self.w = {k: v for k, v in t.items() if k != "token_embd.weight"}
        g = torch.Generator().manual_seed(seed)
        self.lora = {}
        for layer in range(self.h["layers"]):
            for m in MATRICES:
                o, i = t[f"blk.{layer}.{m}.weight"].shape
                self.lora[f"blk.{layer}.{m}.a"] = ((torch.rand(rank, i, generator=g) * 2 - 1) * math.sqrt(3 / i)).requires_grad_(True)
                self.lora[f"blk.{layer}.{m}.b"] = torch.zeros(o, rank).requires_grad_(True)
        self.rounded = {}  # matrices on the 4-bit grid, see `round`
        self.grids = {}  # matrices of which scales and offsets are trained and not an adapter
        self.half = {k: v.bfloat16() for k, v in t.items() if v.dim() == 2} if half else {}
        self.inp = self.E[:CONTROL].clone().requires_grad_(True)   # input rows of the control tokens
        self.out = self.E[:CONTROL].clone().requires_grad_(True)   # output rows
        self.theta = self.h["theta"] ** (-torch.arange(self.h["hd"] // 2, dtype=torch.float64) * 2 / self.h["hd"])

    def parameters(self):
        """The trained tensors: those of grids first, the two of control rows last."""
        return [*(g.moved for g in self.grids.values()), *(x for k, x in self.lora.items() if k[:-2] not in self.grids), self.inp, self.out]

    def start(self, soft):
        """Control rows from the embeddings that `control.py` found; <think> begins as </think>."""
        with torch.no_grad():
            for i, v in torch.load(soft).items():
                self.inp[i] = v
            self.inp[5] = self.inp[6]

    def load(self, path):
        from safetensors import safe_open
        with torch.no_grad(), safe_open(path, "pt") as f:
            for k in f.keys():
                if k.endswith(".quants"):
                    k = k.removesuffix(".quants")
                    self.rounded[k] = Grid(*(f.get_tensor(f"{k}.{x}") for x in ("quants", "scale", "offset"))).weights()
                elif not k.endswith((".scale", ".offset")):
                    (self.inp if k == "control.in" else self.out if k == "control.out" else self.lora[k]).copy_(f.get_tensor(k).float())
            if "round" in (f.metadata() or {}):
                self.round(f.metadata()["round"])

    def save(self, path, **meta):
        """The adapter in bf16, or in f32 where its sum with the weights is rounded; of grids, the quants and the trained scales and offsets."""
        from safetensors.torch import save_file
        x = {k: v.detach() if self.rounded else v.detach().bfloat16() for k, v in self.lora.items() if k[:-2] not in self.grids} | {"control.in": self.inp.detach().float(), "control.out": self.out.detach().float()}
        for k, g in self.grids.items():
            s, o = g.numbers()
            x |= {k + ".quants": g.quants.byte(), k + ".scale": s.detach().half(), k + ".offset": o.detach().half()}
        save_file(x, path + ".tmp", metadata={"rank": str(self.rank)} | {k: str(v) for k, v in meta.items()})
        os.replace(path + ".tmp", path)

    def merged(self):
        """The source's tensors (float32) with the adapter added, as `convert.py` takes them. The control rows are left to the caller."""
        t, _ = source.load()
        with torch.no_grad():
            for layer in range(self.h["layers"]):
                for m in MATRICES:
                    k = f"blk.{layer}.{m}"
                    t[k + ".weight"] = self.rounded[k] if k in self.rounded else t[k + ".weight"] + self.lora[k + ".b"] @ self.lora[k + ".a"]
        return t

    @torch.no_grad()
    def round(self, name):
        """Rounds the sums of weight and adapter of the matrices `ROUNDED` to a format. `linear` multiplies by them from then on; training calls this before every step."""
        for layer in range(self.h["layers"]):
            for m in ROUNDED:
                k = f"blk.{layer}.{m}"
                self.rounded[k] = FORMATS[name](self.w[k + ".weight"] + self.lora[k + ".b"] @ self.lora[k + ".a"])

    def train_grids(self, folder):
        """Takes the matrices `ROUNDED` from a folder of quantise.py, in the place of weights and adapter, to train their scales and offsets."""
        _, t = checkpoint.read(folder)
        for layer in range(self.h["layers"]):
            for m, n in ROUNDED.items():
                w = t[f"model.layers.{layer}.{n}.weight"].float()
                if m == "attn_v":  # the first rows of the latent, times 2^-17
                    w = w[: self.h["kv"] * self.h["hd"]] / TINY
                self.grids[f"blk.{layer}.{m}"] = Grid.of(w)

    def plain(self, a, k):
        """a times a matrix of the source."""
        if k + ".weight" in self.half:
            return F.linear(a.bfloat16(), self.half[k + ".weight"]).float()
        return F.linear(a, self.E if k == "token_embd" else self.w[k + ".weight"])

    def linear(self, a, k, adapt):
        if not adapt:
            return self.plain(a, k)
        if k in self.grids:
            return F.linear(a, self.grids[k].weights())
        if k in self.rounded:
            return straight_through(a, self.rounded[k], self.lora[k + ".a"], self.lora[k + ".b"])
        return F.linear(a, self.w[k + ".weight"]) + F.linear(F.linear(a, self.lora[k + ".a"]), self.lora[k + ".b"])

    def norm(self, x, k):
        return source.rms(x, self.w[k + ".weight"], self.h["eps"])

    def embed(self, ids, adapt):
        x = F.embedding(ids, self.E)
        if adapt:
            x = torch.where((ids < CONTROL)[..., None], F.embedding(ids.clamp(max=CONTROL - 1), self.inp), x)
        return x

    def hidden(self, ids, lengths, adapt=True):
        """Final hidden states [tokens, d] of documents laid end to end, each attending to itself only."""
        h = self.h
        ids = torch.as_tensor(ids)
        ang = torch.outer(torch.cat([torch.arange(n) for n in lengths]).double(), self.theta).float()[None]
        cos, sin = ang.cos(), ang.sin()
        x = self.embed(ids, adapt)

        def rope(z):
            a, b = z[..., 0::2], z[..., 1::2]
            return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)

        g = h["heads"] // h["kv"]
        for layer in range(h["layers"]):
            b = f"blk.{layer}."
            a = self.norm(x, b + "attn_norm")
            q, k, v = (self.linear(a, b + "attn_" + m, adapt).view(len(ids), -1, h["hd"]).transpose(0, 1) for m in "qkv")
            q, k, v = rope(q), rope(k).repeat_interleave(g, 0), v.repeat_interleave(g, 0)
            o = [F.scaled_dot_product_attention(*z, is_causal=True)[0] for z in zip(*(y[None].split(list(lengths), 2) for y in (q, k, v)))]
            x = x + self.linear(torch.cat(o, 1).transpose(0, 1).flatten(1), b + "attn_output", adapt)
            a = self.norm(x, b + "ffn_norm")
            x = x + self.linear(F.silu(self.linear(a, b + "ffn_gate", adapt)) * self.linear(a, b + "ffn_up", adapt), b + "ffn_down", adapt)
        return self.norm(x, "output_norm")

    def logits(self, z, adapt=True):
        if not adapt:
            return self.plain(z, "token_embd")
        return torch.cat((F.linear(z, self.out), F.linear(z, self.E[CONTROL:])), -1)

    @torch.no_grad()
    def sample(self, prompts, n, temperature=0.7, top_p=0.9, stop=source.END, seed=1, adapt=False):
        """Answers to a batch of prompts (left padding, key/value cache): (tokens without the stop token, whether it stopped)."""
        h, batch = self.h, len(prompts)
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
        pad = torch.tensor([longest - len(p) for p in prompts])
        keys = [torch.zeros(batch, h["kv"], longest + n, h["hd"]) for _ in range(h["layers"])]
        values = [torch.zeros_like(k) for k in keys]
        gen = torch.Generator().manual_seed(seed)
        done, out = torch.zeros(batch, dtype=torch.bool), [[] for _ in prompts]
        at, g = 0, h["heads"] // h["kv"]
        for _ in range(n):
            s = ids.shape[1]
            end = at + s
            ang = ((torch.arange(at, end)[None] - pad[:, None]).clamp(min=0)[..., None].double() * self.theta).float()[:, None]
            cos, sin = ang.cos(), ang.sin()
            mask = (torch.arange(end)[None, None] <= torch.arange(at, end)[None, :, None]) & (torch.arange(end)[None, None] >= pad[:, None, None])
            mask[:, :, 0] |= ~mask.any(-1)
            x = self.embed(ids, adapt)

            def rope(z):
                a, b = z[..., 0::2], z[..., 1::2]
                return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
            for layer in range(h["layers"]):
                b = f"blk.{layer}."
                a = self.norm(x, b + "attn_norm")
                q, k, v = (self.linear(a, b + "attn_" + m, adapt).view(batch, s, -1, h["hd"]).transpose(1, 2) for m in "qkv")
                keys[layer][:, :, at:end], values[layer][:, :, at:end] = rope(k), v
                q = rope(q).reshape(batch, h["kv"], g * s, h["hd"])  # the query heads of a key head as rows of one product
                p = (q @ keys[layer][:, :, :end].transpose(-1, -2)) * h["hd"] ** -0.5
                p = p.view(batch, h["kv"], g, s, end).masked_fill(~mask[:, None, None], float("-inf")).softmax(-1)
                o = (p.view(batch, h["kv"], g * s, end) @ values[layer][:, :, :end]).view(batch, h["heads"], s, h["hd"])
                x = x + self.linear(o.transpose(1, 2).flatten(2), b + "attn_output", adapt)
                a = self.norm(x, b + "ffn_norm")
                x = x + self.linear(F.silu(self.linear(a, b + "ffn_gate", adapt)) * self.linear(a, b + "ffn_up", adapt), b + "ffn_down", adapt)
            z = self.logits(self.norm(x[:, -1], "output_norm"), adapt)
            at = end
            v, i = (z / max(temperature, 1e-4)).softmax(-1).topk(64, -1)
            v = torch.where(v.cumsum(-1) - v > top_p, 0, v)
            ids = i.gather(1, torch.multinomial(v, 1, generator=gen))
            for j, y in enumerate(ids[:, 0].tolist()):
                if y == stop:
                    done[j] = True
                elif not done[j]:
                    out[j].append(y)
            if done.all():
                break
        return list(zip(out, done.tolist()))
