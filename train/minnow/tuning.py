"""The packed model with trained scales, offsets, norms and rows of the head, in bfloat16 products.

The conversion leaves some matrices without content: `q_a_proj` is 2^-17 times the identity, `kv_b_proj` copies the latent, and the norms of both latents are
a multiplication by 2^17 (convert.py). They stay as they are, and the forward leaves them out. So all heads share one key [2 + 192], and three heads one value."""

import torch
import torch.nn.functional as F

import converted
import packed
from rounding import GROUP

HALF = torch.bfloat16


class Rows(torch.autograd.Function):
    """x [n, k] times the matrices of a `Part` [k, rows]; the gradient of its numbers is added to `part.moved.grad`."""

    @staticmethod
    def forward(ctx, x, part):
        ctx.save_for_backward(x)
        ctx.part = part
        return x @ part.w

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        ctx.part.collect(x.t() @ dy)
        return dy @ ctx.part.w.t(), None


class Part:
    """Matrices of one input, on the 4-bit grid, transposed: [k, rows]. `quants` are less 7.5. `moved` [2, groups, rows] are the steps by which spread and middle of each group have moved,
    as in rounding.Grid."""

    def __init__(self, tensors, names, times=None, order=None):
        """`times`: a power of two of every row, put to the stored factor; `order` of the rows in the product. Rows of zeros fill it up to a multiple of 64."""
        self.names = names
        self.sizes = [len(tensors[n + ".weight"]) for n in names]
        rows = sum(self.sizes)
        order = torch.arange(rows) if order is None else order
        self.back = torch.empty_like(order)
        self.back[order] = torch.arange(rows)
        get = lambda x: torch.cat([tensors[n + x] for n in names])[order].view(rows, -1)
        wide = lambda x, dtype: F.pad(x.t().to(dtype), (0, -rows % 64)).contiguous()
        self.quants = wide(packed.quants(get(".weight")), HALF) - 7.5
        self.scale, self.offset = (wide(get(x), torch.float32) for x in (".weight_scale", ".weight_offset"))
        self.factor = wide(get(".weight_factor") if times is None else get(".weight_factor") * times[order, None], torch.float32)
        self.moved = torch.zeros(2, *self.scale.shape)
        self.moved.grad = torch.zeros_like(self.moved)
        self.w = torch.empty_like(self.quants)
        self.make()

    def numbers(self):
        """Scale and offset of every group in f16."""
        s = (self.scale * (1 + 0.2 * self.moved[0])).half()
        return s, (self.offset + self.scale * (7.5 + self.moved[1]) - 7.5 * s.float()).half()

    def make(self):
        """The weights of the present numbers, for the next steps."""
        s, o = (x.float() * self.factor for x in self.numbers())
        s, o = (x.to(HALF)[:, None] for x in (s, o + 7.5 * s))  # the middle of a group is small: little is lost in bfloat16
        torch.addcmul(o, self.quants.unflatten(0, (-1, GROUP)), s, out=self.w.unflatten(0, (-1, GROUP)))

    def collect(self, g):
        """Adds the gradient of scale and offset, of the gradient `g` of the weights. Rounding passes gradients."""
        do = g.unflatten(0, (-1, GROUP)).sum(1, dtype=torch.float32).mul_(self.factor)
        ds = g.mul_(self.quants).unflatten(0, (-1, GROUP)).sum(1, dtype=torch.float32).mul_(self.factor)
        self.moved.grad[0].addcmul_(ds, self.scale, value=0.2)
        self.moved.grad[1].addcmul_(do, self.scale)

    def changed(self):
        """The tensors of a packed folder."""
        s, o = (x.t()[self.back].split(self.sizes) for x in self.numbers())
        return {k: v for n, x, y in zip(self.names, s, o) for k, v in ((n + ".weight_scale", x), (n + ".weight_offset", y))}


class Norm(torch.autograd.Function):
    """RMS norm of x [n, d], float32 -> bfloat16."""

    @staticmethod
    def forward(ctx, x, w, eps):
        r = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, w, r)
        return (x * r).mul_(w).to(HALF)

    @staticmethod
    def backward(ctx, dy):
        x, w, r = ctx.saved_tensors
        y, dy = x * r, dy.float()
        dw = torch.einsum("nd,nd->d", dy, y)
        dy = dy.mul_(w)
        dot = torch.linalg.vecdot(dy, y)[:, None].div_(x.shape[-1])
        return dy.addcmul_(y, dot, value=-1).mul_(r), dw, None


class Gated(torch.autograd.Function):
    """silu(gate) * up of [n, 2 f], gates first."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        gate, up = x.chunk(2, -1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        gate, up = x.chunk(2, -1)
        dx = torch.empty_like(x)
        dgate, dup = dx.chunk(2, -1)
        torch.mul(F.silu(gate), dy, out=dup)
        dgate.copy_(torch.ops.aten.silu_backward(dy * up, gate))
        return dx


def turn(a, b, cos, sin):
    """Rotation of the pairs (a, b)."""
    return (a * cos).addcmul_(b, sin, value=-1), (b * cos).addcmul_(a, sin)


class Attention(torch.autograd.Function):
    """Causal attention of documents laid end to end, of their queries, keys and latents `y` [n, heads * (nope + rope) + rank + rope] -> [n, heads * v].

    The two numbers of a rotated pair stand half of the width apart (`Model.apart`). The scale of the scores is in the queries."""

    @staticmethod
    def forward(ctx, y, m, copied, angles, lengths, masks):
        n, h, r = len(y), m.heads, m.rope // 2
        keys, values = copied
        cos, sin = angles
        scale = (m.nope + m.rope) ** -0.5
        q = torch.empty(h, n, m.nope + m.rope, dtype=HALF)
        k = torch.empty(n, m.nope + m.rope, dtype=HALF)
        of = y[:, : q.shape[-1] * h].view(n, h, -1).transpose(0, 1)
        q[..., : m.nope] = of[..., : m.nope] * scale
        q[..., m.nope: -r], q[..., -r:] = turn(of[..., m.nope: -r], of[..., -r:], cos * scale, sin * scale)
        latent = y[:, q.shape[-1] * h: q.shape[-1] * h + m.rank + m.rope]
        k[:, : m.nope] = latent[:, keys]
        k[:, m.nope: -r], k[:, -r:] = turn(latent[:, m.rank: -r], latent[:, -r:], cos, sin)
        v = latent[:, values.flatten()].view(n, *values.shape).transpose(0, 1).contiguous()
        o, ps, at, group = torch.empty(h, n, m.dv, dtype=HALF), [], 0, h // len(v)
        for length in lengths:
            part = slice(at, at + length)
            s = (q[:, part].reshape(h * length, -1) @ k[part].t()).view(h, length, length).add_(masks[length])
            ps.append(s.softmax(-1))
            for i, p in enumerate(ps[-1].view(len(v), -1, length)):  # PyTorch's bmm copies row by row here
                o[group * i: group * (i + 1), part] = (p @ v[i, part]).view(group, length, -1)
            at += length
        ctx.save_for_backward(q, k, v, *ps)
        ctx.width = y.shape[1]
        ctx.more = m, copied, angles, lengths, scale
        return o.transpose(0, 1).reshape(n, -1)

    @staticmethod
    def backward(ctx, do):
        q, k, v, *ps = ctx.saved_tensors
        m, (keys, values), (cos, sin), lengths, scale = ctx.more
        h, n, width = q.shape
        r, groups = m.rope // 2, len(v)
        do = do.view(n, h, -1).transpose(0, 1)
        dq, dk, dv, at = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), 0
        for length, p in zip(lengths, ps):
            part = slice(at, at + length)
            g, p = do[:, part].reshape(groups, -1, m.dv), p.view(groups, -1, length)
            ds = torch.empty_like(p)
            for i in range(groups):
                dv[i, part] = p[i].t() @ g[i]
                torch.mm(g[i], v[i, part].t(), out=ds[i])
            ds.mul_(p)
            ds = ds.addcmul_(p, ds.sum(-1, keepdim=True), value=-1).view(h * length, length)
            dq[:, part] = (ds @ k[part]).view(h, length, -1)
            dk[part] = ds.t() @ q[:, part].reshape(h * length, -1)
            at += length
        dy = torch.zeros(n, ctx.width, dtype=HALF)
        of, latent = dy[:, : h * width].view(n, h, -1).transpose(0, 1), dy[:, h * width: h * width + m.rank + m.rope]
        of[..., : m.nope] = dq[..., : m.nope] * scale
        of[..., m.nope: -r], of[..., -r:] = turn(dq[..., m.nope: -r], dq[..., -r:], cos * scale, sin * -scale)
        latent[:, values.flatten()] = dv.transpose(0, 1).reshape(n, -1)
        latent[:, keys] = dk[:, : m.nope]
        latent[:, m.rank: -r], latent[:, -r:] = turn(dk[:, m.nope: -r], dk[:, -r:], cos, -sin)
        return dy, None, None, None, None, None


class Loss(torch.autograd.Function):
    """Mean over positions of ce * cross-entropy + (1 - ce) * KL to `teacher`, of hidden states [n, d]. Gradients are computed at once, `CHUNK` rows of logits at a time.

    `teacher(rows)` gives log-probabilities of those rows, which have ce < 1. `log` gets both terms of every position."""

    CHUNK = 256

    @staticmethod
    def forward(ctx, z, model, target, ce, teacher, log):
        dz = torch.empty_like(z)
        for at in range(0, len(z), Loss.CHUNK):
            x, t, c = z[at: at + Loss.CHUNK], target[at: at + Loss.CHUNK, None], ce[at: at + Loss.CHUNK, None]
            y = (x @ model.head.t()).float()
            y -= y.logsumexp(-1, keepdim=True)
            nll, total = -y.gather(1, t)[:, 0], -y.gather(1, t)[:, 0] * c[:, 0]
            g = y.exp()
            soft = (c[:, 0] < 1).nonzero()[:, 0]
            if len(soft):
                ty = teacher(at + soft)
                p = ty.exp()
                total[soft] += (p * (ty - y[soft])).sum(-1) * (1 - c[soft, 0])
                g[soft] -= p * (1 - c[soft])
            g.scatter_add_(1, t, -c)
            g = g.div_(len(z)).to(HALF)
            dz[at: at + Loss.CHUNK] = g @ model.head
            model.rows.grad += (g[:, model.row_ids].t() @ x).float()
            log.append((nll, total))
        ctx.dz = dz
        return torch.cat([x for _, x in log]).mean()

    @staticmethod
    def backward(ctx, dloss):
        return ctx.dz * dloss, None, None, None, None, None


class Model:
    """`parts` by layer, norms and head rows are trained; everything else is frozen."""

    def __init__(self, folder, frozen=0):
        """`frozen`: this many first layers stay as they are."""
        self.frozen = frozen
        self.tensors, self.c = t, c = packed.read(folder)
        self.heads, self.nope, self.rope, self.dv, self.rank = (c[k] for k in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
        self.embedding = packed.weights(t, "model.embed_tokens").to(HALF)
        self.row_ids = t["lm_head.row_ids"].long()
        self.rows = t["lm_head.rows"].float()
        self.rows.grad = torch.zeros_like(self.rows)
        self.head = self.embedding.clone()
        self.parts, self.norms, self.copied = [], {}, []
        up = torch.ones(self.rank + self.rope)
        up[: self.rank] = c["latent_norm_eps"] ** -0.5
        for layer in range(c["num_hidden_layers"]):
            p, m = f"model.layers.{layer}.self_attn.", f"model.layers.{layer}.mlp."
            latent = up.clone()
            latent[: self.rank] *= t[p + "kv_a_layernorm.weight"]
            queries = torch.ones(len(t[p + "q_b_proj.weight"]))
            self.copied.append(self.copies(p))
            self.parts.append({"a": Part(t, [p + "q_b_proj", p + "kv_a_proj_with_mqa"], torch.cat((queries, latent)), self.apart()), "o": Part(t, [p + "o_proj"]), "m": Part(t, [m + "gate_proj", m + "up_proj"]), "down": Part(t, [m + "down_proj"])})
        for n, x in t.items():
            if n.endswith(("input_layernorm.weight", "post_attention_layernorm.weight", "model.norm.weight")):
                self.norms[n] = x.clone().requires_grad_(not n.startswith("model.layers.") or int(n.split(".")[2]) >= frozen)
        self.make()

    def copies(self, p):
        """Checks what the forward leaves out; the latent's rows that are the key without position and the values."""
        t, eps = self.tensors, self.c["latent_norm_eps"] ** -0.5
        q = packed.weights(t, p + "q_a_proj") * t[p + "q_a_layernorm.weight"][:, None] * eps
        assert (q - torch.eye(len(q))).abs().max() < 1e-3, f"{p}q_a_proj is not the identity"
        kv = packed.weights(t, p + "kv_b_proj").view(self.heads, self.nope + self.dv, self.rank)
        at = kv.abs().argmax(-1)
        assert ((kv - F.one_hot(at, self.rank)).abs().max()) < 1e-3, f"{p}kv_b_proj does not copy"
        assert (at[:, : self.nope] == at[:1, : self.nope]).all(), f"{p}kv_b_proj has keys by head"
        values = at[:, self.nope:]
        group = self.heads // len({tuple(x) for x in values.tolist()})
        assert (values.view(-1, group, self.dv) == values.view(-1, group, self.dv)[:, :1]).all()
        return at[0, : self.nope], values[::group]

    def apart(self):
        """The order of queries, latent and key in which the two numbers of each rotated pair stand half of the width apart."""
        pairs = torch.arange(self.rope).view(-1, 2).t().flatten()
        head = torch.cat((torch.arange(self.nope), self.nope + pairs))
        width = len(head)
        return torch.cat([i * width + head for i in range(self.heads)] + [self.heads * width + torch.cat((torch.arange(self.rank), self.rank + pairs))])

    def make(self):
        """Weights of the present numbers; called after every step."""
        for parts in self.parts[self.frozen:]:
            for x in parts.values():
                x.make()
        self.head[self.row_ids] = self.rows.to(HALF)

    def groups(self):
        """Trained tensors by kind."""
        return {"grid": [x.moved for parts in self.parts[self.frozen:] for x in parts.values()], "norm": [x for x in self.norms.values() if x.requires_grad], "rows": [self.rows]}

    def hidden(self, ids, lengths):
        """Final hidden states [tokens, d] of documents laid end to end, each attending to itself only."""
        c = self.c
        x = self.embedding[ids].float()
        angles = torch.cat([converted.angles(c, k) for k in lengths])
        angles = angles.cos().to(HALF), angles.sin().to(HALF)
        masks = {k: torch.full((k, k), float("-inf"), dtype=HALF).triu_(1) for k in set(lengths)}
        for layer, parts in enumerate(self.parts):
            if layer == self.frozen:  # gradients begin here
                x = x.requires_grad_(torch.is_grad_enabled())
            b = f"model.layers.{layer}."
            y = Rows.apply(Norm.apply(x, self.norms[b + "input_layernorm.weight"], c["rms_norm_eps"]), parts["a"])
            x = x + Rows.apply(Attention.apply(y, self, self.copied[layer], angles, lengths, masks), parts["o"])
            y = Rows.apply(Norm.apply(x, self.norms[b + "post_attention_layernorm.weight"], c["rms_norm_eps"]), parts["m"])
            x = x + Rows.apply(Gated.apply(y), parts["down"])
        return Norm.apply(x, self.norms["model.norm.weight"], c["rms_norm_eps"])

    def changed(self):
        """The trained tensors as a packed folder stores them."""
        out = {n: x.detach() for n, x in self.norms.items()} | {"lm_head.rows": self.rows.to(HALF)}
        for parts in self.parts:
            for x in parts.values():
                out |= x.changed()
        return out
