// The official Anthropic client for Node against a running server.
import Anthropic from "@anthropic-ai/sdk";

const URL = process.env.CACHALOT_URL ?? "http://127.0.0.1:8000";
const client = new Anthropic({ baseURL: URL, apiKey: "sk-any", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the weather in Oslo?" }];
const tools = [{
  name: "get_weather",
  input_schema: { type: "object", properties: { unit: { type: "string", enum: ["celsius", "fahrenheit"] } }, required: ["unit"] },
}];
const model = "claude-sonnet-4-5";
let failed = 0;

async function check(name, run) {
  try {
    await run();
    console.log(`ok anthropic for Node: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok anthropic for Node: ${name}: ${String(error).replaceAll("\n", " ")}`);
  }
}

function assert(truth, what) {
  if (!truth) throw new Error(JSON.stringify(what));
}

await check("a message has the documented shape", async () => {
  const message = await client.messages.create({ model, max_tokens: 32, messages });
  assert(message.type === "message" && message.model === model && message.stop_reason, message);
});

await check("the deltas of a stream add up to its final message", async () => {
  const stream = client.messages.stream({ model, max_tokens: 32, messages });
  let text = "";
  stream.on("text", (delta) => { text += delta; });
  const final = await stream.finalMessage();
  assert(text === final.content.map((block) => block.text).join(""), final);
});

await check("a tool loop, streamed, and thinking", async () => {
  const stream = client.messages.stream({ model, max_tokens: 200, messages, tools, tool_choice: { type: "any", disable_parallel_tool_use: true } });
  const final = await stream.finalMessage();
  const call = final.content.find((block) => block.type === "tool_use");
  assert(["celsius", "fahrenheit"].includes(call.input.unit) && final.stop_reason === "tool_use", final);
  const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "20" }] };
  const next = await client.messages.create({
    model, max_tokens: 100, messages: [...messages, { role: "assistant", content: final.content }, result], tools, tool_choice: { type: "none" },
  });
  assert(next.content.every((block) => block.type !== "tool_use"), next);
  const thought = await client.messages.create({ model, max_tokens: 100, messages, thinking: { type: "enabled", budget_tokens: 1024 } });
  assert(thought.content[0].type === "thinking" && thought.content[0].signature, thought);
});

await check("tokens are counted", async () => {
  const counted = await client.messages.countTokens({ model, messages });
  assert(counted.input_tokens > 0, counted);
});

process.exit(failed ? 1 : 0);
