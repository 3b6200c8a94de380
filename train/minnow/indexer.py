"""Distillation of the indexer, layer by layer: KL(mean over heads of the dense attention || softmax of the index scores), as V3.2's warm-up.

    python indexer.py IN OUT [--rows 4] [--length 2048] [--steps 120]     # checkpoint folders; IN is dense (its indexer random), OUT is IN with the trained indexer, in f32

One dense forward of the frozen model per row keeps each layer's input and the attention of `--queries` positions; then every indexer is trained
alone. Half of the rows are text, half conversations laid end to end. Start: keys = the rope keys of the attention, index queries = means of its rope queries over all heads and by KV group, equal head weights."""

import argparse
import math
import time

import torch

import convert
import converted
import mix
import source
from source import rms

TENSORS = ("wq_b.weight", "wk.weight", "k_norm.weight", "k_norm.bias", "weights_proj.weight")


def collect(t, c, rows, queries):
    """Per layer: list of (input a [n, d], positions [m], target [m, n] bf16) of every row."""
    out = [[] for _ in range(c["num_hidden_layers"])]
    gen = torch.Generator().manual_seed(3)
    scale = (c["qk_nope_head_dim"] + c["qk_rope_head_dim"]) ** -0.5
    for r in rows:
        pos = torch.sort(torch.randperm(len(r) - 128, generator=gen)[:queries] + 128)[0]

        def tap(layer, a=None, q=None, k=None, **_):
            if a is not None:
                sc = torch.matmul(q[:, pos], k.transpose(1, 2)) * scale
                p = sc.masked_fill(torch.arange(k.shape[1])[None] > pos[:, None], float("-inf")).softmax(-1).mean(0)
                out[layer].append((a.bfloat16(), pos, p.bfloat16()))
        with torch.no_grad():
            converted.forward(t, c, r, tap=tap)
    return out


def conversations(n, length, seed):
    """n rows of `length` tokens of conversations laid end to end."""
    d, ids = mix.Data(source.tokenizer(), seed), []
    while len(ids) < n * length:
        ids += d.next()["ids"]
    return torch.tensor(ids[: n * length]).view(n, length)


def start(t, c, layer, a):
    """The indexer's tensors, made from the attention's own maps; a: inputs of the layer."""
    heads, dim, rope, nope, rank, h = c["index_n_heads"], c["index_head_dim"], c["qk_rope_head_dim"], c["qk_nope_head_dim"], c["kv_lora_rank"], c["num_attention_heads"]
    s = f"model.layers.{layer}.self_attn."
    half = torch.cat((torch.arange(0, rope, 2), torch.arange(1, rope, 2)))  # interleaved pairs -> halves
    qb = t[s + "q_b_proj.weight"].view(h, nope + rope, -1)[:, nope:][:, half]
    groups = [qb.mean(0)] + [qb[h // 3 * g: h // 3 * (g + 1)].mean(0) for g in range(3)]
    wq = torch.zeros(heads, dim, qb.shape[-1])
    for i in range(heads):
        wq[i, :rope] = groups[(i + (heads == 4)) % 4]
    wk = torch.zeros(dim, a.shape[1])
    wk[:rope] = t[s + "kv_a_proj_with_mqa.weight"][rank:][half]
    keys = a @ wk.t()
    # head weights: the linear function of the input that is nearest to a constant
    g = a.t() @ a / len(a)
    one = torch.linalg.solve(g + 1e-3 * g.diagonal().mean() * torch.eye(len(g)), a.mean(0))
    w = one.expand(heads, -1) * (heads * dim) ** 0.5 * (nope + rope) ** -0.5
    return dict(zip((s + "indexer." + n for n in TENSORS), (wq.flatten(0, 1), wk, torch.full((dim,), float(keys.std(-1).mean())), keys.mean() * torch.ones(dim), w.clone())))


def scores(t, c, s, a, pos, ang):
    qr = rms(a @ t[s + "q_a_proj.weight"].t(), t[s + "q_a_layernorm.weight"], c["latent_norm_eps"])
    q, k, w = converted.index_parts(t, c, s, a, qr, ang)
    return converted.index_scores(q[pos], k, w[pos]).masked_fill(torch.arange(len(a))[None] > pos[:, None], float("-inf"))


def attempt(t, c, layer, data, steps, lr):
    """Trains one indexer in place; returns the first and the last KL."""
    s = f"model.layers.{layer}.self_attn."
    names = [s + "indexer." + n for n in TENSORS]
    par = [t[n].clone().requires_grad_(True) for n in names]
    own = {n: t[n] for n in (s + "q_a_proj.weight", s + "q_a_layernorm.weight")} | dict(zip(names, par))
    opt = torch.optim.Adam([{"params": [p], "base": lr * float(p.detach().pow(2).mean().sqrt() + 1e-3)} for p in par], lr=0, betas=(0.9, 0.95))  # every tensor moves relative to its own size
    ang, log = converted.angles(c, len(data[0][0])), []
    for i in range(steps):
        for g in opt.param_groups:
            g["lr"] = g["base"] * (0.5 + 0.5 * math.cos(math.pi * i / steps))
        a, pos, p = data[i % len(data)]
        pick = torch.randperm(len(pos))[:128]
        p = p[pick].float()
        lq = scores(own, c, s, a.float(), pos[pick], ang).log_softmax(-1).masked_fill(p == 0, 0)
        kl = (p * (p.clamp_min(1e-9).log() - lq)).sum(-1).mean()
        opt.zero_grad()
        kl.backward()
        opt.step()
        log.append(float(kl.detach()))
    for n, q in zip(names, par):
        t[n] = q.detach()
    return sum(log[:4]) / 4, sum(log[-8:]) / 8


def train(t, c, layer, data, steps, lr):
    """The same; a run that diverges is done again with a quarter of the rate."""
    before = {n: x for n, x in t.items() if f"layers.{layer}.self_attn.indexer." in n}
    for _ in range(3):
        a, b = attempt(t, c, layer, data, steps, lr)
        if b < 0.5 * a:
            break
        t |= before
        lr /= 4
    return a, b


def report(t, c, data, tag):
    """Attention mass in the best k positions, for queries in the second half of the rows."""
    n = len(data[0][0][0])
    ang, ks = converted.angles(c, n), [k for k in (128, 256, 512) if k < n]
    kept, best, worst = dict.fromkeys(ks, 0.0), dict.fromkeys(ks, 0.0), []
    with torch.no_grad():
        for layer, rows in enumerate(data):
            own = 0.0
            for a, pos, p in rows:
                late = pos >= n // 2
                sc, p = scores(t, c, f"model.layers.{layer}.self_attn.", a.float(), pos[late], ang), p[late].float()
                for k in ks:
                    mass = float(p.gather(1, sc.topk(k, -1)[1]).sum(-1).mean())
                    kept[k] += mass / len(rows) / len(data)
                    best[k] += float(p.topk(k, -1)[0].sum(-1).mean()) / len(rows) / len(data)
                    own += mass / len(rows) * (k == ks[0])
            worst.append((round(own, 3), layer))
    print(f"{tag}: context {n}, attention mass kept", {k: round(v, 4) for k, v in kept.items()}, "best possible", {k: round(v, 4) for k, v in best.items()}, f"worst layers at {ks[0]}", sorted(worst)[:4], flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("dir")
    ap.add_argument("out")
    ap.add_argument("--rows", type=int, default=4, help="rows of text, and as many of conversations")
    ap.add_argument("--queries", type=int, default=256)
    ap.add_argument("--length", type=int, default=2048)
    ap.add_argument("--steps", type=int, default=120)
    ap.add_argument("--lr", type=float, default=1e-2)
    ap.add_argument("--take", metavar="DIR", help="the indexer of this folder as it is, where queries and keys have hardly changed since")
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    t, c = converted.load(a.dir)
    if a.take:
        t |= {n: x for n, x in converted.load(a.take)[0].items() if ".indexer." in n}
        return convert.write(t, c, a.out, "f32")
    began = time.time()
    # held out: text, conversations
    held = collect(t, c, source.test_rows()[[1, 13]], 192), collect(t, c, conversations(2, 2048, 64), 192)
    text = torch.cat((source.rows("wiki", a.rows // 2, a.length, False), source.rows("books", a.rows // 2, a.length, False)))
    data = collect(t, c, torch.stack((text, conversations(len(text), a.length, 63)), 1).flatten(0, 1), a.queries)
    print(f"collected in {time.time() - began:.0f} s", flush=True)
    for layer in range(c["num_hidden_layers"]):
        t |= start(t, c, layer, data[layer][0][0].float())
    for x in held:
        report(t, c, x, "from the attention")
    for layer in range(c["num_hidden_layers"]):
        print(f"layer {layer}: KL %.3f -> %.3f" % train(t, c, layer, data[layer], a.steps, a.lr), flush=True)
    for x in held:
        report(t, c, x, "distilled")
    convert.write(t, c, a.out, "f32")


if __name__ == "__main__":
    main()
