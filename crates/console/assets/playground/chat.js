// A chat: its conversation, the answer that is being written, and what can be done with both.
import { batch, signal } from "../lib.js";
import { costOf } from "../answers.js";
import { newAnswer, newConversation, newId, openCalls, pathTo, showing, successors, withChange, withTurn } from "./conversation.js";
import { bodyText, defaults, problems, requestBody } from "./settings.js";
import { ask } from "./stream.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./conversation.js").Answer} Answer */
/** @typedef {import("./conversation.js").UserTurn} UserTurn */
/** @typedef {import("./conversation.js").Picture} Picture */

/** How long drawing a running answer took last, in milliseconds. An answer that takes long to draw is drawn less often. */
export const drawing = { cost: 0 };

/** Most answers in a row to canned answers of tools. */
const MAX_ROUNDS = 8;

export class Chat {
  /** @param {string} owner @param {string} [model] */
  constructor(owner, model = "") {
    this.id = newId();
    this.conversation = signal(newConversation(owner, model, defaults()));
    /** The answer that is being written. */
    this.live = signal(/** @type {Answer | null} */ (null));
    /** Counts the changes of the running answer that are to be drawn. */
    this.pulse = signal(0);
    /** Says that an answer has ended, for screen readers. */
    this.announced = signal("");
    /** The id of the key that requests belong to; empty on a server without keys. */
    this.key = signal("");
    /** The text of the request that was sent last. */
    this.sent = signal("");
    /** @type {AbortController | null} */
    this.stopper = null;
    /** Called with a conversation before another is shown. @type {(conversation: Conversation) => void} */
    this.onLeave = () => {};
  }

  get path() {
    return pathTo(this.conversation.value);
  }

  /** Changes the conversation itself: its model, or a setting. @param {Partial<Conversation>} change */
  set(change) {
    this.conversation.value = { ...this.conversation.value, ...change, at: Date.now() };
  }

  /** @param {Partial<import("./settings.js").Settings>} change */
  setSettings(change) {
    this.set({ settings: { ...this.conversation.value.settings, ...change } });
  }

  /** Shows another conversation. A running answer is stopped. @param {Conversation} conversation */
  open(conversation) {
    const running = this.live.value;
    if (running) {
      this.live.value = null;
      this.conversation.value = withChange(this.conversation.value, { ...running, stopped: true, calls: [] });
    }
    this.stop();
    this.onLeave(this.conversation.value);
    this.conversation.value = conversation;
  }

  /** The request that sending now would make, with `text` as the next turn. @param {string} [text] @param {Picture[]} [images] */
  request(text = "", images = []) {
    const { model, settings } = this.conversation.value;
    const { path } = this;
    const last = path[path.length - 1];
    // A conversation that has been answered is shown as it was sent last.
    if (last?.role === "assistant" && !text && images.length === 0 && openCalls(last).length === 0 && last.calls.length === 0) path.pop();
    if (text || images.length > 0 || path.length === 0) path.push({ id: "", parent: null, role: "user", text, images });
    return bodyText(requestBody(model, settings, path));
  }

  /** Whether sending once more would make the request that was sent last. */
  isAsBefore() {
    return this.key.value === this.sentKey && this.request() === this.sent.value;
  }

  /** Sends a turn of the user. @param {string} text @param {Picture[]} [images] */
  send(text, images = []) {
    /** @type {UserTurn} */
    const turn = { id: newId(), parent: this.conversation.value.leaf, role: "user", text, images };
    this.conversation.value = withTurn(this.conversation.value, turn);
    return this.run();
  }

  /** Sends a changed turn of the user as another branch. @param {UserTurn} turn @param {string} text @param {Picture[]} images */
  edit(turn, text, images) {
    this.conversation.value = { ...this.conversation.value, leaf: turn.parent };
    return this.send(text, images);
  }

  /** Answers a turn once more, beside the answer that it has. @param {Answer} answer */
  regenerate(answer) {
    this.conversation.value = { ...this.conversation.value, leaf: answer.parent };
    return this.run();
  }

  /** Replaces an answer that failed before anything came, and tries again. @param {Answer} answer */
  retry(answer) {
    const { conversation } = this;
    if (answer.text === "" && !answer.reasoning && successors(conversation.value, answer.id).length === 0) {
      const turns = conversation.value.turns.filter((turn) => turn.id !== answer.id);
      conversation.value = { ...conversation.value, turns, leaf: answer.parent };
      return this.run();
    }
    return this.regenerate(answer);
  }

  /** Shows another branch. @param {string} id of a turn on it */
  show(id) {
    this.conversation.value = showing(this.conversation.value, id);
  }

  /** Goes on from a turn: what is sent next begins another branch. @param {string} id */
  branchAt(id) {
    this.stop();
    this.conversation.value = { ...this.conversation.value, leaf: id };
  }

  /**
   * Answers a call of a tool. With the last answer, the model goes on. An answer that is given once more makes another branch.
   * @param {Answer} answer @param {number} index of the call @param {string} result
   */
  answerCall(answer, index, result) {
    const calls = answer.calls.map((call, other) => (other === index ? { ...call, result } : call));
    const hasSuccessors = successors(this.conversation.value, answer.id).length > 0;
    const changed = { ...answer, calls, ...(hasSuccessors && { id: newId() }) };
    this.conversation.value = hasSuccessors ? withTurn(this.conversation.value, changed) : withChange(this.conversation.value, changed);
    return openCalls(changed).length === 0 ? this.run() : undefined;
  }

  /** Whether canned answers have answered all calls of an answer, and few enough rounds have gone by without the user. @param {Answer} answer */
  isToGoOn(answer) {
    if (answer.calls.length === 0 || openCalls(answer).length > 0 || this.conversation.value.leaf !== answer.id) return false;
    const { path } = this;
    return path.length - path.findLastIndex((turn) => turn.role === "user") <= MAX_ROUNDS;
  }

  stop() {
    this.stopper?.abort();
  }

  /** Asks the model to go on from the end of the path. */
  async run() {
    this.stop();
    const { model, settings, leaf } = this.conversation.value;
    if (Object.keys(problems(settings)).length > 0) return;
    const body = bodyText(requestBody(model, settings, this.path));
    const answer = newAnswer(leaf, model);
    const stopper = (this.stopper = new AbortController());
    batch(() => {
      this.sent.value = body;
      this.sentKey = this.key.value;
      this.conversation.value = withTurn(this.conversation.value, answer);
      this.live.value = answer;
      this.announced.value = "";
    });
    const conversationId = this.conversation.value.id;
    let scheduled = false;
    const onChange = () => {
      if (scheduled) return;
      scheduled = true;
      const draw = () => {
        scheduled = false;
        this.pulse.value += 1;
      };
      const pause = Math.min(1000, 4 * drawing.cost);
      if (pause < 12 && !document.hidden) requestAnimationFrame(draw);
      else setTimeout(draw, pause);
    };
    await ask({ body, key: this.key.value, answer, signal: stopper.signal, onChange });
    answer.measures.cost = answer.measures.usage && (await costOf(model, answer.measures.usage));
    const isOpen = this.conversation.value.id === conversationId;
    batch(() => {
      if (this.live.value === answer) this.live.value = null;
      if (this.stopper === stopper) this.stopper = null;
      if (isOpen) {
        const ended = withCanned({ ...answer }, settings.tools);
        this.conversation.value = withChange(this.conversation.value, ended);
        if (this.isToGoOn(ended)) queueMicrotask(() => this.run());
        if (!ended.fault) this.announced.value = ended.text.slice(0, 2000);
      }
    });
  }
}

/** Answers the calls of tools that have a canned answer. @param {Answer} answer @param {import("./settings.js").Tool[]} tools @returns {Answer} */
function withCanned(answer, tools) {
  const canned = new Map(tools.filter((tool) => tool.answer !== "").map((tool) => [tool.name, tool.answer]));
  return { ...answer, calls: answer.calls.map((call) => ({ ...call, result: canned.get(call.name) ?? null })) };
}
