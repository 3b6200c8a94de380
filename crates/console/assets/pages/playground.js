// The playground: a chat with any model that a key of the user may use.
import { effect, html, signal, useEffect, useElement, useLayoutEffect, useRef, useState } from "../lib.js";
import { Icon } from "../icons.js";
import { CreateKey } from "../key_dialog.js";
import { path as address, href, query, setQuery } from "../router.js";
import { identify, me } from "../session.js";
import { Button, Dialog, Empty, ErrorNote, Select, Sign, Skeleton } from "../ui.js";
import { words } from "../words.js";
import { Chat } from "../playground/chat.js";
import { CodeDialog } from "../playground/code_dialog.js";
import { Comparison } from "../playground/compare.js";
import { Composer, drafts } from "../playground/composer.js";
import { newConversation } from "../playground/conversation.js";
import { Depth, KeyChooser, Parameters } from "../playground/panel.js";
import { problems } from "../playground/settings.js";
import { fromHash } from "../playground/share.js";
import { HistoryDialog, ShareDialog } from "../playground/share_dialog.js";
import { modelChoices, useSources } from "../playground/sources.js";
import * as store from "../playground/store.js";
import { ToolDialog } from "../playground/tool_dialog.js";
import { AnswerView, Near, UserView } from "../playground/turn.js";

const text = words.playground;

/** @typedef {import("../playground/conversation.js").Conversation} Conversation */

// Its stylesheet is loaded with the page, before anything of it is drawn.
await new Promise((loaded) => {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = "/console/playground.css";
  link.onload = link.onerror = loaded;
  document.head.append(link);
});

/** The chat of this tab. It goes on while other pages are shown. @type {Chat | null} */
let current = null;

/** The id of the key that was chosen here. */
const chosenKey = signal("");

/** What is said above the conversation. */
const notice = signal("");

// What was said last is not lost with the page.
addEventListener("pagehide", () => current && current.conversation.value.turns.length > 0 && store.save(current.conversation.value));

/** @returns {Chat} */
function chatOf() {
  const owner = me.value?.name ?? "";
  if (current?.conversation.value.owner === owner) return current;
  current?.stop();
  const chat = (current = new Chat(owner));
  let timer = 0;
  effect(() => {
    const conversation = chat.conversation.value;
    if (conversation.turns.length === 0) return;
    clearTimeout(timer);
    timer = setTimeout(() => store.save(conversation), 400);
  });
  chat.onLeave = (conversation) => conversation.turns.length > 0 && store.save(conversation);
  return chat;
}

export default function Playground() {
  const chat = chatOf();
  const read = useSources(chosenKey.value);
  const { sources } = read;
  useLayoutEffect(() => {
    if (!sources) return;
    chat.key.value = sources.key;
    // Other pages lead here with a model.
    const wanted = query.value.get("model");
    if (wanted) setQuery("model", null);
    if (wanted && sources.models.some(({ id }) => id === wanted)) chat.set({ model: wanted });
    else if (!chat.conversation.value.model && sources.models.length > 0) chat.set({ model: usualModel(sources.models) });
  }, [sources, chat]);
  const props = { chat, sources, read, onKey: (/** @type {string} */ id) => {
    chosenKey.value = id;
  } };
  return address.value === "playground/compare" ? html`<${Comparison} ...${props} />` : html`<${ChatPage} ...${props} />`;
}

/** The model that is chosen when none is: the one of the last conversation, if it can be used. @param {import("../playground/sources.js").ModelChoice[]} models */
function usualModel(models) {
  return (models.find(({ id }) => id === "deepseek-chat") ?? models.find(({ local }) => local) ?? models[0]).id;
}

/**
 * @param {{ chat: Chat, sources: import("../playground/sources.js").Sources | null, read: any, onKey: (id: string) => void }} props
 */
function ChatPage({ chat, sources, read, onKey }) {
  const [dialog, setDialog] = useState(/** @type {string | null} */ (null));
  const [tool, setTool] = useState(/** @type {number | null} */ (null));
  const [focus, setFocus] = useState(0);
  const conversation = chat.conversation.value;
  const { settings, model } = conversation;
  const busy = chat.live.value !== null;
  const path = chat.path;
  const choice = sources?.models.find(({ id }) => id === model);
  useLayoutEffect(() => {
    document.title = `${text.title} · ${words.name}`;
  }, []);
  useOpening(chat);
  useEffect(() => {
    if (conversation.turns.length > 0 && query.value.get("conversation") !== conversation.id) setQuery("conversation", conversation.id);
    if (conversation.turns.length === 0 && query.value.get("conversation")) setQuery("conversation", null);
  }, [conversation.id, conversation.turns.length === 0]);
  const begin = () => {
    chat.open(newConversation(conversation.owner, model, settings));
    notice.value = "";
    setFocus(focus + 1);
  };
  const isWrong = Object.keys(problems(settings)).length > 0;
  /** Moves the focus into the panel, or opens it as a sheet. @param {string} [field] */
  const openParameters = (field = "#playground-panel .input") => {
    const target = /** @type {HTMLElement | null} */ (document.querySelector(field));
    if (target?.checkVisibility()) target.focus();
    else setDialog("parameters");
  };
  const actions = {
    chooseKey: () => openParameters("#playground-panel .key-choice select"),
    chooseModel: () => document.getElementById("playground-model")?.focus(),
    openSettings: () => openParameters(),
  };
  const counted = path.findLast((turn) => turn.role === "assistant" && turn.measures.usage);
  const usage = counted?.role === "assistant" ? counted.measures.usage : null;
  const panel = html`
    <${Depth} usage=${usage} context=${choice?.context ?? null} />
    <hr class="rule" />
    <${Parameters} settings=${settings} local=${choice?.local ?? false} onChange=${(/** @type {any} */ change) => chat.setSettings(change)} onTool=${setTool} />
    ${sources && html`<div class="contents key-choice"><${KeyChooser} sources=${sources} onChoose=${onKey} onCreate=${() => setDialog("key")} /></div>`}`;
  const icon = (/** @type {string} */ name, /** @type {string} */ label, /** @type {() => void} */ act) => html`
    <${Sign} icon=${name} label=${label} title=${label} onClick=${act} />`;
  return html`
    <main id="main" class="play">
      <div class="play-main">
        <div class="play-bar">
          <h1 tabindex="-1"><span class="hide-phone">${text.title}</span><span class="sr only-phone">${text.title}</span></h1>
          ${sources && modelChoices(sources.models, model).length > 0 && html`
            <${Select} id="playground-model" aria-label=${text.model} value=${model} onChange=${(/** @type {string} */ id) => chat.set({ model: id })}
              choices=${modelChoices(sources.models, model)} />`}
          ${settings.attention && html`<span class="tag hide-phone">${settings.attention}</span>`}
          <span class="grow"></span>
          <a class="btn ghost small" href=${href("playground/compare")} aria-label=${text.compare}><${Icon} name="cols" /><span class="hide-phone">${text.compare}</span></a>
          <${Button} class="ghost small" icon="code" aria-label=${text.viewCode} disabled=${isWrong || !model} onClick=${() => setDialog("code")}><span class="hide-phone">${text.viewCode}</span><//>
          ${icon("share", text.share, () => setDialog("share"))}
          ${icon("clock", text.history, () => setDialog("history"))}
          ${icon("plus", text.newConversation, begin)}
        </div>
        <${Thread} chat=${chat} path=${path} busy=${busy} actions=${actions} read=${read} onFocus=${() => setFocus(focus + 1)} onCreate=${() => setDialog("key")} />
        <${Composer} name="chat" placeholder=${text.askSomething} busy=${busy} disabled=${isWrong || !model || (sources?.needsKey && !sources.key)} focus=${focus}
          onSend=${(/** @type {string} */ message, /** @type {any} */ images) => {
            notice.value = "";
            chat.send(message, images);
          }} onStop=${() => chat.stop()} onTools=${() => (settings.tools.length === 0 ? setTool(0) : openParameters())} tools=${settings.tools.length} onParameters=${() => setDialog("parameters")} />
      </div>
      <aside class="panel" id="playground-panel" aria-label=${text.parameters}>${panel}</aside>
      <div class="sr" role="status">${chat.announced.value}</div>
      ${dialog === "code" && html`<${CodeDialog} body=${chat.request(...draftOf())} onClose=${() => setDialog(null)} />`}
      ${dialog === "share" && html`<${ShareDialog} chat=${chat} onClose=${() => setDialog(null)} onImport=${(/** @type {Conversation} */ imported) => {
        chat.open(imported);
        notice.value = text.fromFile;
        setDialog(null);
      }} />`}
      ${dialog === "history" && html`<${HistoryDialog} chat=${chat} onClose=${() => setDialog(null)} />`}
      ${dialog === "parameters" && html`
        <${Dialog} title=${text.parameters} onClose=${() => setDialog(null)}>
          <div class="panel-sheet">${panel}</div>
        <//>`}
      ${tool !== null && html`<${ToolDialog} tools=${settings.tools} index=${tool} onClose=${() => setTool(null)} onDone=${(/** @type {any} */ tools) => {
        chat.setSettings({ tools });
        setTool(null);
      }} />`}
      ${dialog === "key" && html`<${CreateKey} projects=${(me.value?.projects ?? []).map((name) => ({ name }))} onClose=${() => {
        setDialog(null);
        identify().then(read.reload);
      }} />`}
    </main>`;
}

/** What stands in the composer. @returns {[string, any[]]} */
function draftOf() {
  const draft = drafts.get("chat");
  return [draft?.text ?? "", draft?.images ?? []];
}

/** Opens the conversation that the address holds or names. @param {Chat} chat */
function useOpening(chat) {
  useEffect(() => {
    const open = async () => {
      const { owner } = chat.conversation.value;
      if (location.hash.startsWith("#c=")) {
        const hash = location.hash.slice(1);
        history.replaceState(null, "", location.pathname);
        try {
          chat.open(await fromHash(hash, owner));
          notice.value = text.fromLink;
        } catch (fault) {
          notice.value = /** @type {Error} */ (fault).message;
        }
        return;
      }
      const wanted = query.value.get("conversation");
      if (!wanted || wanted === chat.conversation.value.id || chat.conversation.value.turns.length > 0) return;
      const found = (await store.list(owner)).find(({ id }) => id === wanted);
      if (found) chat.open(found);
    };
    open();
    addEventListener("hashchange", open);
    return () => removeEventListener("hashchange", open);
  }, [chat]);
}

/**
 * @param {{ chat: Chat, path: import("../playground/conversation.js").Turn[], busy: boolean, actions: any, read: any, onFocus: () => void, onCreate: () => void }} props
 */
function Thread({ chat, path, busy, actions, read, onFocus, onCreate }) {
  const thread = useElement();
  const inner = useElement();
  const sticks = useRef(true);
  const [isAway, setAway] = useState(false);
  const live = chat.live.value;
  const { id } = chat.conversation.value;
  const [back, setBack] = useState(/** @type {string | null} */ (null));
  const toEnd = () => {
    sticks.current = true;
    setAway(false);
    if (thread.current) thread.current.scrollTop = thread.current.scrollHeight;
  };
  useLayoutEffect(() => {
    setBack(null);
    toEnd();
  }, [id, path.length > 0 && live?.id]);
  useEffect(() => {
    // The end stays in sight while an answer grows, unless the reader has gone elsewhere.
    const watcher = new ResizeObserver(() => sticks.current && thread.current && (thread.current.scrollTop = thread.current.scrollHeight));
    if (inner.current) watcher.observe(inner.current);
    return () => watcher.disconnect();
  }, []);
  const scrolled = () => {
    const { scrollHeight, scrollTop, clientHeight } = /** @type {HTMLElement} */ (thread.current);
    sticks.current = scrollHeight - scrollTop - clientHeight < 80;
    if (sticks.current === isAway) setAway(!sticks.current);
  };
  const { sources, fault } = read;
  const lastTurn = path[path.length - 1];
  const hasBranch = back !== null && chat.conversation.value.leaf !== back;
  return html`
    <div class="thread" ref=${thread} onScroll=${scrolled} tabindex=${path.length > 0 ? 0 : -1} role="group" aria-label=${text.title}>
      <div class="inner" ref=${inner}>
        ${fault && html`<${ErrorNote} what=${text.models} fault=${fault} at=${read.at} retry=${read.reload} />`}
        ${notice.value && html`<div class="note" role="status"><${Icon} name="info" /><div class="grow">${notice.value}</div>
          <button class="tag-x" type="button" aria-label=${words.close} onClick=${() => {
            notice.value = "";
          }}><${Icon} name="x" /></button></div>`}
        ${path.length === 0 && (!sources ? !fault && html`<${Skeleton} />` : html`<${Nothing} sources=${sources} onCreate=${onCreate} />`)}
        ${path.map((turn, index) => html`
          <${Near} key=${turn.id} near=${index >= path.length - 10}>${() => (turn.role === "user"
            ? html`<${UserView} chat=${chat} turn=${turn} busy=${busy} />`
            : html`<${AnswerView} chat=${chat} turn=${live?.id === turn.id ? live : turn} live=${live?.id === turn.id} last=${turn === lastTurn} busy=${busy} actions=${actions}
                onBranch=${(/** @type {string} */ at) => {
                  setBack(chat.conversation.value.leaf);
                  chat.branchAt(at);
                  onFocus();
                }} />`)}<//>`)}
        ${hasBranch && !busy && lastTurn?.role === "assistant" && isAncestor(chat, back) && html`
          <div class="note"><${Icon} name="branch" /><div class="grow">${text.branching}</div>
            <button class="link" type="button" onClick=${() => {
              chat.show(/** @type {string} */ (back));
              setBack(null);
            }}>${text.branchBack}</button></div>`}
      </div>
      ${isAway && html`<div class="to-end"><${Button} class="small" icon="down" onClick=${toEnd}>${text.latest}<//></div>`}
    </div>`;
}

/** Whether a turn comes after the end of the path that is shown. @param {Chat} chat @param {string | null} id */
function isAncestor(chat, id) {
  const { turns, leaf } = chat.conversation.value;
  const parents = new Map(turns.map((turn) => [turn.id, turn.parent]));
  for (let at = id; at; at = parents.get(at) ?? null) if (at === leaf) return true;
  return false;
}

/** @param {{ sources: import("../playground/sources.js").Sources, onCreate: () => void }} props */
function Nothing({ sources, onCreate }) {
  if (sources.needsKey && sources.keys.length === 0) {
    return html`<${Empty} title=${text.noKeyTitle} text=${text.noKeyText}><${Button} class="main small" onClick=${onCreate}>${words.keys.create}<//><//>`;
  }
  if (sources.models.length === 0) return html`<${Empty} title=${text.noModelsTitle} text=${text.noModelsText}><a class="btn main small" href=${href("models")}>${words.nav.models}</a><//>`;
  return html`<${Empty} title=${text.emptyTitle} text=${text.emptyText} />`;
}
