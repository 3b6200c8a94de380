"""A small model with the exact DeepSeek-V3.2 architecture, for training.

MLA attention with a DSA indexer, dense first layers, sigmoid-gated MoE with a
balancing bias and a shared expert, and one multi-token-prediction module.
Parameter names follow the Hugging Face checkpoints, except that the experts
of a layer are stacked in memory (see `checkpoint.py`).

Attention modes
  dense   full causal attention (the model before DSA)
  warmup  full attention; the indexer learns the attention distribution (KL)
  sparse  attention over the top-k of the indexer; KL over the selected set
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


LATENT_NORM_EPS = 1e-6  # of both latents, whatever rms_norm_eps is, as in the release


@dataclass
class Config:
    vocab_size: int = 8192
    hidden_size: int = 384
    intermediate_size: int = 1024
    moe_intermediate_size: int = 128
    num_hidden_layers: int = 7
    first_k_dense_replace: int = 1
    num_attention_heads: int = 8
    n_routed_experts: int = 16
    n_shared_experts: int = 1
    num_experts_per_tok: int = 4
    n_group: int = 4
    topk_group: int = 2
    routed_scaling_factor: float = 2.5
    q_lora_rank: int = 192
    kv_lora_rank: int = 128
    qk_nope_head_dim: int = 32
    qk_rope_head_dim: int = 32
    v_head_dim: int = 64
    index_n_heads: int = 4
    index_head_dim: int = 64
    index_topk: int = 256
    num_nextn_predict_layers: int = 1
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    yarn_factor: float = 1.0      # 1: plain rope; >1: YaRN from original_max_position_embeddings
    original_max_position_embeddings: int = 4096
    max_position_embeddings: int = 4096

    def hf(self):
        d = {k: v for k, v in asdict(self).items() if k != "yarn_factor"}
        orig = d.pop("original_max_position_embeddings")
        d.update(architectures=["DeepseekV32ForCausalLM"], model_type="deepseek_v32", hidden_act="silu", scoring_func="sigmoid", topk_method="noaux_tc",
                 norm_topk_prob=True, moe_layer_freq=1, attention_bias=False, tie_word_embeddings=False, num_key_value_heads=self.num_attention_heads,
                 bos_token_id=0, eos_token_id=1, pad_token_id=2, torch_dtype="bfloat16", rope_scaling=None)
        if self.yarn_factor > 1:
            d["rope_scaling"] = {"type": "yarn", "factor": self.yarn_factor, "original_max_position_embeddings": orig, "beta_fast": 32, "beta_slow": 1,
                                 "mscale": 1.0, "mscale_all_dim": 1.0}
        return d

    @staticmethod
    def from_hf(d):
        c = Config(**{k: d[k] for k in Config.__dataclass_fields__ if k in d})
        if d.get("rope_scaling"):
            c.yarn_factor = d["rope_scaling"]["factor"]
            c.original_max_position_embeddings = d["rope_scaling"]["original_max_position_embeddings"]
        return c


# ------------------------------------------------------------------ pieces

class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


def rope_table(cfg, length, device):
    """cos and sin of shape [length, rope_dim / 2], YaRN-scaled where set."""
    d = cfg.qk_rope_head_dim
    freq = cfg.rope_theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    if cfg.yarn_factor > 1:
        orig = cfg.original_max_position_embeddings

        def at(rot):  # the dimension which turns `rot` times over the original length
            return d * math.log(orig / (rot * 2 * math.pi)) / (2 * math.log(cfg.rope_theta))
        lo, hi = max(math.floor(at(32)), 0), min(math.ceil(at(1)), d - 1)
        ramp = ((torch.arange(d // 2, dtype=torch.float64) - lo) / max(hi - lo, 1e-3)).clamp(0, 1)
        freq = freq / cfg.yarn_factor * ramp + freq * (1 - ramp)
    ang = torch.outer(torch.arange(length, dtype=torch.float64), freq)
    return ang.cos().float().to(device), ang.sin().float().to(device)


def rope_pairs(x, cos, sin):
    """Interleaved rotary embedding (main attention): pairs are (0,1), (2,3), ..."""
    y = x.float().unflatten(-1, (-1, 2))
    a, b = y[..., 0], y[..., 1]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


def rope_halves(x, cos, sin):
    """Non-interleaved rotary embedding (indexer): pairs are (i, i + d/2)."""
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1).to(x.dtype)


def hadamard(n, device):
    h = torch.ones(1, 1, dtype=torch.float64)
    while h.shape[0] < n:
        h = torch.cat((torch.cat((h, h), 1), torch.cat((h, -h), 1)), 0)
    return (h * n ** -0.5).float().to(device)


def linear(n_in, n_out):
    return nn.Linear(n_in, n_out, bias=False)


class Indexer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.wq_b = linear(c.q_lora_rank, c.index_n_heads * c.index_head_dim)
        self.wk = linear(c.hidden_size, c.index_head_dim)
        self.k_norm = nn.LayerNorm(c.index_head_dim, eps=1e-6)
        self.weights_proj = linear(c.hidden_size, c.index_n_heads)
        self.register_buffer("had", hadamard(c.index_head_dim, "cpu"), persistent=False)

    def forward(self, x, qr, cos, sin):
        """q [B,S,H,D], k [B,S,D] and the head weights [B,S,H] with all scales folded in."""
        c, r = self.c, self.c.qk_rope_head_dim
        q = self.wq_b(qr).unflatten(-1, (c.index_n_heads, c.index_head_dim))
        k = self.k_norm(self.wk(x).float()).to(x.dtype)
        q = torch.cat((rope_halves(q[..., :r], cos[:, None], sin[:, None]), q[..., r:]), -1)
        k = torch.cat((rope_halves(k[..., :r], cos, sin), k[..., r:]), -1)
        q, k = q @ self.had.to(q.dtype), k @ self.had.to(k.dtype)
        w = self.weights_proj(x).float() * (c.index_n_heads ** -0.5 * c.index_head_dim ** -0.5)
        return q, k, w


def index_scores(q, k, w):
    """sum_h w_h relu(q_h . k): [B,C,T] for C queries and T keys."""
    s = F.relu(torch.einsum("bchd,btd->bcht", q, k)).float()
    return (s * w.float()[..., None]).sum(2)  # not a matrix product: autocast would round it to bf16


def best_positions(scores, k):
    """True at the k best positions of every row; ties go to the lower position. (They are not rare: where no index head fires, a score is exactly 0.)"""
    least = scores.topk(k, -1)[0][..., -1:]
    above, tied = scores > least, scores == least
    return above | (tied & (tied.cumsum(-1) <= k - above.sum(-1, keepdim=True)))


def indexed_chunk(q, k, v, iq, ik, iw, start, scale, topk, learn):
    """Attention of the queries start.. over the keys before them, with the indexer.

    topk = 0 keeps all keys (warm-up). Returns the output and the summed KL of
    the indexer distribution to the head-averaged attention distribution.
    """
    C, T = q.shape[2], k.shape[2]
    pos = torch.arange(start, start + C, device=q.device)
    allowed = torch.arange(T, device=q.device)[None, :] <= pos[:, None]
    scores = index_scores(iq, ik, iw).masked_fill(~allowed, float("-inf"))
    keep = allowed[None]
    if topk and T > topk:
        keep = best_positions(scores.detach(), topk) & allowed
    logits = torch.matmul(q, k.transpose(-1, -2)).float() * scale
    p = logits.masked_fill(~keep[:, None], float("-inf")).softmax(-1)
    out = torch.matmul(p.to(v.dtype), v)
    if not learn:
        return out, out.new_zeros((), dtype=torch.float32)
    target = p.detach().mean(1)
    logq = scores.masked_fill(~keep, float("-inf")).log_softmax(-1).masked_fill(~keep, 0.0)
    kl = (target * (target.clamp_min(1e-9).log() - logq)).sum()
    return out, kl


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        h = c.num_attention_heads
        self.q_a_proj = linear(c.hidden_size, c.q_lora_rank)
        self.q_a_layernorm = RMSNorm(c.q_lora_rank, LATENT_NORM_EPS)
        self.q_b_proj = linear(c.q_lora_rank, h * (c.qk_nope_head_dim + c.qk_rope_head_dim))
        self.kv_a_proj_with_mqa = linear(c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank, LATENT_NORM_EPS)
        self.kv_b_proj = linear(c.kv_lora_rank, h * (c.qk_nope_head_dim + c.v_head_dim))
        self.o_proj = linear(h * c.v_head_dim, c.hidden_size)
        self.indexer = Indexer(c)
        self.scale = (c.qk_nope_head_dim + c.qk_rope_head_dim) ** -0.5
        self.set_yarn(c.yarn_factor)

    def set_yarn(self, factor):
        d = self.c.qk_nope_head_dim + self.c.qk_rope_head_dim
        m = 0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0
        self.scale = d ** -0.5 * m * m

    def forward(self, x, cos, sin, mode, topk, chunk):
        c = self.c
        h, nd, rd = c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim
        qr = self.q_a_layernorm(self.q_a_proj(x))
        q = self.q_b_proj(qr).unflatten(-1, (h, nd + rd))
        q = torch.cat((q[..., :nd], rope_pairs(q[..., nd:], cos[:, None], sin[:, None])), -1).transpose(1, 2)
        kv = self.kv_a_proj_with_mqa(x)
        k_pe = rope_pairs(kv[..., c.kv_lora_rank:], cos, sin)
        kv = self.kv_b_proj(self.kv_a_layernorm(kv[..., : c.kv_lora_rank])).unflatten(-1, (h, nd + c.v_head_dim)).transpose(1, 2)
        k = torch.cat((kv[..., :nd], k_pe[:, None].expand(-1, h, -1, -1)), -1)
        v = kv[..., nd:]
        kl = x.new_zeros((), dtype=torch.float32)
        if mode == "dense":
            pad = (nd + rd) - c.v_head_dim
            if pad > 0:
                v = F.pad(v, (0, pad))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)[..., : c.v_head_dim]
        else:
            learn = self.training
            with torch.set_grad_enabled(torch.is_grad_enabled() and learn):
                iq, ik, iw = self.indexer(x.detach(), qr.detach(), cos, sin)
            outs, S = [], x.shape[1]
            for s in range(0, S, chunk):
                e = min(s + chunk, S)
                args = (q[:, :, s:e], k[:, :, :e], v[:, :, :e], iq[:, s:e], ik[:, :e], iw[:, s:e], s, self.scale, topk if mode == "sparse" else 0, learn)
                o, l = checkpoint(indexed_chunk, *args, use_reentrant=False, preserve_rng_state=False) if torch.is_grad_enabled() else indexed_chunk(*args)
                outs.append(o)
                kl = kl + l
            o = torch.cat(outs, 2)
            kl = kl / (x.shape[0] * S)
        return self.o_proj(o.transpose(1, 2).flatten(2)), kl


class MLP(nn.Module):
    def __init__(self, dim, inter):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = linear(dim, inter), linear(dim, inter), linear(inter, dim)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.weight = nn.Parameter(torch.empty(c.n_routed_experts, c.hidden_size))
        self.register_buffer("e_score_correction_bias", torch.zeros(c.n_routed_experts))

    def forward(self, x):
        c = self.c
        with torch.autocast(x.device.type, enabled=False):
            s = torch.sigmoid(x.float() @ self.weight.float().t())
        b = s.detach() + self.e_score_correction_bias
        if c.n_group > 1:
            g = b.unflatten(-1, (c.n_group, -1))
            best = g.topk(2, -1)[0].sum(-1).topk(c.topk_group, -1)[1]
            open_ = torch.zeros_like(g[..., 0], dtype=torch.bool).scatter_(-1, best, True)
            b = g.masked_fill(~open_[..., None], float("-inf")).flatten(-2)
        idx = b.topk(c.num_experts_per_tok, -1)[1]
        w = s.gather(-1, idx)
        w = w / (w.sum(-1, keepdim=True) + 1e-20) * c.routed_scaling_factor
        return w, idx, s


class MoE(nn.Module):
    impl = "loop"  # "loop": gather per expert; "all": every expert on every token; "grouped": torch._grouped_mm

    def __init__(self, c):
        super().__init__()
        self.c = c
        E, d, f = c.n_routed_experts, c.hidden_size, c.moe_intermediate_size
        self.gate = Gate(c)
        self.w_gate_up = nn.Parameter(torch.empty(E, d, 2 * f))
        self.w_down = nn.Parameter(torch.empty(E, f, d))
        self.shared_experts = MLP(d, f * c.n_shared_experts)
        self.register_buffer("load", torch.zeros(E), persistent=False)

    def forward(self, x):
        c = self.c
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        w, idx, s = self.gate(x)
        E, K = c.n_routed_experts, c.num_experts_per_tok
        onehot = F.one_hot(idx, E).sum(1).float()
        frac = onehot.mean(0)
        if self.training:
            self.load += frac.detach() / K
        aux = (frac.detach() / K * E * (s / s.sum(-1, keepdim=True)).mean(0)).sum()
        w = w.to(x.dtype)
        if self.impl == "all":
            gu = torch.einsum("nd,edf->enf", x, self.w_gate_up.to(x.dtype))
            g, u = gu.chunk(2, -1)
            full = torch.zeros(x.shape[0], E, dtype=x.dtype, device=x.device).scatter_(1, idx, w)
            y = torch.einsum("enf,efd->nd", F.silu(g) * u * full.t()[..., None], self.w_down.to(x.dtype))
        else:
            flat = idx.flatten()
            order = flat.argsort(stable=True)
            rows = order // K
            xs = x[rows]
            if self.impl == "grouped":
                offs = onehot.sum(0).cumsum(0).to(torch.int32)
                gu = torch._grouped_mm(xs.bfloat16(), self.w_gate_up.bfloat16(), offs=offs)
                g, u = gu.chunk(2, -1)
                ys = torch._grouped_mm((F.silu(g) * u).contiguous(), self.w_down.bfloat16(), offs=offs).to(x.dtype)
            else:
                counts = onehot.sum(0).long().tolist()
                ys = []
                for e, part in enumerate(xs.split(counts)):
                    g, u = (part @ self.w_gate_up[e].to(x.dtype)).chunk(2, -1)
                    ys.append((F.silu(g) * u) @ self.w_down[e].to(x.dtype))
                ys = torch.cat(ys)
            ys = ys * w.flatten()[order][:, None]
            y = torch.zeros_like(x).index_add_(0, rows, ys.to(x.dtype))
        return (y + self.shared_experts(x)).view(shape), aux


class Block(nn.Module):
    def __init__(self, c, moe):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = MoE(c) if moe else MLP(c.hidden_size, c.intermediate_size)

    def forward(self, x, cos, sin, mode, topk, chunk):
        a, kl = self.self_attn(self.input_layernorm(x), cos, sin, mode, topk, chunk)
        x = x + a
        y = self.mlp(self.post_attention_layernorm(x))
        aux = x.new_zeros((), dtype=torch.float32)
        if isinstance(y, tuple):
            y, aux = y
        return x + y, kl, aux


class MTP(nn.Module):
    """Predicts the next-but-one token from the final hidden state and the next token's embedding."""

    def __init__(self, c):
        super().__init__()
        self.enorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.hnorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.eh_proj = linear(2 * c.hidden_size, c.hidden_size)
        self.block = Block(c, True)
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Block(c, i >= c.first_k_dense_replace) for i in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.lm_head = linear(c.hidden_size, c.vocab_size)
        self.mtp = MTP(c) if c.num_nextn_predict_layers else None
        self.mode, self.topk, self.chunk = "dense", c.index_topk, 256
        self.tables = {}
        self.reset()

    def reset(self):
        n = self.c.num_hidden_layers
        for name, p in self.named_parameters():
            if p.dim() >= 2:
                fan = p.shape[-2] if name.endswith(("w_gate_up", "w_down")) else p.shape[-1]
                std = 0.02 if "embed" in name else fan ** -0.5
                if name.endswith(("o_proj.weight", "down_proj.weight", "w_down")):
                    std /= math.sqrt(2 * n)
                if name == "lm_head.weight":
                    std *= 0.2
                nn.init.normal_(p, 0.0, std)

    def set_context(self, yarn_factor, max_len):
        self.c.yarn_factor, self.c.max_position_embeddings = yarn_factor, max_len
        self.tables = {}
        for m in self.modules():
            if isinstance(m, Attention):
                m.set_yarn(yarn_factor)

    def rope(self, n, device):
        if n not in self.tables:
            self.tables[n] = rope_table(self.c, n, device)
        return self.tables[n]

    def hidden(self, ids):
        cos, sin = self.rope(ids.shape[1], ids.device)
        x = self.embed_tokens(ids)
        if torch.is_autocast_enabled(ids.device.type):
            x = x.to(torch.get_autocast_dtype(ids.device.type))
        kl = aux = 0.0
        for b in self.layers:
            x, k, a = b(x, cos, sin, self.mode, self.topk, self.chunk)
            kl, aux = kl + k, aux + a
        return self.norm(x), kl, aux

    def mtp_hidden(self, h, next_ids):
        cos, sin = self.rope(next_ids.shape[1], next_ids.device)
        m = self.mtp
        e = self.embed_tokens(next_ids).to(h.dtype)
        x = m.eh_proj(torch.cat((m.enorm(e), m.hnorm(h)), -1))
        x, kl, aux = m.block(x, cos, sin, self.mode, self.topk, self.chunk)
        return m.norm(x), kl, aux

    def forward(self, ids):
        return self.lm_head(self.hidden(ids)[0])
