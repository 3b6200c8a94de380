// Two to four models, asked the same side by side.
import { html, signal, useLayoutEffect, useState } from "../lib.js";
import { Icon } from "../icons.js";
import { download } from "../download.js";
import { count, dollars, seconds } from "../format.js";
import { href } from "../router.js";
import { Button, Dialog, Empty, ErrorNote, Menu, Select, Sign, Skeleton } from "../ui.js";
import { words } from "../words.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { newConversation } from "./conversation.js";
import { KeyChooser, Parameters } from "./panel.js";
import { problems } from "./settings.js";
import { toJson, toMarkdown } from "./share.js";
import { modelChoices } from "./sources.js";
import { ToolDialog } from "./tool_dialog.js";
import { AnswerView, speedOf } from "./turn.js";

const text = words.playground;
const own = text.comparison;

/** @typedef {import("./sources.js").Sources} Sources */
/** @typedef {import("./conversation.js").Answer} Answer */

export const MOST = 4;

/** The columns of this tab. */
const columns = signal(/** @type {Chat[]} */ ([]));

/** @param {Chat} like whose settings a new column has @param {string} model */
function newColumn(like, model) {
  const { owner, settings } = like.conversation.value;
  const chat = new Chat(owner, model);
  chat.setSettings(settings);
  return chat;
}

/** A model that no column has yet. @param {Sources} sources @param {Chat[]} chats */
const nextModel = (sources, chats) =>
  (sources.models.find(({ id }) => !chats.some((chat) => chat.conversation.value.model === id)) ?? sources.models[0])?.id ?? "";

/** The last answer of a column. @param {Chat} chat @returns {Answer | undefined} */
function lastAnswer(chat) {
  const turn = chat.path.findLast(({ role }) => role === "assistant");
  return turn?.role === "assistant" ? turn : undefined;
}

/** What is compared, of an answer that has ended well; the least is best, but of the speed the most. @param {Chat} chat */
function measured(chat) {
  const answer = lastAnswer(chat);
  if (!answer || chat.live.value || answer.fault || answer.stopped) return null;
  return { first: answer.measures.first, speed: speedOf(answer), cost: answer.measures.cost };
}

/** The best of each measure, where three or more answers have ended. @param {Chat[]} chats */
function bestOf(chats) {
  const found = chats.map(measured).filter((value) => value !== null);
  if (found.length < 3) return { first: null, speed: null, cost: null };
  const best = (/** @type {"first" | "speed" | "cost"} */ name, /** @type {(...values: number[]) => number} */ choose) => {
    const values = found.map((value) => value[name]).filter((value) => value !== null);
    return values.length < 2 ? null : choose(...values);
  };
  return { first: best("first", Math.min), speed: best("speed", Math.max), cost: best("cost", Math.min) };
}

/** @param {{ chat: Chat, sources: Sources | null, read: any, onKey: (id: string) => void }} props */
export function Comparison({ chat, sources, read, onKey }) {
  const [open, setOpen] = useState(/** @type {number | null} */ (null));
  const [tool, setTool] = useState(/** @type {{ chat: Chat, index: number } | null} */ (null));
  useLayoutEffect(() => {
    document.title = `${text.compare} · ${words.name}`;
  }, []);
  useLayoutEffect(() => {
    if (!sources) return;
    const { owner, model } = chat.conversation.value;
    let chats = columns.value.filter((/** @type {Chat} */ column) => column.conversation.value.owner === owner);
    if (chats.length < 2 && sources.models.length > 0) {
      chats = [newColumn(chat, model || nextModel(sources, []))];
      chats.push(newColumn(chat, nextModel(sources, chats)));
    }
    for (const column of chats) column.key.value = sources.key;
    columns.value = chats;
  }, [sources]);
  /** @type {Chat[]} */
  const chats = columns.value;
  const busy = chats.some((column) => column.live.value !== null);
  const isWrong = chats.some((column) => Object.keys(problems(column.conversation.value.settings)).length > 0 || !column.conversation.value.model);
  const best = bestOf(chats);
  const isEmpty = chats.every((column) => column.conversation.value.turns.length === 0);
  const exported = () => {
    const parts = chats.map((column) => toMarkdown(column.conversation.value.model, column.conversation.value.settings.system, column.path));
    return parts.join("\n---\n\n");
  };
  const clear = () => {
    for (const column of chats) {
      const { owner, model, settings } = column.conversation.value;
      column.open(newConversation(owner, model, settings));
    }
  };
  const addColumn = () => {
    const column = newColumn(chats[chats.length - 1], nextModel(/** @type {Sources} */ (sources), chats));
    column.key.value = sources?.key ?? "";
    columns.value = [...chats, column];
  };
  return html`
    <main id="main" class="play-main full">
      <div class="play-bar">
        <h1 tabindex="-1">${text.compare}</h1>
        ${chats.length >= 2 && html`<span class="tiny muted hide-phone hide-narrow">${own.text(chats.length)}</span>`}
        <span class="grow"></span>
        <${Button} class="ghost small" icon="plus" aria-label=${own.add} disabled=${!sources || chats.length < 2 || chats.length >= MOST} onClick=${addColumn}><span class="hide-phone">${own.add}</span><//>
        ${!isEmpty && html`<${Menu} label=${words.more} actions=${[
          { text: text.exportMarkdown, act: () => download("comparison.md", "text/markdown", exported()) },
          { text: text.exportJson, act: () => download("comparison.json", "application/json", JSON.stringify({ format: "cachalot comparison", version: 1, columns: chats.map((column) => toJson(column.conversation.value)) }, null, 2)) },
          { text: own.clear, act: clear },
        ]} />`}
        <a class="btn ghost small" href=${href("playground")} aria-label=${own.leave}><${Icon} name="x" /><span class="hide-phone">${own.leave}</span></a>
      </div>
      ${read.fault && html`<div class="pad"><${ErrorNote} what=${text.models} fault=${read.fault} at=${read.at} retry=${read.reload} /></div>`}
      ${!sources && !read.fault && html`<${Skeleton} />`}
      ${sources && chats.length === 0 && html`<${Empty} title=${text.noModelsTitle} text=${sources.needsKey && sources.keys.length === 0 ? text.noKeyText : text.noModelsText}>
        <a class="btn main small" href=${href("keys")}>${words.nav.keys}</a><//>`}
      <div class=${`compare n${chats.length}`} tabindex="0" role="group" aria-label=${own.answers}>
        ${sources && chats.map((column, index) => html`
          <${Column} key=${column.id} chat=${column} index=${index} sources=${sources} best=${best} onSettings=${() => setOpen(index)}
            onRemove=${chats.length > 2 ? () => {
              column.stop();
              columns.value = chats.filter((other) => other !== column);
            } : null} />`)}
      </div>
      <${Composer} name="compare" placeholder=${own.ask(Math.max(2, chats.length))} busy=${busy} disabled=${isWrong || chats.length < 2}
        onSend=${(/** @type {string} */ message, /** @type {any} */ images) => chats.forEach((column) => column.send(message, images))}
        onStop=${() => chats.forEach((column) => column.stop())} />
      ${open !== null && chats[open] && html`
        <${Dialog} title=${own.parametersOf(chats[open].conversation.value.model)} onClose=${() => setOpen(null)}>
          <div class="panel-sheet">
            <${Parameters} settings=${chats[open].conversation.value.settings} onChange=${(/** @type {any} */ change) => chats[open].setSettings(change)}
              onTool=${(/** @type {number} */ index) => setTool({ chat: chats[open], index })} local=${isLocal(sources, chats[open].conversation.value.model)} />
            ${sources && html`<${KeyChooser} sources=${sources} onChoose=${onKey} onCreate=${() => {}} />`}
          </div>
        <//>`}
      ${tool && html`<${ToolDialog} tools=${tool.chat.conversation.value.settings.tools} index=${tool.index} onClose=${() => setTool(null)} onDone=${(/** @type {any} */ tools) => {
        tool.chat.setSettings({ tools });
        setTool(null);
      }} />`}
    </main>`;
}

/** @param {Sources | null} sources @param {string} model */
const isLocal = (sources, model) => sources?.models.find(({ id }) => id === model)?.local ?? false;

/**
 * @param {{ chat: Chat, index: number, sources: Sources, best: { first: number | null, speed: number | null, cost: number | null }, onSettings: () => void, onRemove: (() => void) | null }} props
 */
function Column({ chat, index, sources, best, onSettings, onRemove }) {
  const { model, settings } = chat.conversation.value;
  const live = chat.live.value;
  if (live) void chat.pulse.value;
  const path = chat.path;
  const answer = live ?? lastAnswer(chat);
  const choice = sources.models.find(({ id }) => id === model);
  const tags = [choice?.local ? words.thisMachine : choice?.provider, settings.thinking === "enabled" ? own.thinking : settings.thinking === "disabled" ? own.noThinking : ""];
  const isWrong = Object.keys(problems(settings)).length > 0;
  const measures = live ? null : measured(chat);
  const speed = answer ? speedOf(answer) : null;
  const stat = (/** @type {string} */ label, /** @type {string} */ value, /** @type {boolean} */ isBest) => html`
    <div><dt>${label}</dt><dd class=${isBest ? "best" : ""}>${value}${isBest && html`<span class="sr">, ${own.best}</span>`}</dd></div>`;
  const is = (/** @type {"first" | "speed" | "cost"} */ name) => measures !== null && measures[name] !== null && measures[name] === best[name];
  const actions = { chooseKey: onSettings, openSettings: onSettings, chooseModel: () => document.getElementById(`compare-model-${index}`)?.focus() };
  const last = path[path.length - 1];
  return html`
    <section aria-label=${own.column(index + 1)}>
      <div class="row between">
        ${modelChoices(sources.models, model).length > 0 && html`<${Select} id=${`compare-model-${index}`} class="small" aria-label=${text.model} value=${model} choices=${modelChoices(sources.models, model)} onChange=${(/** @type {string} */ id) => chat.set({ model: id })} />`}
        <span class="row column-buttons">
          ${live && html`<${Sign} icon="stop" label=${own.stopOne} onClick=${() => chat.stop()} />`}
          <${Sign} icon=${isWrong ? "warn" : "sliders"} label=${own.parametersOf(model)} onClick=${onSettings} />
          ${onRemove && html`<${Sign} icon="x" label=${own.remove(model)} onClick=${onRemove} />`}
        </span>
      </div>
      <div class="row wrap tags">${tags.filter(Boolean).map((tag) => html`<span class="tag">${tag}</span>`)}
        ${settings.attention && html`<span class=${`tag ${settings.attention === "sparse" ? "abyss" : ""}`}>${text[settings.attention]}</span>`}
        ${live && html`<span class="state live tiny">${live.text || live.reasoning ? text.writing(null) : text.waiting}</span>`}</div>
      ${answer && html`
        <dl class="stats">
          ${stat(own.firstToken, answer.measures.first === null ? "–" : text.inSeconds(seconds(answer.measures.first * 1000)), is("first"))}
          ${stat(own.speed, speed === null ? "–" : `${answer.measures.usage ? "" : "~"}${speed < 100 ? speed.toFixed(1) : count(speed)}`, is("speed"))}
          ${stat(own.cost, answer.measures.usage ? (answer.measures.cost === null ? text.noPrice : dollars(answer.measures.cost)) : "–", is("cost"))}
        </dl>`}
      ${path.map((turn) => (turn.role === "user"
        ? html`<div key=${turn.id} class="said small asked">${turn.text.slice(0, 400)}</div>`
        : html`<${AnswerView} key=${turn.id} chat=${chat} turn=${live?.id === turn.id ? live : turn} live=${live?.id === turn.id} last=${turn === last} busy=${live !== null} actions=${actions} plain />`))}
      ${path.length === 0 && index === 0 && html`<p class="small muted">${own.empty}</p>`}
    </section>`;
}
