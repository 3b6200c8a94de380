"""The official OpenAI client for Python against a running server. Checks shapes, orders and equalities, not the text of the model."""

import asyncio
import re

import openai

import checks

KEY = "sk-any"
HELLO = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Tell me a short story about a fox."}]
IDS = ["deepseek-v3.2-exp", "DeepSeek-V3.2-Exp-thinking", "DeepSeek-V3.2-Exp-nothinking", "deepseek-chat", "deepseek-reasoner"]
UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")

client = openai.OpenAI(base_url=checks.URL, api_key=KEY, max_retries=0, timeout=300)


def usage_adds_up(usage, most):
    assert usage.prompt_tokens > 0 and 1 <= usage.completion_tokens <= most, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens, usage
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_cache_hit_tokens, usage


def collect(chunks):
    """(chunks, content, reasoning, finish_reason, usage) of a stream, with the rules that hold for every stream checked."""
    chunks = list(chunks)
    content = reasoning = ""
    finish, usage = [], []
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    for i, c in enumerate(chunks):
        assert c.object == "chat.completion.chunk" and UUID.match(c.id), c
        assert (c.id, c.created, c.model, c.system_fingerprint) == (chunks[0].id, chunks[0].created, chunks[0].model, chunks[0].system_fingerprint), c
        if c.usage:
            usage.append(c.usage)
        for choice in c.choices:
            said, thought = choice.delta.content or "", getattr(choice.delta, "reasoning_content", None) or ""
            assert not (said and thought), "one chunk carries both reasoning and answer"
            assert not (thought and content), "reasoning after the answer began"
            assert said or thought or i == 0 or choice.finish_reason, f"an empty chunk in the middle: {c}"
            content, reasoning = content + said, reasoning + thought
            if choice.finish_reason:
                finish.append(choice.finish_reason)
    assert len(finish) == 1 and len(usage) == 1, (finish, usage)
    return chunks, content, reasoning, finish[0], usage[0]


def whole_answer():
    """a chat completion has the documented shape"""
    for model in ("deepseek-chat", "deepseek-v3.2-exp", "DeepSeek-V3.2-Exp-nothinking"):
        r = client.chat.completions.create(model=model, messages=HELLO, max_tokens=40)
        assert r.object == "chat.completion" and r.model == model and UUID.match(r.id), r
        assert r.system_fingerprint.startswith("fp_"), r
        (choice,) = r.choices
        assert choice.message.role == "assistant" and isinstance(choice.message.content, str) and choice.message.tool_calls is None, r
        assert not hasattr(choice.message, "reasoning_content"), r
        assert choice.finish_reason in ("stop", "length"), r
        usage_adds_up(r.usage, 40)
        assert r._request_id, "no x-request-id header"


def every_prefix():
    """every API prefix works"""
    for prefix in ("", "/", "/v1", "/v1/", "/beta", "/beta/v1"):
        c = openai.OpenAI(base_url=checks.URL + prefix, api_key=KEY, max_retries=0, timeout=300)
        assert c.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=2).choices, prefix


def stream_with_usage():
    """a stream with include_usage ends with one chunk of usage and no choices"""
    s = client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=40, stream=True, stream_options={"include_usage": True})
    chunks, _, reasoning, finish, usage = collect(s)
    assert chunks[-1].choices == [] and chunks[-1].usage and chunks[-2].choices[0].finish_reason, chunks[-2:]
    assert finish in ("stop", "length") and reasoning == ""
    usage_adds_up(usage, 40)


def stream_without_usage():
    """a stream without include_usage carries the usage in its finish chunk"""
    s = client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=40, stream=True)
    chunks, _, _, _, usage = collect(s)
    assert chunks[-1].choices[0].finish_reason and chunks[-1].usage, chunks[-1]
    usage_adds_up(usage, 40)


def thinking():
    """thinking by model id and by the thinking field gives reasoning_content"""
    on, off = {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}
    for model, extra in (("DeepSeek-V3.2-Exp-thinking", None), ("deepseek-reasoner", off), ("deepseek-v3.2-exp", on), ("deepseek-chat", on)):
        r = client.chat.completions.create(model=model, messages=HELLO, max_tokens=60, extra_body=extra)
        message = r.choices[0].message
        assert isinstance(message.reasoning_content, str) and isinstance(message.content, str), r
        assert 0 <= r.usage.completion_tokens_details.reasoning_tokens <= r.usage.completion_tokens, r
        usage_adds_up(r.usage, 60)
    r = client.chat.completions.create(model="DeepSeek-V3.2-Exp-nothinking", messages=HELLO, max_tokens=8, extra_body=on)
    assert not hasattr(r.choices[0].message, "reasoning_content"), r


def thinking_stream():
    """a thinking stream gives its reasoning before its answer"""
    s = client.chat.completions.create(model="DeepSeek-V3.2-Exp-thinking", messages=HELLO, max_tokens=120, stream=True, stream_options={"include_usage": True})
    chunks, _, reasoning, _, usage = collect(s)
    first = chunks[0].choices[0].delta
    assert first.content is None and first.reasoning_content == "", first
    assert usage.completion_tokens_details.reasoning_tokens > 0 or not reasoning, usage
    usage_adds_up(usage, 120)


def same_seed():
    """the same seed gives the same answer, streamed or not, and another seed another"""
    def ask(seed, **kw):
        return client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=40, seed=seed, temperature=1.3, **kw)
    whole = ask(7).choices[0].message.content
    assert ask(7).choices[0].message.content == whole
    assert collect(ask(7, stream=True))[1] == whole
    assert len({ask(seed).choices[0].message.content for seed in range(8)}) > 1, "eight seeds, one answer"


def stop_strings():
    """a stop string ends the answer and is not part of it"""
    whole = client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=40, seed=3).choices[0].message.content
    at = next((c for c in whole[1:] if c != whole[0]), None)
    if at is None:
        return  # an answer of one letter cannot contain a stop string
    cut = client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=40, seed=3, stop=[at])
    assert cut.choices[0].message.content == whole.split(at)[0] and cut.choices[0].finish_reason == "stop", (whole, at, cut)


def log_probabilities():
    """logprobs come with the requested number of alternatives, best first"""
    r = client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=8, logprobs=True, top_logprobs=5)
    entries = r.choices[0].logprobs.content
    assert 1 <= len(entries) <= 8, r
    for e in entries:
        assert e.logprob <= 0 and len(e.top_logprobs) == 5, e
        assert [t.logprob for t in e.top_logprobs] == sorted((t.logprob for t in e.top_logprobs), reverse=True), e


def list_models():
    """the model list has the ids of CometAPI's guide"""
    models = {m.id: m for m in client.models.list()}
    assert set(IDS) <= set(models), sorted(models)
    assert all(m.object == "model" and m.owned_by and m.created for m in models.values()), models


def faults():
    """invalid requests raise the exception and message of the DeepSeek API"""
    def refused(text, code="invalid_request_error", **kw):
        try:
            client.chat.completions.create(**{"model": "deepseek-chat", "messages": HELLO, "max_tokens": 4, **kw})
        except openai.BadRequestError as e:
            assert e.status_code == 400 and e.type == "invalid_request_error" and e.code == code and text in e.message, (text, e)
        else:
            raise AssertionError(f"accepted, although: {text}")
    refused("Model Not Exist", model="gpt-nothing")
    refused("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", max_tokens=0)
    refused("Invalid temperature value, the valid range of temperature is [0, 2]", temperature=2.5)
    refused("Invalid top_p value, the valid range of top_p is (0, 1.0]", top_p=0)
    refused("Invalid n value", n=9)
    refused("Invalid 'messages': empty array.", messages=[])
    refused("messages[0]", messages=[{"role": "nobody", "content": "x"}])
    refused("does not support the parameter `logprobs`", model="deepseek-reasoner", logprobs=True)
    refused("This model's maximum context length is", code="context_length_exceeded", messages=[{"role": "user", "content": "word " * 150_000}])
    try:
        openai.OpenAI(base_url=checks.URL + "/nowhere", api_key=KEY, max_retries=0).chat.completions.create(model="deepseek-chat", messages=HELLO)
    except openai.NotFoundError as e:
        assert e.code == "not_found", e
    else:
        raise AssertionError("an unknown path was answered")


def hang_up():
    """a client may disconnect in the middle of a stream, and the next is served"""
    for _ in range(3):
        s = client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=2000, stream=True)
        next(iter(s))
        s.close()
    assert client.chat.completions.create(model="deepseek-chat", messages=HELLO, max_tokens=2).choices


async def parallel_streams():
    """32 parallel streams are each equal to the same request alone"""
    aio = openai.AsyncOpenAI(base_url=checks.URL, api_key=KEY, max_retries=0, timeout=300)

    async def ask(i):
        messages = [{"role": "user", "content": f"Tell me a story about {i + 2} animals."}]
        model = "deepseek-reasoner" if i % 4 == 3 else "deepseek-chat"
        s = await aio.chat.completions.create(model=model, messages=messages, max_tokens=24 + i, seed=i, stream=True, stream_options={"include_usage": True})
        _, content, reasoning, finish, usage = collect([c async for c in s])
        return content, reasoning, finish, usage.completion_tokens
    together = await asyncio.gather(*(ask(i) for i in range(32)))
    for i, got in enumerate(together):
        alone = await ask(i)
        assert got == alone, f"stream {i}: {got} among others, {alone} alone"
    await aio.close()


checks.run("openai for Python", [whole_answer, every_prefix, stream_with_usage, stream_without_usage, thinking, thinking_stream, same_seed, stop_strings, log_probabilities,
                                 list_models, faults, hang_up, parallel_streams])
