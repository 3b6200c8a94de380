"""What the stages minimise, and the balancing of the experts."""

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from model import MoE


def _ce(h, w, target, weight):
    return (F.cross_entropy(F.linear(h, w.to(h.dtype)).float(), target, reduction="none") * weight).sum()


def token_loss(h, head, target, weight, chunk=16384, thin=0.0):
    """Weighted cross entropy. `thin` leaves out that share of the lightly weighted (prompt)
    positions, at random and without bias, and skips the head where the weight is zero."""
    h, target, weight = h.flatten(0, 1), target.flatten(), weight.flatten()
    norm = weight.sum().clamp_min(1.0)
    if thin:
        light = weight < 0.5
        keep = torch.rand_like(weight) >= thin
        weight = torch.where(light, weight * keep / (1 - thin), weight)
        at = weight.nonzero()[:, 0]
        h, target, weight = h[at], target[at], weight[at]
    total = h.new_zeros((), dtype=torch.float32)
    for s in range(0, h.shape[0], chunk):
        args = (h[s: s + chunk], head.weight, target[s: s + chunk], weight[s: s + chunk])
        total = total + (_ce(*args) if thin else checkpoint(_ce, *args, use_reentrant=False, preserve_rng_state=False))
    return total / norm


def step_loss(net, ids, ws, mode, mtp_weight, thin=0.0, mtp_share=1.0):
    """ids [B, T+2]; returns the loss to minimise and a dict of numbers to log."""
    x, y, w = ids[:, :-2], ids[:, 1:-1], ws[:, 1:-1]
    if mode == "warmup":
        h, kl, _ = net.hidden(x)
        if net.mtp is not None:
            kl = kl + net.mtp_hidden(h.detach(), y)[1]
        return kl, {"kl": kl.detach()}
    h, kl, aux = net.hidden(x)
    lm = token_loss(h, net.lm_head, y, w, thin=thin)
    loss = lm + 1e-3 * aux
    log = {"lm": lm.detach()}
    if net.mtp is not None and mtp_weight > 0:
        n = max(1, int(len(x) * mtp_share))  # rows which also train the MTP module
        h2, k2, a2 = net.mtp_hidden(h[:n], y[:n])
        mt = token_loss(h2, net.lm_head, ids[:n, 2:], ws[:n, 2:], thin=thin)
        loss = loss + mtp_weight * mt + 1e-3 * a2
        kl = kl + k2
        log["mtp"] = mt.detach()
    if mode == "sparse":
        loss = loss + kl
        log["kl"] = kl.detach()
    return loss, log


@torch.no_grad()
def balance(net, rate):
    """DeepSeek's auxiliary-loss-free balancing: push the bias against the observed load.
    Returns the load of the busiest expert, 1 being an even share."""
    worst = []
    for m in net.modules():
        if isinstance(m, MoE):
            load = m.load / m.load.sum().clamp_min(1e-9)
            m.gate.e_score_correction_bias += rate * torch.sign(load.mean() - load)
            worst.append(load.max() * len(load))
            m.load.zero_()
    return torch.stack(worst).max()
