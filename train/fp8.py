"""The FP8 weight format of the released checkpoints: e4m3 bytes and one multiplier per 128x128 block.

A matrix `[out, in]` becomes F8_E4M3 `[out, in]` and F32 `[ceil(out/128), ceil(in/128)]`, stored as NAME and
NAME_scale_inv; the value is byte times multiplier. Blocks at the lower and right edge may be smaller. The
multipliers are powers of two ("ue8m0"), so that dequantising to bf16 loses nothing.
"""

import torch

BLOCK = 128
LARGEST = 448.0  # the largest finite e4m3 number
SMALLEST_AMAX = 1e-4  # as in the authors' quantiser; keeps an all-zero block from having no scale

# The matrices which the released checkpoints quantise, in the decoder layers and in the MTP layer alike. Embedding, head, norms,
# gate, `weights_proj` and `eh_proj` stay as they are.
QUANTISED = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "indexer.wq_b", "indexer.wk")


def is_quantised(name):
    return name.endswith(tuple(f".{q}.weight" for q in QUANTISED))


def power_of_two_scale(amax):
    """2 ^ ceil(log2(amax / 448)), elementwise and exact: an exact power of two is kept."""
    s = amax.float().clamp_min(SMALLEST_AMAX) * torch.tensor(1.0 / LARGEST, dtype=torch.float32)
    mantissa, exponent = torch.frexp(s)  # s = mantissa * 2^exponent, mantissa in [0.5, 1)
    return torch.ldexp(torch.ones_like(s), exponent - (mantissa == 0.5).int())


def spread(scale, shape):
    """Block multipliers `[rows/128, columns/128]` repeated to one per element of `shape`."""
    return scale.repeat_interleave(BLOCK, 0)[: shape[0]].repeat_interleave(BLOCK, 1)[:, : shape[1]]


def quantise(w):
    """(F8_E4M3 bytes, F32 multipliers) of a matrix; rounds to nearest, ties to even."""
    if w.dim() != 2 or not torch.isfinite(w).all():
        raise ValueError(f"a finite matrix is needed, not one of shape {tuple(w.shape)} with {int((~torch.isfinite(w)).sum())} non-finite values")
    w = w.float()
    rows, columns = -(-w.shape[0] // BLOCK), -(-w.shape[1] // BLOCK)
    padded = w.new_zeros(rows * BLOCK, columns * BLOCK)
    padded[: w.shape[0], : w.shape[1]] = w
    amax = padded.abs().view(rows, BLOCK, columns, BLOCK).amax((1, 3))
    scale = power_of_two_scale(amax)
    q = (w / spread(scale, w.shape)).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
    return q, scale


def dequantise(q, scale):
    """The float32 matrix that the bytes and multipliers stand for."""
    expected = tuple(-(-n // BLOCK) for n in q.shape)
    if tuple(scale.shape) != expected:
        raise ValueError(f"a matrix of shape {tuple(q.shape)} needs multipliers of shape {expected}, not {tuple(scale.shape)}")
    return q.float() * spread(scale.float(), q.shape)
