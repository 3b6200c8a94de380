// A streamed answer: the request, its events, and what they add up to.
import { eventsOf, usageOf } from "../answers.js";
import { Fault, faultOf, loggedOut } from "../calls.js";
import { me } from "../session.js";
import { words } from "../words.js";

/** @typedef {import("./conversation.js").Answer} Answer */

/** The address that chats are sent to, below that of the server. */
export const CHAT_PATH = "/v1/chat/completions";

/** The headers of a request that belongs to a key. @param {string} key its id; empty on a server without keys @returns {Record<string, string>} */
export const headersOf = (key) => ({ "x-cachalot-console": "1", ...(key && { "x-cachalot-key": key }) });

/**
 * Sends a request, and adds what comes to `answer`, which it changes. Resolves when the answer has ended, in whatever way: the fault, if there is
 * one, stands in the answer.
 * @param {{ body: string, key: string, answer: Answer, signal: AbortSignal, onChange: () => void }} request
 */
export async function ask({ body, key, answer, signal, onChange }) {
  const began = performance.now();
  const { measures } = answer;
  const past = () => performance.now() - began;
  try {
    const response = await fetch(CHAT_PATH, {
      method: "POST", body, signal, cache: "no-store", headers: { ...headersOf(key), "content-type": "application/json" },
    }).catch((fault) => {
      throw signal.aborted ? fault : new Fault({ status: 0, message: words.fault.unreachable });
    });
    measures.requestId = response.headers.get("x-request-id") ?? undefined;
    measures.provider = response.headers.get("x-gateway-provider") ?? undefined;
    if (!response.ok) {
      const fault = await faultOf(response);
      if (fault.status === 401 && me.value?.session) loggedOut.listener();
      throw fault;
    }
    if (!response.body) throw new Fault({ status: response.status, message: words.playground.noStream });
    let ended = false;
    for await (const { data } of eventsOf(response.body)) {
      if (data === "[DONE]") {
        ended = true;
        break;
      }
      const event = parse(data);
      if (event.error) throw new Fault({ status: response.status, message: String(event.error.message ?? event.error), code: event.error.code });
      if (add(event, answer)) {
        measures.first ??= past();
        if (answer.text !== "" || answer.calls.length > 0) measures.thought ??= past();
      }
      measures.total = past();
      onChange();
    }
    if (!ended && answer.finish === null) throw new Fault({ status: 0, message: words.playground.brokenStream });
  } catch (fault) {
    if (signal.aborted) answer.stopped = true;
    else answer.fault = describe(fault, answer);
  }
  measures.total = past();
  answer.text = wellFormed(answer.text);
  if (answer.reasoning !== null) answer.reasoning = wellFormed(answer.reasoning);
  // Calls of an answer that broke off may lack a part of their arguments.
  if (answer.fault || answer.stopped) answer.calls = [];
}

/** @param {any} fault @param {Answer} answer @returns {import("./conversation.js").AnswerFault} */
function describe(fault, answer) {
  const { requestId } = answer.measures;
  // A connection that breaks after the first byte is a TypeError of the browser's.
  if (!(fault instanceof Fault)) return { status: 0, message: words.playground.brokenStream, requestId };
  const { status, message, code, retryAfter } = fault;
  return { status, message, code, retryAfter, requestId: fault.requestId ?? requestId };
}

/** @param {string} text */
const wellFormed = (text) => /** @type {any} */ (text).toWellFormed();

/** @param {string} data @returns {any} */
function parse(data) {
  try {
    const event = JSON.parse(data);
    if (typeof event === "object" && event !== null) return event;
  } catch {
    // Said below.
  }
  throw new Fault({ status: 0, message: words.playground.noEvent });
}

/** Adds an event to an answer. @param {any} event @param {Answer} answer @returns {boolean} whether text or a call came */
function add(event, answer) {
  answer.measures.usage = usageOf(event) ?? answer.measures.usage;
  const choice = event.choices?.[0];
  if (!choice) return false;
  const delta = choice.delta ?? {};
  const thought = delta.reasoning_content ?? delta.reasoning;
  if (typeof thought === "string") answer.reasoning = (answer.reasoning ?? "") + thought;
  if (typeof delta.content === "string") answer.text += delta.content;
  for (const call of Array.isArray(delta.tool_calls) ? delta.tool_calls : []) addCall(call, answer);
  for (const part of choice.logprobs?.content ?? []) answer.logprobs.push(logprobOf(part));
  if (typeof choice.finish_reason === "string") answer.finish = choice.finish_reason;
  return !!thought || !!delta.content || delta.tool_calls?.length > 0;
}

/** @param {any} call @param {Answer} answer */
function addCall(call, answer) {
  const index = Number.isInteger(call.index) ? call.index : answer.calls.length;
  if (index > 1000) return;
  while (answer.calls.length <= index) answer.calls.push({ id: "", name: "", arguments: "", result: null });
  const target = answer.calls[index];
  target.id ||= String(call.id ?? "");
  target.name += call.function?.name ?? "";
  target.arguments += call.function?.arguments ?? "";
}

/** @param {any} part @returns {import("./conversation.js").TokenLogprob} */
const logprobOf = (part) => ({
  token: String(part.token ?? ""), logprob: Number(part.logprob ?? 0),
  top: (part.top_logprobs ?? []).map((/** @type {any} */ other) => [String(other.token), Number(other.logprob)]),
});

/** About how many tokens a text has, until the stream says it. @param {string} text */
export const estimate = (text) => Math.ceil(text.length / 4);
