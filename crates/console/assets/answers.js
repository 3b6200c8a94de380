// What the answers of all model surfaces have in common: their events, their usage and their cost.
import { faultOf, send } from "./calls.js";

/** An event of a stream. @typedef {{ name: string, data: string }} StreamEvent */

/** Reads a stream of events bit by bit. Comments and fields other than `event` and `data` are left out. */
export class EventReader {
  /** The text of a line that has not ended. */
  rest = "";
  name = "";
  /** @type {string[]} */
  data = [];

  /** The events that end in the next piece of text. @param {string} text @returns {StreamEvent[]} */
  push(text) {
    const events = [];
    this.rest += text;
    let from = 0;
    for (let end; (end = this.rest.indexOf("\n", from)) >= 0; from = end + 1) {
      const line = this.rest.slice(from, this.rest[end - 1] === "\r" ? end - 1 : end);
      const value = (/** @type {number} */ length) => line.slice(line[length] === " " ? length + 1 : length);
      if (line.startsWith("data:")) this.data.push(value(5));
      else if (line.startsWith("event:")) this.name = value(6);
      else if (line === "") {
        if (this.data.length > 0) events.push({ name: this.name, data: this.data.join("\n") });
        this.name = "";
        this.data = [];
      }
    }
    this.rest = this.rest.slice(from);
    return events;
  }

  /** The event that the end of the stream ends. */
  end() {
    return this.push("\n\n");
  }
}

/** The pieces of text of a body; bytes that are no UTF-8 become U+FFFD. @param {ReadableStream<Uint8Array>} body */
export async function* textOf(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield /** @type {string} */ (value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The events of a body. @param {ReadableStream<Uint8Array>} body */
export async function* eventsOf(body) {
  const events = new EventReader();
  for await (const text of textOf(body)) yield* events.push(text);
  yield* events.end();
}

/** The tokens of an answer; `cached` is a part of `input`, `thought` of `output`. @typedef {{ input: number, cached: number, output: number, thought: number }} Usage */

/** @param {any} value */
const tokens = (value) => (Number.isSafeInteger(value) && value > 0 ? value : 0);

/** The usage of an answer, or of an event, of any surface; null if it has none. @param {any} answer @returns {Usage | null} */
export function usageOf(answer) {
  const usage = answer.usage ?? answer.usageMetadata ?? answer.response?.usage ?? answer.message?.usage;
  if (!usage) return null;
  const input = usage.prompt_tokens_details ?? usage.input_tokens_details;
  const output = usage.completion_tokens_details ?? usage.output_tokens_details;
  return {
    input: tokens(usage.prompt_tokens ?? usage.input_tokens ?? usage.promptTokenCount),
    cached: tokens(input?.cached_tokens ?? usage.prompt_cache_hit_tokens ?? usage.cachedContentTokenCount),
    output: tokens(usage.completion_tokens ?? usage.output_tokens ?? usage.candidatesTokenCount),
    thought: tokens(output?.reasoning_tokens ?? usage.thoughtsTokenCount),
  };
}

/** How long the catalog of models is taken for current. */
const CATALOG_MS = 60_000;

/** @type {{ models: Promise<any[]>, at: number } | null} */
let catalogRead = null;

/** The models and prices of `GET /api/models`, at most a minute old. Where they cannot be read again, the last ones. @returns {Promise<any[]>} */
export function catalog() {
  const before = catalogRead;
  if (before && Date.now() - before.at < CATALOG_MS) return before.models;
  const models = send("GET", "/api/models").then(async (response) => {
    if (!response.ok) throw await faultOf(response);
    return (await response.json()).data;
  }).catch((fault) => {
    catalogRead = null;
    if (before) return before.models;
    throw fault;
  });
  catalogRead = { models, at: Date.now() };
  return models;
}

/** US dollars by the prices of the catalog; null without a price. @param {string} id @param {Usage} usage @returns {Promise<number | null>} */
export async function costOf(id, { input, output, cached }) {
  const pricing = (await catalog().catch(() => [])).find((model) => model.id === id)?.pricing;
  if (pricing?.input == null || pricing.output == null) return null;
  return ((input - cached) * pricing.input + cached * (pricing.cached_input ?? pricing.input) + output * pricing.output + (pricing.per_request ?? 0) * 1e6) / 1e6;
}
