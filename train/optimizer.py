"""Muon for the hidden matrices, AdamW for the rest."""

import math

import torch


def orthogonalize(g, steps=5):
    """Newton-Schulz iteration towards the nearest (semi-)orthogonal matrix, batched over leading dimensions."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16() if g.is_cuda else g.float()
    flip = x.shape[-2] > x.shape[-1]
    if flip:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        y = x @ x.mT
        x = a * x + (b * y + c * (y @ y)) @ x
    return (x.mT if flip else x).to(g.dtype)


class Optimizer:
    """Muon for the hidden matrices, AdamW for embeddings, head, norms, gate and indexer."""

    def __init__(self, named, wd=0.05):
        self.named = [(n, p) for n, p in named if p.requires_grad]
        self.muon = [(n, p) for n, p in self.named if p.dim() >= 2 and not any(k in n for k in ("embed", "lm_head", "gate.weight", "indexer"))]
        chosen = {n for n, _ in self.muon}
        self.adam = [(n, p) for n, p in self.named if n not in chosen]
        self.wd, self.t, self.state = wd, 0, {}

    @torch.no_grad()
    def step(self, lr, index_lr=None):
        self.t += 1
        groups = {}
        for n, p in self.muon:  # matrices of one shape are orthogonalized in one batch
            if p.grad is not None:
                m = self.state.setdefault(n, {"m": torch.zeros_like(p)})["m"]
                m.mul_(0.95).add_(p.grad)
                groups.setdefault(tuple(p.shape), []).append((p, p.grad.add(m, alpha=0.95)))
        for shape, items in groups.items():
            u = orthogonalize(torch.stack([g for _, g in items])) * (0.2 * math.sqrt(max(shape[-2:])))
            for (p, _), v in zip(items, u.unbind(0)):
                p.mul_(1 - lr * self.wd).sub_(v, alpha=lr)
        self.adamw([x for x in self.adam if "indexer" not in x[0]], lr)
        self.adamw([x for x in self.adam if "indexer" in x[0]], index_lr or lr)

    def adamw(self, named, lr, b1=0.9, b2=0.98):
        ps, ms, vs, gs, decay = [], [], [], [], []
        for n, p in named:
            if p.grad is not None:
                s = self.state.setdefault(n, {"m": torch.zeros_like(p), "v": torch.zeros_like(p)})
                ps.append(p), ms.append(s["m"]), vs.append(s["v"]), gs.append(p.grad)
                if p.dim() >= 2:
                    decay.append(p)
        if ps:
            torch._foreach_mul_(decay, 1 - lr * self.wd)
            torch._foreach_lerp_(ms, gs, 1 - b1)
            torch._foreach_mul_(vs, b2)
            torch._foreach_addcmul_(vs, gs, gs, 1 - b2)
            den = torch._foreach_sqrt(vs)
            torch._foreach_div_(den, math.sqrt(1 - b2 ** self.t))
            torch._foreach_add_(den, 1e-8)
            torch._foreach_addcdiv_(ps, ms, den, -lr / (1 - b1 ** self.t))
