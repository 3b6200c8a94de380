"""The source with its adapter -> a checkpoint of exactly the DeepSeek-V3.2 architecture, without training.

    python convert.py OUT [--adapter A.safetensors] [--soft SOFT.pt] [--rope 192] [--nope 2] [--index-heads 2] [--dtype bf16]

Keys: the 3 KV heads x 32 rotary pairs of the source are 96 complex numbers. MLA has one shared rope key whose frequencies are a geometric series, and a per-head
key without position that comes out of the latent. Per frequency the 3 heads are mixed by a unitary matrix (it commutes with the rotation), so that as much as
possible of the score lies in the first component. Then every component gets one slot - a rope pair with a near frequency, or a nope pair (frequency 0) - by
the assignment that costs least (measured energy x mean squared phase error over distances, log-uniform up to 4096).

Values: the latent holds W_V x (192 numbers) and the nope components. kv_a_layernorm must not normalise it: the rows of kv_a_proj are scaled by 2^-17,
far below sqrt(eps), so that the norm is a multiplication by eps^-0.5, which its weight takes back. The query latent does the same, and it is the layer's
input itself: q_a is 2^-17 times the identity and q_b the whole map, because one dense matrix survives rounding to 4 bits better than two factors, of which one
is mostly zeros."""

import argparse
import json
import math
import os

import numpy as np
import torch

import adapter
import paths  # noqa: F401  (before checkpoint)
import source
import checkpoint
import fp8
from adapter import TINY


def statistics(t, h, ids):
    """Per layer: E|q|^2 of each KV group and pair [layers, 3, 32], and E k k^H of each pair [layers, 32, 3, 3]."""
    n_layers, pairs, groups = h["layers"], h["hd"] // 2, h["kv"]
    energy = torch.zeros(n_layers, groups, pairs, dtype=torch.float64)
    cov = torch.zeros(n_layers, pairs, groups, groups, dtype=torch.complex128)

    def tap(layer, q, k):
        z = torch.view_as_complex(q.double().unflatten(-1, (pairs, 2)).contiguous())
        energy[layer] += z.abs().pow(2).mean(1).view(groups, -1, pairs).sum(1)
        z = torch.view_as_complex(k.double().unflatten(-1, (pairs, 2)).contiguous())
        cov[layer] += torch.einsum("gsp,fsp->pgf", z, z.conj()) / z.shape[1]
    with torch.no_grad():
        for r in ids:
            source.forward(t, h, r, tap)
    return energy / len(ids), cov / len(ids)


def source_statistics(t, h):
    """The statistics over four rows of 1024 tokens, kept in the working folder."""
    p = source.path("statistics.pt")
    if not os.path.exists(p):
        torch.save(statistics(t, h, torch.cat((source.rows("wiki", 2, 1024, False), source.rows("books", 2, 1024, False)))), p)
    return torch.load(p)


def phase_error(f, g, reach=4096):
    """Mean |exp(i d f) - exp(i d g)|^2 over distances d, log-uniform from 1 to `reach`."""
    d = np.unique(np.round(np.exp(np.linspace(0, math.log(reach), 400))))
    return (2 - 2 * np.cos(d * (f[..., None] - g[..., None]))) @ (1 / d / (1 / d).sum())


def plan(energy, cov, h, rope, nope, theta):
    """Per layer: mixing matrices [32, 3, 3] and the slot of every component [32, 3]; slots from rope / 2 on are nope pairs."""
    from scipy.optimize import linear_sum_assignment
    pairs, groups = h["hd"] // 2, h["kv"]
    slots = np.concatenate((theta ** (-np.arange(rope // 2) * 2 / rope), np.zeros(nope // 2)))
    error = phase_error((h["theta"] ** (-np.arange(pairs) / pairs))[:, None], slots[None])
    out = []
    for layer in range(h["layers"]):
        mix, weight = np.zeros((pairs, groups, groups), complex), np.zeros((pairs, groups))
        for j in range(pairs):
            d = np.sqrt(energy[layer, :, j].numpy() + 1e-12)  # keys scaled by the energy of their queries
            w, u = np.linalg.eigh(d[:, None] * cov[layer, j].numpy() * d[None])
            mix[j], weight[j] = u[:, ::-1].conj().T * d[None], w[::-1]
        _, slot = linear_sum_assignment((weight[:, :, None] * error[:, None]).reshape(pairs * groups, -1))
        out.append((mix, slot.reshape(pairs, groups)))
    return out


def pair_rows(c):
    """A complex coefficient as the real 2x2 block that multiplies (x, y)."""
    return np.array([[c.real, -c.imag], [c.imag, c.real]])


def attention_maps(t, h, layer, mix, slot, rope, nope):
    """(queries [heads * (nope + rope), d], keys [rope/2 + nope/2, 2, d]) of one layer, as maps of its input."""
    pairs, groups, heads, d, hd = h["hd"] // 2, h["kv"], h["heads"], h["d"], h["hd"]
    wk = t[f"blk.{layer}.attn_k.weight"].double().numpy().reshape(groups, pairs, 2, d)
    key = np.zeros(((rope + nope) // 2, 2, d))
    query = np.zeros((heads, (rope + nope) // 2, 2, heads, pairs, 2))  # from the source's query
    for j in range(pairs):
        back = np.linalg.inv(mix[j]).conj().T
        for k in range(groups):
            i = slot[j, k]
            key[i] = sum(pair_rows(mix[j][k, g]) @ wk[g, j] for g in range(groups))
            for q in range(heads):
                query[q, i, :, q, j] = pair_rows(back[k, q // (heads // groups)])
    query = query.reshape(heads, (rope + nope) // 2, 2, heads * hd) * math.sqrt((nope + rope) / hd)
    parts = query[:, rope // 2:].reshape(heads, nope, heads * hd), query[:, : rope // 2].reshape(heads, rope, heads * hd)
    return np.concatenate(parts, 1).reshape(heads * (nope + rope), -1) @ t[f"blk.{layer}.attn_q.weight"].double().numpy(), key


def convert(t, h, stats, rope=192, nope=2, theta=1e5, rank=None, index_heads=2, index_topk=512):
    """(tensors by Hugging Face names, config)."""
    groups, heads, d, hd, eps = h["kv"], h["heads"], h["d"], h["hd"], h["eps"]
    values = groups * hd
    rank, index_dim = rank or -(-(values + nope) // 32) * 32, 1 << (rope - 1).bit_length()
    more = -h["vocab"] % 128 or 128  # 21 bytes that the vocabulary lacks, then padding to blocks of 128
    config = dict(architectures=["DeepseekV32ForCausalLM"], model_type="deepseek_v32", vocab_size=h["vocab"] + more, hidden_size=d, intermediate_size=h["ff"], moe_intermediate_size=128, num_hidden_layers=h["layers"],
                  first_k_dense_replace=h["layers"], num_attention_heads=heads, num_key_value_heads=heads, n_routed_experts=4, n_shared_experts=2, num_experts_per_tok=2, n_group=1, topk_group=1, norm_topk_prob=True,
                  routed_scaling_factor=1.0, moe_layer_freq=1, scoring_func="sigmoid", topk_method="noaux_tc", q_lora_rank=d, kv_lora_rank=rank, qk_nope_head_dim=nope, qk_rope_head_dim=rope, v_head_dim=hd,
                  index_n_heads=index_heads, index_head_dim=index_dim, index_topk=index_topk, num_nextn_predict_layers=0, rms_norm_eps=eps, latent_norm_eps=eps, rope_theta=theta, rope_scaling=None, max_position_embeddings=h["context"],
                  hidden_act="silu", attention_bias=False, tie_word_embeddings=False, bos_token_id=0, eos_token_id=source.END, pad_token_id=source.END, torch_dtype="bfloat16")
    # new tokens: the mean embedding, and the logits of a control token that is never written
    E = t["token_embd.weight"]
    out = {"model.embed_tokens.weight": torch.cat((E, E.mean(0).expand(more, -1))), "lm_head.weight": torch.cat((E, E[13].expand(more, -1))), "model.norm.weight": t["output_norm.weight"]}
    gen = torch.Generator().manual_seed(1)
    f = lambda x: torch.from_numpy(np.ascontiguousarray(x)).float()
    for layer, (mix, slot) in enumerate(plan(*stats, h, rope, nope, theta)):
        b, p, s = f"blk.{layer}.", f"model.layers.{layer}.", f"model.layers.{layer}.self_attn."
        query, key = attention_maps(t, h, layer, mix, slot, rope, nope)
        latent = np.concatenate((t[b + "attn_v.weight"].double().numpy(), key[rope // 2:].reshape(nope, d), np.zeros((rank - values - nope, d))))
        up = np.zeros((heads, nope + hd, rank))
        for q in range(heads):
            g = q // (heads // groups)
            up[q, :nope, values: values + nope] = np.eye(nope)
            up[q, nope:, g * hd: (g + 1) * hd] = np.eye(hd)
        back = math.sqrt(eps) / TINY
        out |= {p + "input_layernorm.weight": t[b + "attn_norm.weight"], p + "post_attention_layernorm.weight": t[b + "ffn_norm.weight"],
                s + "q_a_proj.weight": torch.eye(d) * TINY, s + "q_a_layernorm.weight": torch.full((d,), back), s + "q_b_proj.weight": f(query),
                s + "kv_a_proj_with_mqa.weight": f(np.concatenate((latent * TINY, key[: rope // 2].reshape(rope, d)))), s + "kv_a_layernorm.weight": torch.full((rank,), back),
                s + "kv_b_proj.weight": f(up.reshape(heads * (nope + hd), rank)), s + "o_proj.weight": t[b + "attn_output.weight"],
                p + "mlp.gate_proj.weight": t[b + "ffn_gate.weight"], p + "mlp.up_proj.weight": t[b + "ffn_up.weight"], p + "mlp.down_proj.weight": t[b + "ffn_down.weight"],
                # the indexer is random until indexer.py trains it
                s + "indexer.wq_b.weight": torch.randn(index_heads * index_dim, d, generator=gen) * d ** -0.5, s + "indexer.wk.weight": torch.randn(index_dim, d, generator=gen) * d ** -0.5,
                s + "indexer.k_norm.weight": torch.ones(index_dim), s + "indexer.k_norm.bias": torch.zeros(index_dim), s + "indexer.weights_proj.weight": torch.randn(index_heads, d, generator=gen) * d ** -0.5}
    return out, config


GENERATION = {"bos_token_id": 0, "eos_token_id": source.END, "do_sample": True, "temperature": 0.3, "top_p": 0.95}


def write(tensors, config, folder, dtype="bf16"):
    """A checkpoint folder in f32, bf16 or fp8 (blocks of 128 x 128, power-of-two scales), with tokenizer and generation config."""
    config, out = dict(config), {}
    if dtype == "fp8":
        fp8.SMALLEST_AMAX = 1e-20  # the rows of the latents are tiny on purpose
        config["quantization_config"] = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]}
    for n, x in tensors.items():
        if dtype == "fp8" and fp8.is_quantised(n):
            out[n], out[n + "_scale_inv"] = fp8.quantise(x)
        else:
            keep = dtype == "f32" or n.endswith(("e_score_correction_bias", "k_norm.weight", "k_norm.bias"))
            out[n] = x.to(torch.float32 if keep else torch.bfloat16).contiguous()
    checkpoint.write(out, config, folder, shard=47 << 20)
    source.tokenizer()
    for name, content in (("generation_config.json", GENERATION), ("tokenizer.json", json.load(open(source.path("tokenizer.json"), encoding="utf-8"))),
                          ("tokenizer_config.json", json.load(open(os.path.join(source.HERE, "..", "tokenizer_config.json"), encoding="utf-8")))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False, separators=(",", ":"))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--adapter", help="what finetune.py wrote")
    ap.add_argument("--soft", help="what control.py wrote: input embeddings of the control tokens, without an adapter")
    ap.add_argument("--from", dest="folder", help="a converted folder, to be written again in --dtype")
    ap.add_argument("--rope", type=int, default=192)
    ap.add_argument("--nope", type=int, default=2)
    ap.add_argument("--theta", type=float, default=1e5)
    ap.add_argument("--index-heads", type=int, default=2)
    ap.add_argument("--topk", type=int, default=512)
    ap.add_argument("--dtype", default="f32", choices=["f32", "bf16", "fp8"])
    a = ap.parse_args()
    if a.folder:
        config, tensors = checkpoint.read(a.folder)
        return write(tensors, config, a.out, a.dtype)
    t, h = source.load()
    stats = source_statistics(t, h)
    m = None
    if a.adapter:
        m = adapter.Model()
        m.load(a.adapter)
        t = m.merged()
    out, config = convert(t, h, stats, a.rope, a.nope, a.theta, index_heads=a.index_heads, index_topk=a.topk)
    if m:
        out["model.embed_tokens.weight"][: source.CONTROL] = m.inp.detach()
        out["lm_head.weight"][: source.CONTROL] = m.out.detach()
    elif a.soft:
        for i, x in torch.load(a.soft).items():
            out["model.embed_tokens.weight"][i] = x
    write(out, config, a.out, a.dtype)
    print(f"{sum(x.numel() for x in out.values()):,} parameters")


if __name__ == "__main__":
    main()
