// The turns of a conversation, as they are shown.
import { html, useEffect, useElement, useLayoutEffect, useRef, useState } from "../lib.js";
import { Icon } from "../icons.js";
import { count, dollars, seconds } from "../format.js";
import { highlight } from "../highlight.js";
import { Button, Copy, Note, Sign } from "../ui.js";
import { words } from "../words.js";
import { drawing } from "./chat.js";
import { openCalls, successors } from "./conversation.js";
import { FaultNote } from "./fault_note.js";
import { ImagePicker, Thumbnails, usePictures } from "./images.js";
import { BlockReader, pieces } from "./reader.js";
import { estimate } from "./stream.js";
import { Tokens } from "./tokens.js";

const text = words.playground;

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./conversation.js").Answer} Answer */
/** @typedef {import("./conversation.js").UserTurn} UserTurn */

/** Characters of a turn of the user that are shown before it is opened. */
const FOLD_FROM = 4_000;

/** A code block of an answer. @param {{ code: string, info: string }} block */
const CodeBlock = ({ code, info }) => html`
  <div class="code">
    <header><span class="grow cut">${info.split(" ")[0] || text.code}</span><${Copy} text=${code} /></header>
    <pre tabindex="0"><code>${highlight(code, info.split(" ")[0])}</code></pre>
  </div>`;

/** How answers are drawn. @type {import("../markdown.js").Options} */
const OPTIONS = { code: (found) => found.map(({ code, info }) => html`<${CodeBlock} code=${code} info=${info} />`) };

/** A text of Markdown, read bit by bit. @param {{ text: string, small?: boolean, live?: boolean }} props */
function AnswerText({ text: source, small, live }) {
  /** @type {{ current: BlockReader | null }} */
  const reader = useRef(null);
  const [, setRound] = useState(0);
  reader.current ??= new BlockReader(OPTIONS);
  const began = performance.now();
  const drawn = reader.current.update(source);
  const { isComplete } = reader.current;
  useLayoutEffect(() => {
    if (live) drawing.cost = performance.now() - began;
  });
  useEffect(() => {
    if (isComplete) return;
    const timer = setTimeout(() => setRound((round) => round + 1));
    return () => clearTimeout(timer);
  });
  return html`<div class=${`prose said-text ${small ? "small" : ""}`}>${drawn}${live && html`<span class="caret" key="caret"></span>`}</div>`;
}

/** Draws its children when they come near the part of the page that is seen, and keeps them. @param {{ near: boolean, children: () => any }} props */
export function Near({ near, children }) {
  const [isNear, setNear] = useState(near);
  const ref = useElement();
  useEffect(() => {
    if (isNear || !ref.current) return;
    const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && setNear(true), { rootMargin: "1200px 0px" });
    seen.observe(ref.current);
    return () => seen.disconnect();
  }, [isNear]);
  return html`<div class=${`near ${isNear ? "" : "far"}`} ref=${ref}>${isNear ? children() : null}</div>`;
}

/** The branches beside a turn: "2 of 3". @param {{ chat: Chat, turn: { id: string, parent: string | null }, disabled?: boolean }} props */
function Branches({ chat, turn, disabled }) {
  const { conversation } = chat;
  const all = successors(conversation.value, turn.parent);
  if (all.length < 2) return null;
  const at = all.findIndex(({ id }) => id === turn.id);
  const walk = (/** @type {number} */ step) => chat.show(all[at + step].id);
  return html`
    <span class="branches">
      <${Button} class="ghost small square turned" icon="right" aria-label=${text.earlierBranch} disabled=${disabled || at === 0} onClick=${() => walk(-1)} />
      <span class="tag">${text.branchOf(at + 1, all.length)}</span>
      <${Sign} icon="right" label=${text.laterBranch} disabled=${disabled || at === all.length - 1} onClick=${() => walk(1)} />
    </span>`;
}

/** @param {{ chat: Chat, turn: UserTurn, busy: boolean }} props */
export function UserView({ chat, turn, busy }) {
  const [editing, setEditing] = useState(false);
  const [open, setOpen] = useState(false);
  const isLong = turn.text.length > FOLD_FROM || turn.text.split("\n", 41).length > 40;
  const folded = isLong && !open;
  const start = folded ? turn.text.split("\n", 40).join("\n").slice(0, FOLD_FROM) : turn.text;
  return html`
    <article class="turn user" data-turn=${turn.id}>
      <div class="by"><span>${text.you}</span><${Branches} chat=${chat} turn=${turn} disabled=${busy} />
        ${!editing && html`<${Button} class="ghost small square on-hover" icon="edit" aria-label=${text.edit} disabled=${busy} onClick=${() => setEditing(true)} />`}
      </div>
      ${editing
        ? html`<${EditTurn} chat=${chat} turn=${turn} onDone=${() => setEditing(false)} />`
        : html`
          <div class="said">
            <${Thumbnails} pictures=${turn.images} />
            <div class=${`raw ${folded ? "folded" : ""}`}>${start.length > FOLD_FROM ? pieces(start) : start}</div>
            ${isLong && html`<button class="link small" type="button" aria-expanded=${open} onClick=${() => setOpen(!open)}>
              ${open ? text.showLess : text.showAll(count(turn.text.split("\n").length), count(turn.text.length))}</button>`}
          </div>`}
    </article>`;
}

/** @param {{ chat: Chat, turn: UserTurn, onDone: () => void }} props */
function EditTurn({ chat, turn, onDone }) {
  /** @type {{ current: HTMLTextAreaElement | null }} */
  const area = useRef(null);
  const pictures = usePictures(turn.images);
  useEffect(() => {
    area.current?.focus();
    area.current?.setSelectionRange(area.current.value.length, area.current.value.length);
  }, []);
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    const value = area.current?.value ?? "";
    if (!value.trim() && pictures.good.length === 0) return;
    onDone();
    chat.edit(turn, value, pictures.good);
  };
  return html`
    <form class="edit" onSubmit=${send} onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && onDone()}>
      <${Thumbnails} pictures=${pictures.all} onRemove=${pictures.remove} />
      <textarea class="area" ref=${area} aria-label=${text.message} rows="4" defaultValue=${turn.text}></textarea>
      <div class="row">
        <${ImagePicker} pictures=${pictures} /><span class="grow"></span>
        <${Button} class="small ghost" onClick=${onDone}>${words.cancel}<//>
        <button class="btn small main" type="submit">${text.saveAndSend}</button>
      </div>
    </form>`;
}

/**
 * @param {{ chat: Chat, turn: Answer, live: boolean, last: boolean, busy: boolean, actions: import("./fault_note.js").Actions, plain?: boolean, onBranch?: (id: string) => void }} props
 * `plain`: without a heading and without branches, as a column of a comparison has it.
 */
export function AnswerView({ chat, turn, live, last, busy, actions, plain, onBranch }) {
  // A running answer is drawn anew at each pulse.
  const pulse = live ? chat.pulse.value : 0;
  const [shows, setShows] = useState("text");
  const { measures } = turn;
  const isSilent = live && turn.text === "" && !turn.reasoning && turn.calls.length === 0;
  const regenerate = () => chat.regenerate(turn);
  return html`
    <article class="turn" data-turn=${turn.id} aria-busy=${live}>
      ${!plain && html`
        <div class="by"><span class="name">${turn.model}</span><${Branches} chat=${chat} turn=${turn} disabled=${busy} />
          ${live && html`<span class="state live tiny">${isSilent ? text.waiting : text.writing(speedOf(turn))}</span>`}
        </div>`}
      ${turn.reasoning && html`<${Reasoning} turn=${turn} live=${live} pulse=${pulse} />`}
      ${shows === "tokens" ? html`<${Tokens} tokens=${turn.logprobs} />` : (turn.text || isSilent) && html`<${AnswerText} text=${turn.text} small=${plain} live=${live && turn.calls.length === 0} />`}
      ${turn.calls.map((call, index) => html`<${CallView} key=${index} chat=${chat} turn=${turn} index=${index} live=${live} busy=${busy} pulse=${pulse} />`)}
      ${turn.stopped && html`<div class="tiny muted">${text.stopped}</div>`}
      ${turn.finish === "length" && html`<${Note} kind="warn">${text.cutOff}<//>`}
      ${turn.finish === "content_filter" && html`<${Note} kind="warn">${text.filtered}<//>`}
      ${turn.fault && html`<${FaultNote} turn=${turn} chat=${chat} actions=${actions} busy=${busy} />`}
      ${!plain && (measures.first !== null || measures.usage) && html`<${Measured} turn=${turn} live=${live} pulse=${pulse} />`}
      ${!live && html`
        <div class="row wrap turn-actions">
          ${turn.text && html`<${Copy} text=${turn.text} />`}
          ${!turn.fault && html`<${Button} class="ghost small" icon="redo" disabled=${busy} onClick=${regenerate}>${text.regenerate}<//>`}
          ${onBranch && !last && html`<${Button} class="ghost small" icon="branch" onClick=${() => onBranch(turn.id)}>${text.branchHere}<//>`}
          ${turn.logprobs.length > 0 && html`
            <${Button} class="ghost small" aria-pressed=${shows === "tokens"} onClick=${() => setShows(shows === "tokens" ? "text" : "tokens")}>${text.tokens}<//>`}
          ${last && turn.calls.length > 0 && openCalls(turn).length === 0 && !busy && html`
            <${Button} class="small main" onClick=${() => chat.run()}>${text.sendResults}<//>`}
          ${last && turn.stopped && turn.text && !busy && html`<${Button} class="ghost small" onClick=${() => chat.send(text.goOnPrompt)}>${text.goOn}<//>`}
        </div>`}
    </article>`;
}

/** Tokens a second, about. @param {Answer} turn */
export function speedOf(turn) {
  const { usage, first, total } = turn.measures;
  const tokens = usage?.output ?? estimate(turn.text + (turn.reasoning ?? "") + turn.calls.map((call) => call.arguments).join(""));
  const time = total - (first ?? total);
  return tokens > 1 && time > 50 ? (tokens - 1) / (time / 1000) : null;
}

/** @param {{ turn: Answer, live: boolean, pulse: number }} props `pulse` changes with the running answer, which is changed in place */
function Reasoning({ turn, live }) {
  const [open, setOpen] = useState(false);
  const { first, thought, total, usage } = turn.measures;
  const isThinking = live && turn.text === "" && turn.calls.length === 0;
  const time = ((thought ?? total) - (first ?? 0)) * 1000;
  const tokens = usage?.thought ? count(usage.thought) : `~${count(estimate(turn.reasoning ?? ""))}`;
  return html`
    <div class="think">
      <button type="button" aria-expanded=${open} onClick=${() => setOpen(!open)}>
        <${Icon} name=${open ? "down" : "right"} />${isThinking ? text.thinkingNow : text.thoughtFor(seconds(time))}<span class="muted num">${text.thoughtTokens(tokens)}</span>
      </button>
      ${open && html`<${AnswerText} text=${turn.reasoning} small live=${isThinking} />`}
    </div>`;
}

/** What an answer took and cost. Estimates have a tilde. @param {{ turn: Answer, live: boolean, pulse: number }} props */
function Measured({ turn, live }) {
  const { first, usage, cost, requestId } = turn.measures;
  const mark = usage ? "" : "~";
  const output = usage?.output ?? estimate(turn.text + (turn.reasoning ?? ""));
  const speed = speedOf(turn);
  return html`
    <div class="measure">
      ${first !== null && html`<span title=${text.timeToFirstToken}><b>${text.inSeconds(seconds(first * 1000))}</b> ${text.firstToken}</span>`}
      ${speed !== null && html`<span><b>${mark}${speed < 100 ? speed.toFixed(1) : count(speed)}</b> ${text.tokensPerSecond}</span>`}
      ${usage && html`<span><b>${count(usage.input)}</b> ${text.tokensIn}${usage.cached > 0 && text.cachedOf(count(usage.cached))}</span>`}
      <span><b>${mark}${count(output)}</b> ${text.tokensOut}${!!usage?.thought && text.thoughtOf(count(usage.thought))}</span>
      ${usage && html`<span><b>${cost === null ? text.noPrice : dollars(cost)}</b></span>`}
      ${!live && requestId && !turn.fault && html`<span class="mono breaks" title=${words.fault.requestId}>${requestId}</span>`}
    </div>`;
}

/** A call of a tool, and its answer. @param {{ chat: Chat, turn: Answer, index: number, live: boolean, busy: boolean, pulse: number }} props */
function CallView({ chat, turn, index, live, busy }) {
  const call = turn.calls[index];
  const [typed, setTyped] = useState(call.result ?? "");
  const [editing, setEditing] = useState(false);
  const isOpen = !live && !turn.fault && (call.result === null || editing);
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    setEditing(false);
    chat.answerCall(turn, index, typed);
  };
  return html`
    <div class="call">
      <header><${Icon} name="tool" /><code class="grow name">${call.name}</code>
        ${call.result !== null && html`<span class="tag good">${text.answered}</span>`}
        ${call.result !== null && !editing && html`<${Sign} icon="edit" label=${text.answerAgain(call.name)} disabled=${busy} onClick=${() => setEditing(true)} />`}
      </header>
      <pre tabindex="0">${indented(call.arguments)}</pre>
      ${call.result !== null && !editing && html`<div class="answer"><pre class="flat" tabindex="0">${indented(call.result)}</pre></div>`}
      ${isOpen && html`
        <form class="answer" onSubmit=${send}>
          <textarea class="area mono" rows="3" aria-label=${text.resultOf(call.name)} placeholder=${text.resultHint} value=${typed}
            onInput=${(/** @type {any} */ event) => setTyped(event.target.value)}></textarea>
          <div class="row between"><span class="tiny muted">${looksLikeJson(typed)}</span>
            <button class="btn small main" type="submit" disabled=${busy || typed.trim() === ""}>${text.sendResult}</button></div>
        </form>`}
    </div>`;
}

/** Whether what was typed as the answer of a tool is JSON. @param {string} typed */
function looksLikeJson(typed) {
  if (!/^\s*[[{"]/.test(typed)) return typed.trim() ? text.isText : "";
  try {
    JSON.parse(typed);
    return text.isJson;
  } catch (fault) {
    return text.isTextNot(/** @type {Error} */ (fault).message);
  }
}

/** JSON with indents where it is long; anything else as it is. @param {string} source */
function indented(source) {
  if (source.length < 72 || source.length > 50_000) return source.slice(0, 50_000);
  try {
    return JSON.stringify(JSON.parse(source), null, 2);
  } catch {
    return source;
  }
}
