// OpenAI's client for Node against cachalot: a streamed answer with its reasoning, then a tool call and its result.
//
//   npm install openai
//   node examples/node/chat.mjs
import OpenAI from "openai";

const model = process.env.CACHALOT_MODEL ?? "deepseek-chat";
const client = new OpenAI({
  baseURL: process.env.CACHALOT_URL ?? "http://127.0.0.1:8000",
  apiKey: process.env.CACHALOT_KEY ?? "any",
});

// Prints the reasoning and the answer as they arrive.
async function streamWithReasoning() {
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "Which is larger, 9.11 or 9.8?" }],
    max_tokens: 200,
    stream: true,
    stream_options: { include_usage: true },
    thinking: { type: "enabled" }, // DeepSeek's field; the client sends what it does not know
  });
  let shown;
  for await (const { choices, usage } of stream) {
    for (const { delta, finish_reason } of choices) {
      for (const [part, text] of [["reasoning", delta.reasoning_content], ["answer", delta.content]]) {
        if (!text) continue;
        process.stdout.write((part === shown ? "" : `\n[${part}] `) + text);
        shown = part;
      }
      if (finish_reason) console.log(`\n[ended: ${finish_reason}]`);
    }
    if (usage) console.log(`[${usage.prompt_tokens} tokens read, ${usage.completion_tokens} written]`);
  }
}

// What the model can call. A real one would ask a weather service.
const getWeather = ({ city }) => ({ city, celsius: 21 });

const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city",
      parameters: {
        type: "object",
        properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
        required: ["city"],
        additionalProperties: false,
      },
    },
  },
];

// Has the model call the tool, and gives it the results.
async function callATool() {
  const messages = [{ role: "user", content: "What is the weather in Paris?" }];
  // The answer has to be a call. With "auto" the model chooses between a call and text.
  const called = await client.chat.completions.create({ model, messages, tools, tool_choice: "required", max_tokens: 300 });
  const { message } = called.choices[0];
  messages.push(message);
  for (const call of message.tool_calls) {
    // The arguments are always JSON that fits the schema, unless `max_tokens` has cut them.
    const result = getWeather(JSON.parse(call.function.arguments));
    console.log(`[call] ${call.function.name}(${call.function.arguments}) ->`, result);
    messages.push({ role: "tool", tool_call_id: call.id, content: JSON.stringify(result) });
  }
  const answered = await client.chat.completions.create({ model, messages, tools, tool_choice: "none", max_tokens: 100 });
  console.log(`[answer] ${answered.choices[0].message.content}`);
}

await streamWithReasoning();
await callATool();
