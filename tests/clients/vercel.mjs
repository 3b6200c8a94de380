// The Vercel AI SDK with each of its providers that cachalot can stand for: text, streams, objects, tools, and loops over several steps.
// Against the model of a running server (CACHALOT_URL) it checks shapes; against the fake providers behind a gateway (CACHALOT_MATRIX_URL), every word.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createDeepSeek } from "@ai-sdk/deepseek";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const apiKey = "sk-any";
const weather = z.object({ sky: z.enum(["clear", "cloudy"]), rain: z.boolean() });
const question = "How is the weather in Paris and Rome?";

function providers(url) {
  const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey });
  return {
    "openai (responses)": (model) => openai(model),
    "openai (chat)": (model) => openai.chat(model),
    anthropic: createAnthropic({ baseURL: `${url}/v1`, apiKey }),
    google: createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey }),
    deepseek: createDeepSeek({ baseURL: url, apiKey }),
    "openai-compatible": createOpenAICompatible({ name: "cachalot", baseURL: `${url}/v1`, apiKey, includeUsage: true, supportsStructuredOutputs: true }),
  };
}

// Counts how often each tool runs.
function tools(calls) {
  const counted = (name, execute) => tool({
    description: name,
    inputSchema: z.object({ city: z.enum(["Paris", "Rome"]) }),
    execute: (input) => { calls.push([name, input.city]); return execute(input); },
  });
  return {
    get_weather: counted("get_weather", ({ city }) => `sunny in ${city}`),
    get_forecast: counted("get_forecast", ({ city }) => ({ city, tomorrow: "rain" })),
  };
}

async function collect(stream) {
  let text = "";
  for await (const piece of stream) text += piece;
  return text;
}

async function last(stream) {
  let value;
  for await (const partial of stream) value = partial;
  return value;
}

function usageAddsUp(usage) {
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0, JSON.stringify(usage));
}

// The checks against the model of the server, whose words are unknown. `enforces` is false for a provider that asks for JSON without its schema.
function modelChecks(model, enforces) {
  const ask = { model, maxOutputTokens: 300, maxRetries: 0 };
  return {
    "text": async () => {
      const result = await generateText({ ...ask, system: "Be short.", prompt: "Hello", maxOutputTokens: 40 });
      assert.equal(typeof result.text, "string");
      assert.ok(["stop", "length"].includes(result.finishReason), result.finishReason);
      usageAddsUp(result.usage);
    },
    "a stream": async () => {
      const result = streamText({ ...ask, prompt: "Hello", maxOutputTokens: 40, onError: () => {} });
      assert.equal(await collect(result.textStream), await result.text);
      usageAddsUp(await result.usage);
    },
    "an object": async () => {
      const prompt = "Weather as JSON?";
      if (!enforces) return assert.equal(typeof (await generateText({ ...ask, prompt, output: Output.json() })).output, "object");
      weather.parse((await generateText({ ...ask, prompt, output: Output.object({ schema: weather }) })).output);
      weather.parse((await generateObject({ ...ask, prompt, schema: weather })).object);
    },
    "a streamed object": async () => {
      const prompt = "Weather as JSON?";
      if (!enforces) return assert.equal(typeof (await last(streamText({ ...ask, prompt, output: Output.json() }).partialOutputStream)), "object");
      const result = streamText({ ...ask, prompt, output: Output.object({ schema: weather }) });
      weather.parse(await last(result.partialOutputStream));
      weather.parse(await last(streamObject({ ...ask, prompt, schema: weather }).partialObjectStream));
    },
    "a forced tool, and the step after its result": async () => {
      const calls = [];
      const forceFirst = ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? { type: "tool", toolName: "get_weather" } : "none" });
      const result = await generateText({ ...ask, prompt: question, tools: tools(calls), stopWhen: stepCountIs(2), prepareStep: forceFirst });
      assert.equal(result.steps.length, 2);
      assert.ok(result.steps[0].toolCalls.length > 0 && calls.every(([name, city]) => name === "get_weather" && ["Paris", "Rome"].includes(city)), JSON.stringify(calls));
      assert.equal(result.steps[0].finishReason, "tool-calls");
    },
  };
}

// The checks against the fake providers, whose words are known. `countsCached` is false where OpenAI's counts are forwarded to a client that reads DeepSeek's.
function matrixChecks(model, countsCached) {
  const ask = { model, maxRetries: 0 };
  const steps = [["get_weather", "Paris"], ["get_weather", "Rome"], ["get_forecast", "Rome"]];
  return {
    "text and its counts": async () => {
      const result = await generateText({ ...ask, system: "Be short.", prompt: "hi" });
      assert.deepEqual([result.text, result.finishReason], ["Hello, whale.", "stop"]);
      assert.deepEqual([result.usage.inputTokens, result.usage.outputTokens], [11, 7]);
      if (countsCached) assert.equal(result.usage.inputTokenDetails.cacheReadTokens, 3);
    },
    "a stream": async () => assert.equal(await collect(streamText({ ...ask, prompt: "hi" }).textStream), "Hello, whale."),
    "an object": async () => {
      const expected = { sky: "clear", rain: false };
      assert.deepEqual((await generateText({ ...ask, prompt: "hi", output: Output.object({ schema: weather }) })).output, expected);
      assert.deepEqual((await generateObject({ ...ask, prompt: "hi", schema: weather })).object, expected);
    },
    "a streamed object": async () => {
      const expected = { sky: "clear", rain: false };
      assert.deepEqual(await last(streamText({ ...ask, prompt: "hi", output: Output.object({ schema: weather }) }).partialOutputStream), expected);
      assert.deepEqual(await last(streamObject({ ...ask, prompt: "hi", schema: weather }).partialObjectStream), expected);
    },
    "a tool loop": async () => {
      const calls = [];
      const result = await generateText({ ...ask, prompt: question, tools: tools(calls), stopWhen: stepCountIs(5) });
      assert.deepEqual([calls, result.steps.length, result.text], [steps, 3, "It is sunny."]);
    },
    "a streamed tool loop": async () => {
      const calls = [];
      const result = streamText({ ...ask, prompt: question, tools: tools(calls), stopWhen: stepCountIs(5) });
      assert.equal(await collect(result.textStream), "It is sunny.");
      assert.deepEqual([calls, (await result.steps).length], [steps, 3]);
    },
  };
}

let failed = 0;
async function run(title, checks) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok ${title}: ${name}`);
    } catch (error) {
      failed += 1;
      const cause = error.responseBody ?? error.cause?.message ?? error.text ?? "";
      console.log(`not ok ${title}: ${name}: ${`${error.message ?? error} ${cause}`.replaceAll("\n", " ")}`);
    }
  }
}

if (process.env.CACHALOT_URL) {
  for (const [name, provider] of Object.entries(providers(process.env.CACHALOT_URL))) {
    await run(`AI SDK, ${name}`, modelChecks(provider("deepseek-chat"), name !== "deepseek"));
  }
}
if (process.env.CACHALOT_MATRIX_URL) {
  for (const [name, provider] of Object.entries(providers(process.env.CACHALOT_MATRIX_URL))) {
    for (const dialect of ["openai", "deepseek", "anthropic", "gemini"]) {
      await run(`AI SDK, ${name} to ${dialect}`, matrixChecks(provider(dialect), name !== "deepseek" || dialect !== "openai"));
    }
  }
}
process.exit(failed ? 1 : 0);
