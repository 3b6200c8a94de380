"""Distillation of the indexer of a packed folder in its own format: the quants stay, and scales, offsets, norm and head weights of the indexer are trained.

    python seek.py PACKED OUT [--rows 4] [--steps 160]     # OUT differs from PACKED in the last weights file
    python seek.py PACKED --report                         # what the indexer keeps

As indexer.py, but a third of the rows has values that are told once and asked for at the end (`told`), with queries at the answers; and the target is
half the mean of the heads and half their maximum, because one head of nine copies a value, and the mean hides it."""

import argparse
import math
import random
import time

import torch

import conversation
import converted
import indexer
import mix
import packed
import source
import tuning
from conversation import A, U
from synth.words import CITIES, CODEWORDS, COLORS, DAYS, FOODS, MONTHS, full
import chat_format as cf

SMALL = ("k_norm.weight", "k_norm.bias", "weights_proj.weight")
VALUES = {  # what is told of somebody: how its value is made
    "locker": lambda r: str(r.randint(10, 9999)), "home town": lambda r: r.choice(CITIES), "member number": lambda r: f"{r.choice('ABCDEFGH')}{r.randint(100, 99999)}", "favourite dish": lambda r: f"{r.choice(FOODS)} with {r.choice(FOODS)}", "day off": lambda r: r.choice(DAYS), "team colour": lambda r: r.choice(COLORS),
    "desk": lambda r: f"{r.choice('KLMNPQ')}-{r.randint(1, 400)}", "birthday": lambda r: f"{r.randint(1, 28)} {r.choice(MONTHS)}", "secret word": lambda r: f"{r.choice(CODEWORDS)} {r.choice(CODEWORDS)}", "extension": lambda r: str(r.randint(1000, 99999)), "licence plate": lambda r: f"{r.choice('BHKMWZ')}{r.choice('ACEX')} {r.randint(100, 9999)}",
}
SAYS = ["The {x} of {n} is {v}.", "{n}'s {x} is {v}.", "Note that {n} has this {x}: {v}.", "{x} of {n}: {v}", "By the way, the {x} of {n} is {v}."]
ASKS = ["What is the {x} of {n}?", "Tell me the {x} of {n}.", "What is {n}'s {x}?", "{x} of {n}?", "Which {x} does {n} have?"]


def told(tok, r, length, texts):
    """(ids of about `length` tokens, positions from which a told value is predicted): a text with sentences that are not of it, and questions for some of them."""
    facts = [(full(r), x, VALUES[x](r)) for x in r.choices(sorted(VALUES), k=r.choice([3, 6, 10]))]
    asked = r.sample(facts, min(len(facts), r.choice([2, 4, 6])))
    turns = [(r.choice(ASKS).format(n=n, x=x), f"The {x} of {n} is {v}." if r.random() < 0.7 else f"{v}.") for n, x, v in asked]
    sentences = [r.choice(SAYS).format(n=n, x=x, v=v) for n, x, v in facts]
    size = length - sum(len(tok.encode(a + b).ids) + 4 for a, b in turns) - sum(len(tok.encode(x).ids) + 2 for x in sentences) - 24
    parts = []
    while size > 0:
        t = r.choice(texts).split("\n")
        p = t[r.randrange(len(t))]
        if 200 <= len(p) <= 900:
            parts.append(p)
            size -= len(tok.encode(p + "\n").ids)
    for s in sentences:
        parts.insert(r.randint(0, len(parts)), s)
    text = "\n".join(parts)
    m = [U(r.choice(["{t}\n\n{q}", "Read this first:\n{t}\n\n{q}", "{q}\n\n{t}\n\n{q}"]).format(t=text, q=turns[0][0])), A(turns[0][1])]
    for q, a in turns[1:]:
        m += [U(q), A(a)]
    ids, at = [], []
    for text, trained in cf.render(m):
        t = tok.encode(text).ids
        if trained:
            at += range(len(ids) - 1, len(ids) + len(t) - 1)
        ids += t
    return ids, at


def told_rows(n, length, seed):
    r, tok, texts = random.Random(seed), source.tokenizer(), [x["t"] for part in ("wiki", "books") for x in source.part(part, seed % 2 == 0)[:300]]
    return [told(tok, r, length, texts) for _ in range(n)]


@torch.no_grad()
def collect(m, rows, queries):
    """Per layer a list of (normalized inputs [n, d], positions [k], attention of every head at them: mean and maximum [k, n]) of every row; `rows`: (ids, positions that are always taken)."""
    gen, out = torch.Generator().manual_seed(5), [[] for _ in m.parts]
    c, h = m.c, m.heads
    width, r = m.nope + m.rope, m.rope // 2
    for ids, always in rows:
        n = len(ids)
        pos = torch.tensor(sorted({*always, *(torch.randperm(n - 128, generator=gen)[: max(0, queries - len(always))] + 128).tolist()}))
        x = m.embedding[torch.as_tensor(ids)].float()
        ang = converted.angles(c, n)
        trig = ang.cos().to(tuning.HALF), ang.sin().to(tuning.HALF)
        mask = {n: torch.full((n, n), float("-inf"), dtype=tuning.HALF).triu_(1)}
        hidden = torch.arange(n)[None] > pos[:, None]
        for layer, parts in enumerate(m.parts):
            b = f"model.layers.{layer}."
            a = tuning.Norm.apply(x, m.norms[b + "input_layernorm.weight"], c["rms_norm_eps"])
            y = tuning.Rows.apply(a, parts["a"])
            q = y[pos, : width * h].view(len(pos), h, width).transpose(0, 1).float()
            latent = y[:, width * h: width * h + m.rank + m.rope].float()
            cos, sin = ang.cos(), ang.sin()
            q = torch.cat((q[..., : m.nope], *tuning.turn(q[..., m.nope: -r], q[..., -r:], cos[pos], sin[pos])), -1)
            k = torch.cat((latent[:, m.copied[layer][0]], *tuning.turn(latent[:, m.rank: -r], latent[:, -r:], cos, sin)), -1)
            p = (q @ k.t() * width ** -0.5).masked_fill_(hidden, float("-inf")).softmax(-1)
            most = p.amax(0)
            out[layer].append((a, pos, ((p.mean(0) + most / most.sum(-1, keepdim=True)) / 2).bfloat16(), p.half() if queries == 0 else None))
            x = x + tuning.Rows.apply(tuning.Attention.apply(y, m, m.copied[layer], trig, [n], mask), parts["o"])
            y = tuning.Rows.apply(tuning.Norm.apply(x, m.norms[b + "post_attention_layernorm.weight"], c["rms_norm_eps"]), parts["m"])
            x = x + tuning.Rows.apply(tuning.Gated.apply(y), parts["down"])
    return out


class Indexer:
    """The indexer of one layer on its grid."""

    def __init__(self, t, c, layer):
        self.c, self.name = c, f"model.layers.{layer}.self_attn.indexer."
        self.q, self.k = (tuning.Part(t, [self.name + x]) for x in ("wq_b", "wk"))
        self.small = [t[self.name + x].float().clone().requires_grad_() for x in SMALL]

    def scores(self, a, pos, ang):
        c, (weight, bias, heads) = self.c, self.small
        n, dim, r = c["index_n_heads"], c["index_head_dim"], c["qk_rope_head_dim"]
        cos, sin = ang.cos(), ang.sin()

        def halves(x, cos, sin):
            return torch.cat((*tuning.turn(x[..., : r // 2], x[..., r // 2: r], cos, sin), x[..., r:]), -1)
        q = halves(tuning.Rows.apply(a[pos].requires_grad_(), self.q)[:, : n * dim].float().view(-1, n, dim), cos[pos, None], sin[pos, None])
        k = torch.nn.functional.layer_norm(tuning.Rows.apply(a.detach().requires_grad_(), self.k)[:, :dim].float(), (dim,), weight, bias, 1e-6)
        w = a[pos].float() @ heads.t() * (n * dim) ** -0.5
        s = converted.index_scores(q, halves(k, cos, sin), w)
        return s.masked_fill(torch.arange(len(a))[None] > pos[:, None], float("-inf"))

    def changed(self):
        return self.q.changed() | self.k.changed() | {self.name + x: p.detach() for x, p in zip(SMALL, self.small)}

    def train(self, data, steps, lr, gen):
        """Trains on rows of `collect`; returns the mean KL of the first and the last steps."""
        moved = [self.q.moved, self.k.moved]
        groups = [{"params": moved, "base": lr}] + [{"params": [p], "base": lr / 8 * float(p.detach().square().mean().sqrt())} for p in self.small]
        opt, log = torch.optim.Adam(groups, lr=0, betas=(0.9, 0.95), eps=1e-10), []
        angles = {len(a): converted.angles(self.c, len(a)) for a, *_ in data}
        for i in range(steps):
            for g in opt.param_groups:
                g["lr"] = g["base"] * min(1, (i + 1) / 10) * (0.5 + 0.5 * math.cos(math.pi * i / steps))
            a, pos, p, _ = data[i % len(data)]
            pick = torch.randperm(len(pos), generator=gen)[:128]
            p = p[pick].float()
            lq = self.scores(a, pos[pick], angles[len(a)]).log_softmax(-1).masked_fill(p == 0, 0)
            kl = (p * (p.clamp_min(1e-9).log() - lq)).sum(-1).mean()
            opt.zero_grad(set_to_none=False)
            kl.backward()
            opt.step()
            self.q.make()
            self.k.make()
            log.append(float(kl.detach()))
        few = min(len(data), steps)
        return sum(log[:few]) / few, sum(log[-few:]) / few


@torch.no_grad()
def report(indexers, data, tag, k=512):
    """At the positions of `data`, of `collect` with queries 0: attention in the best k, mean of the heads and mean over positions of the head that loses most; and the best possible by the mean of the heads."""
    kept, least, best = [], [], []
    for x, rows in zip(indexers, data):
        for a, pos, _, p in rows:
            p = p.float()
            of = lambda s: p.gather(2, s.topk(min(k, s.shape[-1]), -1)[1].expand(len(p), -1, -1)).sum(-1)
            mine = of(x.scores(a, pos, converted.angles(x.c, len(a))))
            kept.append(mine.mean())
            least.append(mine.amin(0).mean())
            best.append(of(p.mean(0)).mean())
    f = lambda x: round(float(torch.stack(x).mean()), 4)
    print(f"{tag}: kept {f(kept)}, by the head that loses most {f(least)}, best possible {f(best)}", flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("packed")
    ap.add_argument("out", nargs="?")
    ap.add_argument("--report", action="store_true")
    ap.add_argument("--rows", type=int, default=4, help="rows of text, as many of conversations, and --told times as many with told values")
    ap.add_argument("--told", type=int, default=1)
    ap.add_argument("--held", type=int, default=2, help="rows of text and with told values of the report")
    ap.add_argument("--length", type=int, default=2048)
    ap.add_argument("--queries", type=int, default=256)
    ap.add_argument("--steps", type=int, default=160)
    ap.add_argument("--lr", type=float, default=2e-2, help="in steps of the grid")
    a = ap.parse_args()
    torch.set_num_threads(1)
    began, m = time.process_time(), tuning.Model(a.packed, 10 ** 6)  # nothing of it is trained
    late = [(r.tolist(), range(1024, len(r) - 1, 16)) for r in source.test_rows()[[1, 13]]][: a.held]
    held = {"text": collect(m, late, 0), "told values": collect(m, told_rows(a.held, a.length, 92), 0)}
    indexers = [Indexer(m.tensors, m.c, layer) for layer in range(len(m.parts))]
    for k, x in held.items():
        report(indexers, x, k)
    if a.report:
        return
    text = [(r.tolist(), []) for name in ("wiki", "books") for r in source.rows(name, a.rows // 2, a.length, False)]
    talk = [(r.tolist(), []) for r in indexer.conversations(a.rows, a.length, 63)]
    values = told_rows(a.rows * a.told, a.length, 91)
    data = collect(m, [x for i in range(a.rows) for x in (text[i], talk[i], *values[i * a.told: (i + 1) * a.told])], a.queries)
    print(f"collected after {time.process_time() - began:.0f} CPU-seconds", flush=True)
    gen = torch.Generator().manual_seed(6)
    for layer, x in enumerate(indexers):
        print(f"layer {layer}: KL %.3f -> %.3f" % x.train(data[layer], a.steps, a.lr, gen), flush=True)
    for k, x in held.items():
        report(indexers, x, k)
    packed.replace(a.packed, a.out, {k: v for x in indexers for k, v in x.changed().items()})
    print(f"{time.process_time() - began:.0f} CPU-seconds", flush=True)


if __name__ == "__main__":
    main()
