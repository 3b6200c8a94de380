"""The forward of the converted model on a dict of tensors, as train/model.py computes it but open to taps and to rounded weights."""

import torch
import torch.nn.functional as F

import paths  # noqa: F401  (before checkpoint)
import checkpoint
from source import rms, rotate


def load(folder):
    """(float32 tensors by name, config) of a folder in any of its formats."""
    config, tensors = checkpoint.read(folder)
    return {n: x.float() for n, x in checkpoint.dequantised(tensors).items()}, config


def angles(c, n):
    r = c["qk_rope_head_dim"]
    return torch.outer(torch.arange(n, dtype=torch.float64), c["rope_theta"] ** (-torch.arange(0, r, 2, dtype=torch.float64) / r)).float()


def index_parts(t, c, p, a, qr, ang):
    """Index queries [n, heads, dim], keys [n, dim] and head weights [n, heads] (docs/model.md section 7, without the Hadamard rotation, which cancels)."""
    heads, dim, r = c["index_n_heads"], c["index_head_dim"], c["qk_rope_head_dim"]
    cos, sin = ang.cos(), ang.sin()

    def halves(x, cos, sin):
        u, v = x[..., : r // 2], x[..., r // 2: r]
        return torch.cat((u * cos - v * sin, u * sin + v * cos, x[..., r:]), -1)
    q = halves((qr @ t[p + "indexer.wq_b.weight"].t()).view(-1, heads, dim), cos[:, None], sin[:, None])
    k = halves(F.layer_norm(a @ t[p + "indexer.wk.weight"].t(), (dim,), t[p + "indexer.k_norm.weight"], t[p + "indexer.k_norm.bias"], 1e-6), cos, sin)
    return q, k, (a @ t[p + "indexer.weights_proj.weight"].t()) * (heads * dim) ** -0.5


def index_scores(q, k, w):
    return (F.relu(torch.einsum("chd,td->cht", q, k)) * w[..., None]).sum(1)


def attention(t, c, layer, a, ang, topk=0, tap=None, lengths=None):
    n, h = a.shape[0], c["num_attention_heads"]
    nope, rope, dv, rank, eps = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["kv_lora_rank"], c["latent_norm_eps"]
    p = f"model.layers.{layer}.self_attn."
    qr = rms(a @ t[p + "q_a_proj.weight"].t(), t[p + "q_a_layernorm.weight"], eps)
    q = (qr @ t[p + "q_b_proj.weight"].t()).view(n, h, nope + rope).transpose(0, 1)
    q = torch.cat((q[..., :nope], rotate(q[..., nope:], ang)), -1)
    kv = a @ t[p + "kv_a_proj_with_mqa.weight"].t()
    kr = rotate(kv[:, rank:], ang)
    lat = rms(kv[:, :rank], t[p + "kv_a_layernorm.weight"], eps)
    kv = (lat @ t[p + "kv_b_proj.weight"].t()).view(n, h, nope + dv).transpose(0, 1)
    k, v = torch.cat((kv[..., :nope], kr.expand(h, n, rope)), -1), kv[..., nope:]
    if tap:
        tap(layer, a=a, qr=qr, q=q, k=k, lat=lat)
    scale = (nope + rope) ** -0.5
    if topk and n > topk:
        iq, ik, iw = index_parts(t, c, p, a, qr, ang)
        o = torch.empty(h, n, dv)
        for s in range(0, n, 256):
            e = min(s + 256, n)
            allowed = torch.arange(e)[None] <= torch.arange(s, e)[:, None]
            if e > topk:
                score = index_scores(iq[s:e], ik[:e], iw[s:e]).float().masked_fill(~allowed, float("-inf"))
                best = score.sort(dim=-1, descending=True, stable=True)[1][:, :topk]  # of equal scores the lower position, as docs/model.md has it
                allowed &= torch.zeros_like(allowed).scatter_(1, best, True)
            o[:, s:e] = F.scaled_dot_product_attention(q[None, :, s:e], k[None, :, :e], v[None, :, :e], attn_mask=allowed, scale=scale)[0]
    else:
        v = F.pad(v, (0, nope + rope - dv))  # equal widths: the fused kernel wants them
        parts = zip(*(y[None].split(lengths or [n], 2) for y in (q, k, v)))
        o = torch.cat([F.scaled_dot_product_attention(*z, is_causal=True, scale=scale)[0] for z in parts], 1)[..., :dv]
    o = o.transpose(0, 1).flatten(1)
    if tap:
        tap(layer, o=o)
    return o @ t[p + "o_proj.weight"].t()


def mlp(t, p, a):
    return F.silu(a @ t[p + "gate_proj.weight"].t()) * (a @ t[p + "up_proj.weight"].t())


def block(t, c, layer, x, ang, topk=0, tap=None, lengths=None):
    b = f"model.layers.{layer}."
    x = x + attention(t, c, layer, rms(x, t[b + "input_layernorm.weight"], c["rms_norm_eps"]), ang, topk, tap, lengths)
    a = rms(x, t[b + "post_attention_layernorm.weight"], c["rms_norm_eps"])
    m = mlp(t, b + "mlp.", a)
    if tap:
        tap(layer, m=a, down=m)
    return x + m @ t[b + "mlp.down_proj.weight"].t()


def forward(t, c, ids, topk=0, tap=None, lengths=None):
    """Hidden states after the final norm of one row, or of documents of these lengths laid end to end. topk > 0: sparse attention with the indexer, of one row."""
    x = t["model.embed_tokens.weight"][ids]
    ang = torch.cat([angles(c, n) for n in lengths or [len(ids)]])
    for layer in range(c["num_hidden_layers"]):
        x = block(t, c, layer, x, ang, topk, tap, lengths)
    return rms(x, t["model.norm.weight"], c["rms_norm_eps"])


def main():
    """python converted.py DIR [LENGTH[:TOPK]]...: loss of held-out text (two rows of 2048 unless said), dense or with the indexer's best TOPK."""
    import sys
    import source
    torch.set_num_threads(1)
    t, c = load(sys.argv[1])
    for spec in sys.argv[2:] or ["2048"]:
        length, topk = ([int(x) for x in spec.split(":")] + [0])[:2]
        rows = source.test_rows()[[3, 15]] if length == 2048 else torch.cat((source.rows("wiki", 1, length), source.rows("books", 1, length)))
        with torch.no_grad():
            ls = torch.stack([source.losses(forward(t, c, r, topk), t["lm_head.weight"], r) for r in rows])
        print(f"{sys.argv[1]} {spec}: loss {ls.mean():.4f}, second half {ls[:, length // 2:].mean():.4f}", flush=True)


if __name__ == "__main__":
    main()
