// A conversation: a tree of turns, of which one path is shown. All functions return new values and change none.

/**
 * An image of a turn: `url` holds its bytes as a `data:` address.
 * @typedef {{ name: string, url: string }} Picture
 *
 * A call of a tool; `result` is what it was answered, null until then.
 * @typedef {{ id: string, name: string, arguments: string, result: string | null }} ToolCall
 *
 * Tokens of an answer, as its provider counts them.
 * @typedef {import("../answers.js").Usage} Usage
 *
 * Why an answer did not come, or broke off. `status` is the HTTP status; 0: the server could not be reached.
 * @typedef {{ status: number, message: string, code?: string, requestId?: string, retryAfter?: number, param?: string }} AnswerFault
 *
 * A token and its probability, and the tokens that could have stood there: texts and natural logarithms.
 * @typedef {{ token: string, logprob: number, top: [string, number][] }} TokenLogprob
 *
 * Times in milliseconds since the request was sent; cost in US dollars, null without a price.
 * @typedef {{ first: number | null, thought: number | null, total: number, usage: Usage | null, cost: number | null, requestId?: string, provider?: string }} Measures
 *
 * @typedef {{ id: string, parent: string | null, role: "user", text: string, images: Picture[] }} UserTurn
 *
 * @typedef {{
 *   id: string, parent: string | null, role: "assistant", model: string, text: string, reasoning: string | null, calls: ToolCall[],
 *   logprobs: TokenLogprob[], finish: string | null, stopped: boolean, fault: AnswerFault | null, measures: Measures,
 * }} Answer `finish` is the reason for which it ended; null for one that did not end by itself.
 *
 * @typedef {UserTurn | Answer} Turn
 *
 * @typedef {import("./settings.js").Settings} Settings
 *
 * @typedef {{
 *   id: string, owner: string, title: string, at: number, model: string, settings: Settings, turns: Turn[], leaf: string | null,
 *   shown: Record<string, string>,
 * }} Conversation `leaf` is the last turn of the path that is shown; `shown` names, for turns with several successors, the one that was
 * shown last; "" stands for the start. `at` is the time of the last change, in milliseconds since 1970.
 */

export const newId = () => crypto.randomUUID();

/** @param {string} owner @param {string} model @param {Settings} settings @returns {Conversation} */
export const newConversation = (owner, model, settings) =>
  ({ id: newId(), owner, title: "", at: Date.now(), model, settings, turns: [], leaf: null, shown: {} });

/** The turns from the start to a turn. @param {Conversation} conversation @param {string | null} [leaf] @returns {Turn[]} */
export function pathTo(conversation, leaf = conversation.leaf) {
  const byId = new Map(conversation.turns.map((turn) => [turn.id, turn]));
  const path = [];
  for (let turn = leaf === null ? undefined : byId.get(leaf); turn; turn = turn.parent === null ? undefined : byId.get(turn.parent)) path.push(turn);
  return path.reverse();
}

/** The turns that follow a turn, oldest first; null: those that begin the conversation. @param {Conversation} conversation @param {string | null} parent */
export const successors = (conversation, parent) => conversation.turns.filter((turn) => turn.parent === parent);

/** Adds a turn, and shows the path to it. @param {Conversation} conversation @param {Turn} turn @returns {Conversation} */
export function withTurn(conversation, turn) {
  const title = conversation.title || (turn.role === "user" ? titleOf(turn.text) : "");
  const shown = { ...conversation.shown, [turn.parent ?? ""]: turn.id };
  return { ...conversation, title, shown, at: Date.now(), turns: [...conversation.turns, turn], leaf: turn.id };
}

/** Changes a turn. @param {Conversation} conversation @param {Turn} changed @returns {Conversation} */
export const withChange = (conversation, changed) =>
  ({ ...conversation, at: Date.now(), turns: conversation.turns.map((turn) => (turn.id === changed.id ? changed : turn)) });

/** Shows another branch: the path through this turn, as far as it was shown last. @param {Conversation} conversation @param {string} id @returns {Conversation} */
export function showing(conversation, id) {
  const turn = conversation.turns.find((other) => other.id === id);
  if (!turn) return conversation;
  const shown = { ...conversation.shown, [turn.parent ?? ""]: id };
  let leaf = id;
  for (;;) {
    const next = successors(conversation, leaf);
    if (next.length === 0) return { ...conversation, shown, leaf };
    leaf = (next.find((other) => other.id === shown[leaf]) ?? next[next.length - 1]).id;
  }
}

/** @param {string} text */
const titleOf = (text) => [...text.trim().replace(/\s+/g, " ").slice(0, 200)].slice(0, 80).join("");

/** Calls of an answer that are not answered. @param {Turn | undefined} turn */
export const openCalls = (turn) => (turn?.role === "assistant" && !turn.fault ? turn.calls.filter((call) => call.result === null) : []);

/** An answer that has not begun. @param {string | null} parent @param {string} model @returns {Answer} */
export const newAnswer = (parent, model) => ({
  id: newId(), parent, role: "assistant", model, text: "", reasoning: null, calls: [], logprobs: [], finish: null, stopped: false, fault: null,
  measures: { first: null, thought: null, total: 0, usage: null, cost: null },
});
