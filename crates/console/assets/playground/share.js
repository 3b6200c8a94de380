// A conversation as a link, as a file, and back. What comes in is checked field by field.
import { words } from "../words.js";
import { newId } from "./conversation.js";
import { isObject } from "./settings.js";
import { TYPES } from "./images.js";

const text = words.playground;

/** @typedef {import("./conversation.js").Conversation} Conversation */

/** Most characters of a link. */
export const MAX_LINK = 64 * 1024;
/** Most bytes of a conversation that is read. */
const MAX_BYTES = 64 * 1024 * 1024;
/** Most items of a list: turns, tokens of an answer. */
const MAX_ITEMS = 100_000;
/** Most characters of the address of an image. */
const MAX_IMAGE = 16 * 1024 * 1024;

/** The conversation as JSON, as files and links have it. @param {Conversation} conversation */
export function toJson(conversation) {
  const { title, model, settings, turns, leaf, shown } = conversation;
  return { format: "cachalot conversation", version: 1, title, model, settings, turns, leaf, shown };
}

/** What stands behind `#` in a link to a conversation. @param {Conversation} conversation @returns {Promise<string>} */
export async function toHash(conversation) {
  const compressed = new Blob([JSON.stringify(toJson(conversation))]).stream().pipeThrough(new CompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(compressed).arrayBuffer());
  let binary = "";
  for (let from = 0; from < bytes.length; from += 8192) binary += String.fromCharCode(...bytes.subarray(from, from + 8192));
  return `c=${btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`;
}

/** The conversation of a link. @param {string} hash without `#` @param {string} owner @returns {Promise<Conversation>} @throws {Error} what is wrong with it */
export async function fromHash(hash, owner) {
  let source;
  try {
    const binary = atob(hash.replace(/^c=/, "").replace(/-/g, "+").replace(/_/g, "/"));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    source = await limited(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  } catch {
    throw new Error(text.badLink);
  }
  return fromJson(source, owner);
}

/** The text of a stream, of at most MAX_BYTES. @param {ReadableStream<Uint8Array>} stream */
async function limited(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let size = 0;
  let found = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return found + decoder.decode();
    size += value.length;
    if (size > MAX_BYTES) {
      reader.cancel();
      throw new Error("too large");
    }
    found += decoder.decode(value, { stream: true });
  }
}

/** What a conversation consists of: types of values, `?` for those that may be null or absent; a list has the type of its items. */
const SETTINGS = {
  system: "text", temperature: "number?", topP: "number?", maxTokens: "text", seed: "text", stop: "text", frequencyPenalty: "number?", presencePenalty: "number?",
  topLogprobs: "text", thinking: "text", format: "text", schema: "text", tools: [{ name: "text", description: "text", parameters: "text", answer: "text" }], attention: "text",
};
const TURN = { id: "text", parent: "text?", role: "text", text: "text" };
const USER = { ...TURN, images: [{ name: "text", url: "image" }] };
const ANSWER = {
  ...TURN, model: "text", reasoning: "text?", calls: [{ id: "text", name: "text", arguments: "text", result: "text?" }],
  logprobs: [{ token: "text", logprob: "number", top: [["text or number"]] }], finish: "text?", stopped: "boolean",
};
const FAULT = { status: "number", message: "text", code: "text?", requestId: "text?" };
const MEASURES = { first: "number?", thought: "number?", total: "number", cost: "number?", requestId: "text?", provider: "text?" };
const USAGE = { input: "number", cached: "number", output: "number", thought: "number" };

/** What a setting may be, where that is not any text. @type {Record<string, string[]>} */
const CHOICES = { thinking: ["", "enabled", "disabled"], format: ["text", "json", "schema"], attention: ["", "dense", "sparse"] };

const IMAGE = new RegExp(`^data:(${TYPES.join("|")});base64,[A-Za-z0-9+/]*={0,2}$`);

/**
 * The parts of a value that a shape has, and nothing else.
 * @param {any} value @param {any} shape @param {string} path @returns {any} @throws {Error} the path of what is missing or of another type
 */
function take(value, shape, path) {
  const wrong = new Error(text.wrongField(path));
  if (Array.isArray(shape)) {
    if (!Array.isArray(value) || value.length > MAX_ITEMS) throw wrong;
    return value.map((item, index) => take(item, shape[0], `${path}[${index}]`));
  }
  if (typeof shape === "object") {
    if (!isObject(value)) throw wrong;
    return Object.fromEntries(Object.entries(shape).map(([name, part]) => [name, take(value[name], part, `${path}.${name}`)]));
  }
  if (value === null || value === undefined) {
    if (shape.endsWith("?")) return null;
    throw wrong;
  }
  const type = shape.replace("?", "");
  if (type === "image" && typeof value === "string" && value.length < MAX_IMAGE && IMAGE.test(value)) return value;
  if (type.includes("text") && typeof value === "string") return /** @type {any} */ (value).toWellFormed();
  if (type.includes("number") && typeof value === "number" && Number.isFinite(value)) return value;
  if (type === "boolean" && typeof value === "boolean") return value;
  throw wrong;
}

/** The conversation of a file. @param {string} source @param {string} owner @returns {Conversation} @throws {Error} what is wrong with it */
export function fromJson(source, owner) {
  let json;
  try {
    json = JSON.parse(source);
  } catch (fault) {
    throw new Error(text.noJson(/** @type {Error} */ (fault).message));
  }
  if (!isObject(json) || json.format !== "cachalot conversation") throw new Error(text.noConversation);
  if (json.version !== 1) throw new Error(text.newerVersion);
  if (!Array.isArray(json.turns) || json.turns.length > MAX_ITEMS) throw new Error(text.wrongField("turns"));
  // A file may be read twice: its turns get ids of their own, which the parents follow.
  /** @type {Map<string, string>} */
  const ids = new Map();
  const turns = json.turns.map((/** @type {any} */ value, /** @type {number} */ index) => {
    const path = `turns[${index}]`;
    const turn = turnOf(value, path);
    if (ids.has(turn.id)) throw new Error(text.wrongField(`${path}.id`));
    if (turn.parent !== null && !ids.has(turn.parent)) throw new Error(text.wrongField(`${path}.parent`));
    const id = newId();
    ids.set(turn.id, id);
    return { ...turn, id, parent: turn.parent === null ? null : (ids.get(turn.parent) ?? null) };
  });
  const shown = Object.entries(isObject(json.shown) ? json.shown : {}).flatMap(([parent, child]) => {
    const ends = [parent === "" ? "" : ids.get(parent), ids.get(child)];
    return ends.includes(undefined) ? [] : [/** @type {[string, string]} */ (ends)];
  });
  const settings = take(json.settings, SETTINGS, "settings");
  for (const [name, allowed] of Object.entries(CHOICES)) if (!allowed.includes(settings[name])) throw new Error(text.wrongField(`settings.${name}`));
  return {
    id: newId(), owner, title: take(json.title, "text", "title"), at: Date.now(), model: take(json.model, "text", "model"), settings, turns,
    leaf: ids.get(take(json.leaf, "text?", "leaf")) ?? null, shown: Object.fromEntries(shown),
  };
}

/** @param {any} value @param {string} path @returns {import("./conversation.js").Turn} */
function turnOf(value, path) {
  if (value?.role === "user") return take(value, USER, path);
  if (value?.role !== "assistant") throw new Error(text.wrongField(`${path}.role`));
  const answer = take(value, ANSWER, path);
  const measures = take(value.measures, MEASURES, `${path}.measures`);
  const usage = value.measures.usage == null ? null : take(value.measures.usage, USAGE, `${path}.measures.usage`);
  return { ...answer, fault: value.fault == null ? null : take(value.fault, FAULT, `${path}.fault`), measures: { ...measures, usage } };
}

/** The path that is shown, as Markdown. @param {string} title @param {string} system @param {import("./conversation.js").Turn[]} path */
export function toMarkdown(title, system, path) {
  const parts = [`# ${title || text.untitled}`];
  if (system) parts.push(`## ${text.system}\n\n${system}`);
  for (const turn of path) {
    if (turn.role === "user") {
      parts.push(`## ${text.you}\n\n${[...turn.images.map(({ name }) => `[${name}]`), turn.text].filter(Boolean).join("\n\n")}`);
      continue;
    }
    const body = [turn.text, ...turn.calls.map(({ name, arguments: given, result }) => `\`${name}\`\n\n${fenced(given)}${result === null ? "" : `\n\n${fenced(result)}`}`)];
    if (turn.fault) body.push(`> ${turn.fault.message}`);
    parts.push(`## ${turn.model}\n\n${body.filter(Boolean).join("\n\n")}`);
  }
  return `${parts.join("\n\n")}\n`;
}

/** A code block whose fence is longer than any in its text. @param {string} source */
function fenced(source) {
  const longest = Math.max(2, ...[...source.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}json\n${source}\n${fence}`;
}

/** A title as the name of a file. @param {string} title */
export const fileName = (title) => title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "conversation";
