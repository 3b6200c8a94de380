// The settings of a chat, what is wrong with them, and the request that they make.
import { words } from "../words.js";

const text = words.playground;

/**
 * A tool that a model may call. `parameters` is the text of a JSON Schema; `answer` is given to every call, if it is not empty.
 * @typedef {{ name: string, description: string, parameters: string, answer: string }} Tool
 *
 * Numbers are null, and texts empty, where the model's own default holds.
 * @typedef {{
 *   system: string, temperature: number | null, topP: number | null, maxTokens: string, seed: string, stop: string, frequencyPenalty: number | null,
 *   presencePenalty: number | null, topLogprobs: string, thinking: "" | "enabled" | "disabled", format: "text" | "json" | "schema", schema: string,
 *   tools: Tool[], attention: "" | "dense" | "sparse",
 * }} Settings `stop` has one sequence a line.
 */

/** A listener that is given what was typed. @param {(value: string) => void} act */
export const typed = (act) => (/** @type {any} */ event) => act(event.target.value);

/** @returns {Settings} */
export const defaults = () => ({
  system: "", temperature: null, topP: null, maxTokens: "", seed: "", stop: "", frequencyPenalty: null, presencePenalty: null, topLogprobs: "",
  thinking: "", format: "text", schema: "", tools: [], attention: "",
});

const MAX_STOPS = 16;

/** Sequences that end an answer. @param {Settings} settings */
const stopsOf = (settings) => settings.stop.split("\n").filter((line) => line !== "").map((line) => line.replaceAll("\\n", "\n").replaceAll("\\t", "\t"));

/** @param {string} value @param {number} least @param {number} most */
const isWhole = (value, least, most) => /^-?\d{1,16}$/.test(value.trim()) && Number(value) >= least && Number(value) <= most;

/** What is wrong, by the name of the field. @param {Settings} settings @returns {Record<string, string>} */
export function problems(settings) {
  /** @type {Record<string, string>} */
  const wrong = {};
  if (settings.maxTokens.trim() && !isWhole(settings.maxTokens, 1, 1e9)) wrong.maxTokens = words.keyDialog.numberRule;
  if (settings.seed.trim() && !isWhole(settings.seed, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)) wrong.seed = text.seedRule;
  if (settings.topLogprobs.trim() && !isWhole(settings.topLogprobs, 0, 20)) wrong.topLogprobs = text.logprobsRule;
  if (stopsOf(settings).length > MAX_STOPS) wrong.stop = text.stopRule(MAX_STOPS);
  if (settings.format === "schema") {
    const fault = schemaFault(settings.schema);
    if (fault) wrong.schema = fault;
  }
  const names = settings.tools.map(({ name }) => name);
  const tool = settings.tools.find((tool, index) => Object.keys(toolProblems(tool, names.filter((_, other) => other !== index))).length > 0);
  if (tool) wrong.tools = text.toolWrong(tool.name);
  return wrong;
}

const TYPES = ["string", "number", "integer", "boolean", "object", "array", "null"];

/** What makes a text no JSON Schema; null for one that may be sent. @param {string} source @returns {string | null} */
export function schemaFault(source) {
  let schema;
  try {
    schema = JSON.parse(source);
  } catch (fault) {
    return text.noJson(/** @type {Error} */ (fault).message);
  }
  return nodeFault(schema, "", 0);
}

/** @param {unknown} node @param {string} path @param {number} depth @returns {string | null} */
function nodeFault(node, path, depth) {
  const at = path || text.schemaTop;
  if (depth > 100) return text.schemaDeep;
  if (typeof node === "boolean" && path) return null;
  if (!isObject(node)) return text.schemaObject(at);
  const { type, properties, required, items, enum: choices, $defs } = node;
  const types = Array.isArray(type) ? type : type === undefined ? [] : [type];
  const unknown = types.find((name) => !TYPES.includes(/** @type {string} */ (name)));
  if (unknown !== undefined) return text.schemaType(at, JSON.stringify(unknown));
  if (choices !== undefined && !Array.isArray(choices)) return text.schemaList(`${path}enum`);
  if (required !== undefined && !(Array.isArray(required) && required.every((name) => typeof name === "string"))) return text.schemaNames(`${path}required`);
  for (const [name, part] of [["properties", properties], ["$defs", $defs]]) {
    if (part === undefined) continue;
    if (!isObject(part)) return text.schemaObject(path + name);
    for (const [key, child] of Object.entries(part)) {
      const fault = nodeFault(child, `${path}${name}.${key}.`, depth + 1);
      if (fault) return fault;
    }
  }
  if (items !== undefined) {
    const fault = nodeFault(items, `${path}items.`, depth + 1);
    if (fault) return fault;
  }
  for (const name of ["anyOf", "oneOf", "allOf"]) {
    const list = node[name];
    if (list === undefined) continue;
    if (!Array.isArray(list)) return text.schemaList(path + name);
    for (const [index, child] of list.entries()) {
      const fault = nodeFault(child, `${path}${name}.${index}.`, depth + 1);
      if (fault) return fault;
    }
  }
  return null;
}

/** @param {unknown} value @returns {value is Record<string, any>} */
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** What is wrong with a tool, by the name of the field. @param {Tool} tool @param {string[]} others names of the other tools @returns {Record<string, string>} */
export function toolProblems(tool, others) {
  /** @type {Record<string, string>} */
  const wrong = {};
  if (!/^[\w-]{1,64}$/.test(tool.name)) wrong.name = text.toolNameRule;
  else if (others.includes(tool.name)) wrong.name = text.toolNameTaken;
  const fault = tool.parameters.trim() ? schemaFault(tool.parameters) : null;
  if (fault) wrong.parameters = fault;
  return wrong;
}

/**
 * The body of a request: the fields in the order in which they are sent. What is at its default is left out.
 * @param {string} model @param {Settings} settings @param {import("./conversation.js").Turn[]} turns
 * @returns {Record<string, any>}
 */
export function requestBody(model, settings, turns) {
  /** @type {Record<string, any>} */
  const body = { model, messages: messagesOf(settings, turns) };
  if (settings.temperature !== null) body.temperature = settings.temperature;
  if (settings.topP !== null) body.top_p = settings.topP;
  if (settings.maxTokens.trim()) body.max_tokens = Number(settings.maxTokens);
  if (settings.seed.trim()) body.seed = Number(settings.seed);
  const stops = stopsOf(settings);
  if (stops.length > 0) body.stop = stops;
  if (settings.frequencyPenalty !== null) body.frequency_penalty = settings.frequencyPenalty;
  if (settings.presencePenalty !== null) body.presence_penalty = settings.presencePenalty;
  if (settings.topLogprobs.trim()) {
    body.logprobs = true;
    body.top_logprobs = Number(settings.topLogprobs);
  }
  if (settings.thinking) body.thinking = { type: settings.thinking };
  if (settings.format === "json") body.response_format = { type: "json_object" };
  if (settings.format === "schema") {
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(settings.schema) } };
  }
  if (settings.tools.length > 0) body.tools = settings.tools.map(toolOf);
  if (settings.attention) body.cachalot = { attention: settings.attention };
  body.stream = true;
  body.stream_options = { include_usage: true };
  return body;
}

/** A tool as requests have it. @param {Tool} tool */
export const toolOf = ({ name, description, parameters }) => ({
  type: "function",
  function: { name, ...(description && { description }), ...(parameters.trim() && { parameters: JSON.parse(parameters) }) },
});

/** @param {Settings} settings @param {import("./conversation.js").Turn[]} turns */
function messagesOf(settings, turns) {
  /** @type {any[]} */
  const messages = settings.system ? [{ role: "system", content: settings.system }] : [];
  const current = turns.findLastIndex((turn) => turn.role === "user");
  for (const [index, turn] of turns.entries()) {
    if (turn.role === "user") {
      const parts = turn.images.map(({ url }) => ({ type: "image_url", image_url: { url } }));
      messages.push({ role: "user", content: parts.length === 0 ? turn.text : [...(turn.text ? [{ type: "text", text: turn.text }] : []), ...parts] });
      continue;
    }
    const answered = turn.calls.filter((call) => call.result !== null);
    if (turn.text === "" && answered.length === 0) continue;
    messages.push({
      role: "assistant",
      content: turn.text,
      // A model that called a tool while it thought goes on from its thoughts.
      ...(turn.reasoning !== null && answered.length > 0 && index > current && { reasoning_content: turn.reasoning }),
      ...(answered.length > 0 && { tool_calls: answered.map(({ id, name, arguments: given }) => ({ id, type: "function", function: { name, arguments: given } })) }),
    });
    for (const { id, result } of answered) messages.push({ role: "tool", tool_call_id: id, content: result });
  }
  return messages;
}

/** The bytes of a request, as they are sent and shown. Half characters, which JSON cannot hold, are replaced. @param {Record<string, any>} body */
export const bodyText = (body) =>
  JSON.stringify(body, (_, value) => (typeof value === "string" ? /** @type {any} */ (value).toWellFormed() : value), 2);
