// The dialogs that share, export, import and find conversations.
import { html, useEffect, useRef, useState } from "../lib.js";
import { download } from "../download.js";
import { ago } from "../format.js";
import { Button, Copy, Dialog, FormFault, Note, Sign, Skeleton } from "../ui.js";
import { words } from "../words.js";
import { MAX_LINK, fileName, fromJson, toHash, toJson, toMarkdown } from "./share.js";
import * as store from "./store.js";

const text = words.playground;

/** @typedef {import("./conversation.js").Conversation} Conversation */

/** @param {{ chat: import("./chat.js").Chat, onClose: () => void, onImport: (conversation: Conversation) => void }} props */
export function ShareDialog({ chat, onClose, onImport }) {
  const conversation = chat.conversation.value;
  const [link, setLink] = useState(/** @type {string | null} */ (null));
  const [fault, setFault] = useState("");
  const isEmpty = conversation.turns.length === 0;
  useEffect(() => {
    if (!isEmpty) toHash(conversation).then((hash) => setLink(`${location.origin}/console/playground#${hash}`));
  }, []);
  const name = fileName(conversation.title);
  const isLong = link !== null && link.length > MAX_LINK;
  return html`
    <${Dialog} title=${text.share} onClose=${onClose}>
      ${!isEmpty && (isLong
        ? html`<${Note} kind="warn">${text.linkTooLong(String(Math.ceil(link.length / 1024)))}<//>`
        : html`<p class="small soft">${text.linkText}</p>
          ${link !== null && html`<div class="row"><input class="input mono small" readonly aria-label=${text.copyLink} value=${link} onFocus=${(/** @type {any} */ event) => event.target.select()} /><${Copy} text=${link} class="main" /></div>`}`)}
      <div class="row wrap">
        <${Button} icon="save" disabled=${isEmpty} onClick=${() => download(`${name}.json`, "application/json", JSON.stringify(toJson(conversation), null, 2))}>${text.exportJson}<//>
        <${Button} icon="save" disabled=${isEmpty} onClick=${() => download(`${name}.md`, "text/markdown", toMarkdown(conversation.title, conversation.settings.system, chat.path))}>${text.exportMarkdown}<//>
        <${Import} owner=${conversation.owner} onImport=${onImport} onFault=${setFault} />
      </div>
      <${FormFault} text=${fault} />
    <//>`;
}

/** @param {{ owner: string, onImport: (conversation: Conversation) => void, onFault: (text: string) => void }} props */
function Import({ owner, onImport, onFault }) {
  /** @type {{ current: HTMLInputElement | null }} */
  const input = useRef(null);
  const read = async (/** @type {any} */ event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      onImport(fromJson(await file.text(), owner));
    } catch (fault) {
      onFault(text.notImported(/** @type {Error} */ (fault).message));
    }
  };
  return html`
    <${Button} onClick=${() => input.current?.click()}>${text.importJson}<//>
    <input class="sr" type="file" tabindex="-1" aria-hidden="true" accept="application/json,.json" ref=${input} onChange=${read} />`;
}

/** The last conversations of this user in this browser. @param {{ chat: import("./chat.js").Chat, onClose: () => void }} props */
export function HistoryDialog({ chat, onClose }) {
  const [found, setFound] = useState(/** @type {Conversation[] | null} */ (null));
  const { owner, id } = chat.conversation.value;
  useEffect(() => {
    store.list(owner).then(setFound);
  }, []);
  return html`
    <${Dialog} title=${text.history} onClose=${onClose}>
      <p class="small soft">${text.historyText}</p>
      ${found === null ? html`<${Skeleton} />` : found.length === 0 ? html`<p class="muted">${text.historyEmpty}</p>` : html`
        <ul class="list history">${found.map((conversation) => html`
          <li key=${conversation.id}>
            <button class="link grow cut" type="button" aria-current=${conversation.id === id ? "true" : undefined} onClick=${() => {
              if (conversation.id !== id) chat.open(conversation);
              onClose();
            }}>${conversation.title || text.untitled}</button>
            <span class="tiny muted nowrap">${conversation.model}, ${ago(conversation.at / 1000)}</span>
            <${Sign} icon="x" label=${text.deleteIt(conversation.title || text.untitled)} onClick=${async () => {
              await store.remove(conversation.id);
              setFound(found.filter((other) => other !== conversation));
            }} />
          </li>`)}</ul>`}
    <//>`;
}
