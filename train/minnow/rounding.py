"""The 4-bit grid of the packed format (docs/packed-weights.md), and two ways to train through it."""

import torch
import torch.nn.functional as F

GROUP = 32


def row_factor(w):
    """A power of two of every row that brings its largest weight near 1, so that scale and offset are normal f16 numbers."""
    return torch.exp2(torch.floor(torch.log2(w.abs().amax(-1, keepdim=True).clamp_min(2.0 ** -60))))


SHRINK = (1.0, 0.94, 0.88, 0.82)


def grid(w, weight=None):
    """(scale, offset) [..., 1] of groups, rounded to f16: minimum and maximum, or with `weight` the cut of the two that has the least weighted error."""
    lo, hi = w.amin(-1, keepdim=True), w.amax(-1, keepdim=True)
    best = ((hi - lo) / 15).half().float(), lo.half().float()
    if weight is None:
        return best
    least, mid = None, (lo + hi) / 2
    for a in SHRINK:
        for b in SHRINK:
            o = (mid + (lo - mid) * a).half().float()
            s = ((mid + (hi - mid) * b - o) / 15).half().float()
            e = (((w - o) / s.clamp_min(1e-30)).round().clamp(0, 15) * s + o - w).pow(2).mul(weight).sum(-1, keepdim=True)
            if least is None:
                least, best = e, (s, o)
            better = e < least
            least, best = torch.where(better, e, least), (torch.where(better, s, best[0]), torch.where(better, o, best[1]))
    return best


def nearest(w):
    """Every group rounded to its own grid."""
    f = row_factor(w)
    x = (w / f).unflatten(-1, (-1, GROUP))
    s, o = grid(x)
    q = ((x - o) / s.clamp_min(1e-30)).round().clamp(0, 15)
    return (torch.where(s > 0, q * s, 0) + o).flatten(-2) * f


FORMATS = {"int4": nearest}


class Grid:
    """A matrix on the 4-bit grid whose quants are fixed and whose scales and offsets are trained.

    Rounding the sum of source and adapter to nearest takes nine tenths of the fine-tuning away: the source itself is Q4_1, in the same groups of 32 along k, and the
    adapter moves its weights by a tenth of a step. Therefore the quants are those of GPTQ, and training goes on with the two numbers of every group."""

    def __init__(self, quants, scale, offset):
        """`quants` [rows, groups, 32] from 0 to 15, `scale` and `offset` [rows, groups], f16 numbers."""
        self.quants, self.scale, self.offset = quants.float(), scale.float(), offset.float()
        self.moved = torch.zeros(*scale.shape, 2).requires_grad_(True)  # of the spread and of the middle of a group, in steps

    @classmethod
    def of(cls, w):
        """The grid of rounded weights, whose groups have quants of 0 and 15."""
        x = w.unflatten(-1, (-1, GROUP))
        s, o = grid(x)
        return cls(torch.where(s > 0, ((x - o) / s.clamp_min(1e-30)).round(), 0), s[..., 0], o[..., 0])

    def numbers(self):
        """Scale and offset of every group, rounded to f16; the gradient passes the rounding."""
        half = lambda z: z + (z.detach().half().float() - z.detach())
        s = half(self.scale * (1 + 0.2 * self.moved[..., 0]))
        return s, half(self.offset + self.scale * (7.5 + self.moved[..., 1]) - 7.5 * s)

    def weights(self):
        s, o = self.numbers()
        return torch.addcmul(o[..., None], self.quants, s[..., None]).flatten(-2)


def straight_through(x, rounded, a, b):
    """x times the rounded weights. The adapter [a, b] gets the gradient that it would have if rounding were the identity, in two products of its rank."""
    z = F.linear(F.linear(x.detach(), a), b)
    return F.linear(x, rounded) + (z - z.detach())
