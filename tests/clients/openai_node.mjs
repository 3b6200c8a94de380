// The official OpenAI client for Node against a running server. Checks shapes, orders and equalities, not the text of the model.
// Prints one line per check, `ok NAME` or `not ok NAME: reason`; exits 1 if one failed.
import assert from "node:assert/strict";
import OpenAI from "openai";

const url = (process.env.CACHALOT_URL ?? "http://127.0.0.1:8000").replace(/\/+$/, "");
const client = new OpenAI({ baseURL: url, apiKey: "sk-any", maxRetries: 0, timeout: 300_000 });
const messages = [{ role: "user", content: "Tell me a short story about a fox." }];
const ids = ["deepseek-v3.2-exp", "DeepSeek-V3.2-Exp-thinking", "DeepSeek-V3.2-Exp-nothinking", "deepseek-chat", "deepseek-reasoner"];

function usageAddsUp(usage, most) {
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens >= 1 && usage.completion_tokens <= most, JSON.stringify(usage));
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

async function collect(stream) {
  const got = { content: "", reasoning: "", finish: [], usage: [], chunks: 0 };
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    got.chunks += 1;
    if (chunk.usage) got.usage.push(chunk.usage);
    for (const choice of chunk.choices) {
      got.content += choice.delta.content ?? "";
      got.reasoning += choice.delta.reasoning_content ?? "";
      if (choice.finish_reason) got.finish.push(choice.finish_reason);
    }
  }
  assert.equal(got.finish.length, 1, "one finish reason");
  assert.equal(got.usage.length, 1, "one usage");
  return got;
}

const checks = {
  "a chat completion has the documented shape": async () => {
    const r = await client.chat.completions.create({ model: "deepseek-v3.2-exp", messages, max_tokens: 40 });
    assert.equal(r.object, "chat.completion");
    assert.equal(r.choices.length, 1);
    assert.equal(typeof r.choices[0].message.content, "string");
    assert.equal("reasoning_content" in r.choices[0].message, false);
    assert.ok(["stop", "length"].includes(r.choices[0].finish_reason));
    assert.ok(r._request_id, "no x-request-id header");
    usageAddsUp(r.usage, 40);
  },
  "a stream ends with usage when asked": async () => {
    const body = { model: "deepseek-chat", messages, max_tokens: 40, stream: true };
    usageAddsUp((await collect(await client.chat.completions.create({ ...body, stream_options: { include_usage: true } }))).usage[0], 40);
    usageAddsUp((await collect(await client.chat.completions.create(body))).usage[0], 40);
  },
  "a thinking model gives reasoning_content": async () => {
    for (const body of [{ model: "DeepSeek-V3.2-Exp-thinking" }, { model: "deepseek-v3.2-exp", thinking: { type: "enabled" } }]) {
      const r = await client.chat.completions.create({ ...body, messages, max_tokens: 40 });
      assert.equal(typeof r.choices[0].message.reasoning_content, "string");
      assert.ok(r.usage.completion_tokens_details.reasoning_tokens <= r.usage.completion_tokens);
    }
  },
  "the stream helper assembles the final message": async () => {
    const stream = client.chat.completions.stream({ model: "deepseek-chat", messages, max_tokens: 40, seed: 5 });
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].message.content, text);
    const whole = await client.chat.completions.create({ model: "deepseek-chat", messages, max_tokens: 40, seed: 5 });
    assert.equal(text, whole.choices[0].message.content);
  },
  "the model list has the ids of CometAPI's guide": async () => {
    const listed = (await client.models.list()).data.map((m) => m.id);
    for (const id of ids) assert.ok(listed.includes(id), `${id} is not among ${listed}`);
  },
  "an unknown model is a BadRequestError": async () => {
    await assert.rejects(client.chat.completions.create({ model: "gpt-nothing", messages }), (e) => {
      assert.ok(e instanceof OpenAI.BadRequestError, String(e));
      assert.match(e.message, /Model Not Exist/);
      assert.equal(e.code, "invalid_request_error");
      return true;
    });
  },
  "a client may abort a stream, and the next is served": async () => {
    const stream = await client.chat.completions.create({ model: "deepseek-chat", messages, max_tokens: 2000, stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
    assert.equal((await client.chat.completions.create({ model: "deepseek-chat", messages, max_tokens: 2 })).choices.length, 1);
  },
  "eight parallel streams are each equal to the same request alone": async () => {
    const ask = async (seed) => collect(await client.chat.completions.create({ model: "deepseek-chat", messages, max_tokens: 32, seed, stream: true }));
    const together = await Promise.all(Array.from({ length: 8 }, (_, seed) => ask(seed)));
    for (const [seed, got] of together.entries()) {
      const alone = await ask(seed);
      assert.deepEqual([got.content, got.finish], [alone.content, alone.finish]);
    }
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok openai for Node: ${name}`);
  } catch (e) {
    failed += 1;
    console.log(`not ok openai for Node: ${name}: ${String(e.message ?? e).replaceAll("\n", " ")}`);
  }
}
process.exit(failed ? 1 : 0);
