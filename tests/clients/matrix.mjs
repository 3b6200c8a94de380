// The official clients for Node, each against a provider of each dialect behind the gateway (fake_providers.py).
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import OpenAI from "openai";

const url = process.env.CACHALOT_MATRIX_URL;
const question = "How is the weather in Paris and Rome?";
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const cities = [{ city: "Paris" }, { city: "Rome" }];
// OpenAI does not return reasoning.
const reasoningOf = { openai: "", deepseek: "Let me think.", anthropic: "Let me think.", gemini: "Let me think." };

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-any", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: url, apiKey: "sk-any", maxRetries: 0 });
const gemini = new GoogleGenAI({ apiKey: "sk-any", httpOptions: { baseUrl: url } });

const surfaces = {
  OpenAi: {
    async complete(model) {
      const r = await openai.chat.completions.create({ model, messages: [{ role: "user", content: "hi" }] });
      assert.equal(r.choices[0].message.content, "Hello, whale.");
      assert.deepEqual([r.usage.prompt_tokens, r.usage.completion_tokens, r.usage.prompt_tokens_details.cached_tokens], [11, 7, 3]);
    },
    async stream(model) {
      let text = "";
      for await (const chunk of await openai.chat.completions.create({ model, messages: [{ role: "user", content: "hi" }], stream: true })) {
        text += chunk.choices[0]?.delta.content ?? "";
      }
      assert.equal(text, "Hello, whale.");
    },
    async tools(model) {
      const tools = [{ type: "function", function: { name: "get_weather", parameters: schema } }];
      const thinking = reasoningOf[model] ? { thinking: { type: "enabled" } } : {};
      const messages = [{ role: "user", content: question }];
      const stream = openai.chat.completions.stream({ model, messages, tools, ...thinking });
      let reasoning = ""; // the client accumulates only known fields
      stream.on("chunk", (chunk) => { reasoning += chunk.choices[0]?.delta.reasoning_content ?? ""; });
      const { message } = (await stream.finalChatCompletion()).choices[0];
      assert.deepEqual(message.tool_calls.map((call) => JSON.parse(call.function.arguments)), cities);
      assert.equal(reasoning, reasoningOf[model]);
      const results = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "sunny" }));
      const { role, content, tool_calls } = message;
      const back = { role, content, tool_calls, ...(reasoning ? { reasoning_content: reasoning } : {}) };
      const r = await openai.chat.completions.create({ model, messages: [...messages, back, ...results], tools, ...thinking });
      assert.equal(r.choices[0].message.content, "It is sunny.");
    },
  },
  Responses: {
    async complete(model) {
      const r = await openai.responses.create({ model, input: "hi" });
      assert.equal(r.output_text, "Hello, whale.");
      assert.equal(r.usage.input_tokens, 11);
    },
    async stream(model) {
      let text = "";
      for await (const event of await openai.responses.create({ model, input: "hi", stream: true })) {
        if (event.type === "response.output_text.delta") text += event.delta;
      }
      assert.equal(text, "Hello, whale.");
    },
    async tools(model) {
      const tools = [{ type: "function", name: "get_weather", parameters: schema, strict: false }];
      const input = [{ role: "user", content: question }];
      const r = await openai.responses.create({ model, input, tools });
      const calls = r.output.filter((item) => item.type === "function_call");
      assert.deepEqual(calls.map((call) => JSON.parse(call.arguments)), cities);
      const results = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: "sunny" }));
      const next = await openai.responses.create({ model, input: [...input, ...calls, ...results], tools });
      assert.equal(next.output_text, "It is sunny.");
    },
  },
  Anthropic: {
    async complete(model) {
      const r = await anthropic.messages.create({ model, max_tokens: 50, messages: [{ role: "user", content: "hi" }] });
      assert.equal(r.content.at(-1).text, "Hello, whale.");
      assert.deepEqual([r.usage.input_tokens, r.usage.cache_read_input_tokens, r.usage.output_tokens], [8, 3, 7]);
    },
    async stream(model) {
      const r = await anthropic.messages.stream({ model, max_tokens: 50, messages: [{ role: "user", content: "hi" }] }).finalMessage();
      assert.equal(r.content.at(-1).text, "Hello, whale.");
    },
    async tools(model) {
      const tools = [{ name: "get_weather", input_schema: schema }];
      const thinking = reasoningOf[model] ? { thinking: { type: "enabled", budget_tokens: 1024 } } : {};
      const messages = [{ role: "user", content: question }];
      const request = { model, max_tokens: 4000, tools, ...thinking };
      const r = await anthropic.messages.stream({ ...request, messages }).finalMessage();
      const calls = r.content.filter((block) => block.type === "tool_use");
      assert.deepEqual(calls.map((block) => block.input), cities);
      assert.equal(r.content.filter((block) => block.type === "thinking").map((block) => block.thinking).join(""), reasoningOf[model]);
      const results = calls.map((block) => ({ type: "tool_result", tool_use_id: block.id, content: "sunny" }));
      const next = await anthropic.messages.create({ ...request, messages: [...messages, { role: "assistant", content: r.content }, { role: "user", content: results }] });
      assert.equal(next.content.at(-1).text, "It is sunny.");
    },
  },
  Gemini: {
    async complete(model) {
      const r = await gemini.models.generateContent({ model, contents: "hi" });
      assert.equal(r.text, "Hello, whale.");
      assert.deepEqual([r.usageMetadata.promptTokenCount, r.usageMetadata.candidatesTokenCount], [11, 7]);
    },
    async stream(model) {
      let text = "";
      for await (const chunk of await gemini.models.generateContentStream({ model, contents: "hi" })) text += chunk.text ?? "";
      assert.equal(text, "Hello, whale.");
    },
    async tools(model) {
      const config = {
        tools: [{ functionDeclarations: [{ name: "get_weather", description: "d", parametersJsonSchema: schema }] }],
        ...(reasoningOf[model] ? { thinkingConfig: { includeThoughts: true } } : {}),
      };
      const user = { role: "user", parts: [{ text: question }] };
      const parts = [];
      for await (const chunk of await gemini.models.generateContentStream({ model, contents: [user], config })) {
        parts.push(...(chunk.candidates?.[0]?.content?.parts ?? []));
      }
      const calls = parts.filter((part) => part.functionCall);
      assert.deepEqual(calls.map((part) => part.functionCall.args), cities);
      assert.equal(parts.filter((part) => part.thought).map((part) => part.text).join(""), reasoningOf[model]);
      const results = calls.map(({ functionCall }) => ({ functionResponse: { id: functionCall.id, name: functionCall.name, response: { result: "sunny" } } }));
      const contents = [user, { role: "model", parts }, { role: "user", parts: results }];
      assert.equal((await gemini.models.generateContent({ model, contents, config })).text, "It is sunny.");
    },
  },
};

let failed = 0;
for (const [surface, calls] of Object.entries(surfaces)) {
  for (const dialect of Object.keys(reasoningOf)) {
    for (const [call, name] of [["complete", "a non-streaming answer and its counts"], ["stream", "a stream"], ["tools", "parallel calls, reasoning, and results"]]) {
      try {
        await calls[call](dialect);
        console.log(`ok matrix for Node: ${surface} to ${dialect}: ${name}`);
      } catch (error) {
        failed += 1;
        console.log(`not ok matrix for Node: ${surface} to ${dialect}: ${name}: ${String(error).replaceAll("\n", " ")}`);
      }
    }
  }
}
process.exit(failed ? 1 : 0);
