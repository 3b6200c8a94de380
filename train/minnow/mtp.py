"""The MTP module, distilled on what the model itself writes.

    python mtp.py DIR OUT [--base ROUNDED] [--tokens 150000] [--answers work/answers.jsonl]     # f32 checkpoint folders; resumable: the same command goes on

The module sees the final hidden state at position i and the embedding of token i + 1, and learns by KL the model's own distribution of token i + 2. It starts from the
last layer: its attention, and its MLP cut into shared and routed experts. Embedding and head are the model's, frozen. Documents are the conversations of the
fine-tuning and, where given, answers sampled from the model (answers.py). The end prints how often the module's first choice is the model's own."""

import argparse
import json
import math
import os
import time

import torch

import convert
import converted
import mix
import source
import checkpoint
import model as reference


def start(net, t, c):
    """The module's first weights, from the last layer."""
    b = f"model.layers.{c['num_hidden_layers'] - 1}."
    m, f, d = net.mtp, c["moe_intermediate_size"], c["hidden_size"]
    with torch.no_grad():
        for n, p in m.block.named_parameters():
            if b + n in t:
                p.copy_(t[b + n])
        gate, up, down = (t[f"{b}mlp.{x}_proj.weight"] for x in ("gate", "up", "down"))
        k = f * c["n_shared_experts"]
        moe = m.block.mlp
        for x, w in (("gate_proj", gate[:k]), ("up_proj", up[:k]), ("down_proj", down[:, :k])):
            getattr(moe.shared_experts, x).weight.copy_(w)
        for e in range(c["n_routed_experts"]):
            s = slice(k + e * f, k + (e + 1) * f)
            moe.w_gate_up[e].copy_(torch.cat((gate[s].t(), up[s].t()), 1))
            moe.w_down[e].copy_(down[:, s].t())
        moe.gate.weight.mul_(0.1)
        m.eh_proj.weight.copy_(torch.cat((torch.eye(d), torch.eye(d)), 1) + 0.01 * torch.randn(d, 2 * d))
        m.enorm.weight.fill_(float(t["model.embed_tokens.weight"].pow(2).mean().sqrt()))
        m.norm.weight.copy_(t["model.norm.weight"])


def documents(c, answers):
    """An endless stream of token lists."""
    d = mix.Data(source.tokenizer(), 91)
    own = []
    if answers:
        with open(answers, encoding="utf-8") as f:
            own = [json.loads(x)["ids"] for x in f]
    i = 0
    while True:
        yield own[i % len(own)] if own and i % 2 else d.next(512)["ids"]
        i += 1


def padded(docs):
    n = max(map(len, docs))
    return torch.tensor([x + [source.END] * (n - len(x)) for x in docs])


def module_hidden(net, h, ids):
    """Hidden states of the module for positions 0 .. n-2 of padded documents; h [batch, n, d]."""
    return net.mtp_hidden(h[:, :-1], ids[:, 1:])[0]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("dir")
    ap.add_argument("out")
    ap.add_argument("--tokens", type=int, default=150000)
    ap.add_argument("--answers")
    ap.add_argument("--base", help="the folder that the module is added to, where it is not DIR but DIR rounded")
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(5)
    t, c = converted.load(a.dir)
    c = c | {"num_nextn_predict_layers": 1}
    net = reference.Model(reference.Config.from_hf(c | {"num_hidden_layers": 1, "first_k_dense_replace": 1}))
    net.layers, net.c.num_hidden_layers = torch.nn.ModuleList(), c["num_hidden_layers"]  # the module alone, under its checkpoint names
    start(net, t, c)
    with torch.no_grad():
        net.embed_tokens.weight.copy_(t["model.embed_tokens.weight"])
    head = t["lm_head.weight"]
    own = [p for n, p in net.mtp.named_parameters() if "indexer" not in n]
    opt = torch.optim.Adam(own, lr=0, betas=(0.9, 0.95))
    step = tokens = 0
    state = a.out.rstrip("/") + ".state"
    if os.path.exists(state):
        x = torch.load(state)
        net.mtp.load_state_dict(x["module"])
        opt.load_state_dict(x["optimizer"])
        step, tokens = x["step"], x["tokens"]
    stream, saved, log, hits = documents(c, a.answers), time.time(), [], []
    for _ in range(step):  # the documents already seen
        next(stream)
    net.train()
    while tokens < a.tokens:
        docs, n = [], 0
        while n < 1024:
            docs.append(next(stream))
            n += len(docs[-1])
        lengths = [len(x) for x in docs]
        with torch.no_grad():
            h = converted.forward(t, c, torch.tensor(sum(docs, [])), lengths=lengths)
        ids = padded(docs)
        rows = torch.nn.utils.rnn.pad_sequence(h.split(lengths), batch_first=True)
        z = module_hidden(net, rows, ids)
        where = torch.arange(z.shape[1])[None] < torch.tensor(lengths)[:, None] - 1
        pick = torch.randperm(int(where.sum()))[:512]
        with torch.no_grad():
            y = rows[:, 1:][where][pick] @ head.t()  # the model's distribution one position later
        z = z[where][pick] @ head.t()
        loss = (y.softmax(-1) * (y.log_softmax(-1) - z.log_softmax(-1))).sum(-1).mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        for g in opt.param_groups:
            g["lr"] = a.lr * min(1, (step + 1) / 10) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * tokens / a.tokens)))
        opt.step()
        step, tokens = step + 1, tokens + n
        log.append(float(loss.detach()))
        hits.append(float((y.argmax(-1) == z.argmax(-1)).float().mean()))
        if step % 10 == 0:
            print(json.dumps({"step": step, "tokens": tokens, "KL": round(sum(log[-10:]) / 10, 3), "same first choice": round(sum(hits[-10:]) / 10, 3)}), flush=True)
        if time.time() - saved > 180 or tokens >= a.tokens:
            saved = time.time()
            torch.save({"module": net.mtp.state_dict(), "optimizer": opt.state_dict(), "step": step, "tokens": tokens}, state + ".tmp")
            os.replace(state + ".tmp", state)
    if a.base:
        t = converted.load(a.base)[0]
    convert.write(t | {n: x for n, x in checkpoint.hf_state(net).items() if n.startswith("model.layers.")}, c, a.out, "f32")


if __name__ == "__main__":
    main()
