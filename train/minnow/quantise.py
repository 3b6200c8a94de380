"""Weights moved onto the 4-bit grid of the packed format, with the error of every column passed on to the columns that are still free (GPTQ).

    python quantise.py IN OUT [--tokens 16384] [--plain] [--take ROUNDED]    # OUT: an f32 folder whose matrices lie on the grid, for `cachalot pack --weights int4`

The grid: groups of 32 along k, w = scale * q + offset with q in 0..15, both f16 times a power of two of the row. The smallest and the largest weight of every group
are kept at q = 0 and q = 15, so that anybody who takes the minimum and the maximum of a group finds the same grid again.
Rows that lie on their grid already stay as they are. `--plain` rounds to nearest instead; `--take` rounds nothing, but puts the rows that were trained on the grid into a folder that is rounded already."""

import argparse
import time

import torch

import convert
import converted
import mix
import source
from rounding import GROUP, grid, nearest, row_factor
from source import rms


def gptq(w, hessian, damp=0.01, block=64):
    """The weights [rows, k] on the grid, with the least error under `hessian` [k, k] = the sum of x x^T of the inputs.

    The grids are those of the weights as given; the columns are rounded in the order of their inputs' energy, so that those that matter most have no error to take."""
    f = row_factor(w)
    h = hessian.double().clone()
    dead = h.diagonal() == 0
    h[dead, dead] = 1
    energy = h.diagonal().float()
    x = (w / f).unflatten(-1, (-1, GROUP))
    s, o = grid(x, energy.view(-1, GROUP))
    least = torch.zeros_like(x).scatter_(-1, x.argmin(-1, keepdim=True), 1).flatten(-2).bool()
    most = torch.zeros_like(x).scatter_(-1, x.argmax(-1, keepdim=True), 1).flatten(-2).bool() & ~least
    order = energy.argsort(descending=True)
    s, o, least, most = (z[:, order] for z in (s.expand_as(x).flatten(-2), o.expand_as(x).flatten(-2), least, most))
    h = h[order][:, order] + damp * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True).float()
    x = (w / f)[:, order].clone()
    out = torch.empty_like(x)
    for at in range(0, x.shape[1], block):
        end = min(at + block, x.shape[1])
        err = torch.empty_like(x[:, at:end])
        for i in range(at, end):
            q = ((x[:, i] - o[:, i]) / s[:, i].clamp_min(1e-30)).round().clamp(0, 15)
            q = torch.where(least[:, i], 0.0, torch.where(most[:, i], 15.0, q))
            out[:, i] = torch.where(s[:, i] > 0, q * s[:, i], 0) + o[:, i]
            err[:, i - at] = (x[:, i] - out[:, i]) / inverse[i, i]
            x[:, i:end] -= err[:, i - at, None] * inverse[i, i:end][None]
        x[:, end:] -= err @ inverse[at:end, end:]
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order))
    return out[:, back] * f


def calibration(n, share=0.5):
    """Token lists, `share` of them conversations and the others text."""
    d = mix.Data(source.tokenizer(), 31)
    out, used = [], 0
    while used < share * n:
        out.append(d.next()["ids"])
        used += len(out[-1])
    rows = torch.cat((source.rows("wiki", 4, 1024, False), source.rows("books", 4, 1024, False)))
    return [torch.tensor(x) for x in out] + list(rows[torch.arange(len(rows)).view(2, -1).t().flatten()][: max(1, int((1 - share) * n) // 1024)])


INPUTS = {"a": ["self_attn.kv_a_proj_with_mqa", "self_attn.indexer.wk"], "qr": ["self_attn.q_b_proj", "self_attn.indexer.wq_b"], "o": ["self_attn.o_proj"], "m": ["mlp.gate_proj", "mlp.up_proj"], "down": ["mlp.down_proj"]}


def frequent(docs, n):
    """The ids of the n most frequent tokens of text and conversations."""
    text = [r for kind in ("wiki", "books") for r in source.rows(kind, 12, 1024, False)]
    return torch.cat([*docs, *text]).bincount().argsort(descending=True)[:n]


def quantise(t, c, docs, exact=0, report=print):
    """All matrices of the layers, the embedding and the head, in place; `exact` rows of the head stay in bf16."""
    x = [t["model.embed_tokens.weight"][i] for i in docs]
    angles = converted.angles(c, max(map(len, docs)))
    for layer in range(c["num_hidden_layers"]):
        began, b = time.time(), f"model.layers.{layer}."
        sums = {}

        def tap(_, **taps):
            for k, v in taps.items():
                if k in INPUTS:
                    sums[k] = sums.get(k, 0) + v.t() @ v
        for z in x:
            converted.block(t, c, layer, z, angles[: len(z)], tap=tap)
        for k, names in INPUTS.items():
            for n in names:
                w = t[b + n + ".weight"]
                done = (nearest(w) == w).all(-1, keepdim=True)  # rows that were trained on the grid
                if not done.all():
                    t[b + n + ".weight"] = torch.where(done, w, gptq(w, sums[k]))
        for n in ("self_attn.q_a_proj", "self_attn.kv_b_proj"):  # zeros and one other value: exact
            t[b + n + ".weight"] = nearest(t[b + n + ".weight"])
        x = [converted.block(t, c, layer, z, angles[: len(z)]) for z in x]
        report(f"layer {layer}: {time.time() - began:.0f} s")
    h = sum((y := rms(z, t["model.norm.weight"], c["rms_norm_eps"])).t() @ y for z in x)
    # embedding and head share one packed matrix, but for the rows of the control tokens and the head's rows of frequent tokens
    embed, head = t["model.embed_tokens.weight"], t["lm_head.weight"]
    own, kept = (embed != head).any(-1, keepdim=True), torch.zeros(len(head), 1, dtype=torch.bool)
    kept[frequent(docs, exact)] = True
    shared = gptq(head, h)
    t["model.embed_tokens.weight"] = torch.where(own, nearest(embed), shared)
    t["lm_head.weight"] = torch.where(own | kept, head.bfloat16().float(), shared)


TRAINED = ("self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


def take(t, d, c, docs, exact):
    """Puts into the rounded tensors `t` what was trained on the grid since, of the converted tensors `d`: four matrices and the value rows of each layer, and the
    control rows; and `exact` rows of the head in bf16."""
    for layer in range(c["num_hidden_layers"]):
        b = f"model.layers.{layer}."
        for n in TRAINED:
            t[b + n + ".weight"] = d[b + n + ".weight"]
        k = b + "self_attn.kv_a_proj_with_mqa.weight"
        trained = (nearest(d[k]) == d[k]).all(-1, keepdim=True)
        t[k] = torch.where(trained, d[k], t[k])
    embed, head = d["model.embed_tokens.weight"], d["lm_head.weight"]
    own, kept = (embed != head).any(-1), frequent(docs, exact)
    t["model.embed_tokens.weight"][own] = nearest(embed[own])
    for rows in (own, kept):
        t["lm_head.weight"][rows] = head[rows].bfloat16().float()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("dir")
    ap.add_argument("out")
    ap.add_argument("--tokens", type=int, default=16384)
    ap.add_argument("--conversations", type=float, default=0.5, help="share of conversations in the calibration")
    ap.add_argument("--exact", type=int, default=0, help="rows of the head, of the most frequent tokens, that stay in bf16")
    ap.add_argument("--plain", action="store_true")
    ap.add_argument("--take", metavar="ROUNDED", help="a folder that is rounded already, of an adapter whose queries, keys and embedding are nearly the same")
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    t, c = converted.load(a.dir)
    if a.take:
        d, (t, _) = t, converted.load(a.take)
        with torch.no_grad():
            take(t, d, c, calibration(a.tokens, a.conversations), a.exact)
    elif a.plain:
        differs = (t["model.embed_tokens.weight"] != t["lm_head.weight"]).any(-1)
        for n, w in t.items():
            if w.dim() == 2 and not n.endswith(("weights_proj.weight", "gate.weight")):
                t[n] = nearest(w) if "embed" not in n and "lm_head" not in n else torch.where(differs[:, None], w, nearest(w))
    else:
        with torch.no_grad():
            quantise(t, c, calibration(a.tokens, a.conversations), a.exact, lambda s: print(s, flush=True))
    convert.write(t, c, a.out, "f32")


if __name__ == "__main__":
    main()
