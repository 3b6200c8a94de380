// Why an answer failed, in words, and what can be done about it.
import { html, useEffect, useState } from "../lib.js";
import { Icon } from "../icons.js";
import { href } from "../router.js";
import { Button } from "../ui.js";
import { words } from "../words.js";

const text = words.playground;

/** @typedef {import("./conversation.js").Answer} Answer */
/** What a page offers besides trying again. @typedef {{ chooseKey: () => void, chooseModel: () => void, openSettings: () => void }} Actions */

/** The statuses that the same request gets again. */
const FINAL = [400, 401, 403, 404, 413, 422];

/** @param {{ turn: Answer, chat: import("./chat.js").Chat, actions: Actions, busy: boolean }} props */
export function FaultNote({ turn, chat, actions, busy }) {
  const fault = /** @type {import("./conversation.js").AnswerFault} */ (turn.fault);
  const wait = useCountdown(fault.retryAfter ?? 0, turn.id);
  const came = turn.text !== "";
  const isFinal = FINAL.includes(fault.status) && !came && chat.isAsBefore();
  return html`
    <div class="note bad fault" role="alert">
      <${Icon} name="warn" />
      <div class="stack-2">
        <div><strong class="medium">${titleOf(fault, came)}</strong> <span class="breaks">${fault.message}</span></div>
        <div class="row wrap">
          ${actionOf(fault, actions)}
          ${came && fault.status !== 402 && html`<${Button} class="small" disabled=${busy} onClick=${() => chat.send(text.goOnPrompt)}>${text.goOn}<//>`}
          ${!isFinal && html`<${Button} class="small" icon="redo" disabled=${busy || wait > 0} onClick=${() => chat.retry(turn)}>
            ${wait > 0 ? text.retryIn(wait) : words.retry}<//>`}
          ${fault.requestId && html`<span class="tiny muted mono breaks">${fault.requestId}</span>`}
        </div>
      </div>
    </div>`;
}

/** The button for what helps against a fault. @param {import("./conversation.js").AnswerFault} fault @param {Actions} actions */
function actionOf({ status, code, message }, actions) {
  const button = (/** @type {string} */ label, /** @type {() => void} */ act) => html`<${Button} class="small" onClick=${act}>${label}<//>`;
  if (status === 401 || code === "key_not_found") return button(text.chooseKey, actions.chooseKey);
  if (status === 402) return html`<a class="btn small" href=${href("keys")}>${text.changeBudget}</a>${button(text.chooseKey, actions.chooseKey)}`;
  if (status === 403 || /model not exist/i.test(message)) return button(text.chooseModel, actions.chooseModel);
  if (status === 400 || status === 413 || status === 422) return button(text.checkSettings, actions.openSettings);
  return null;
}

/** @param {import("./conversation.js").AnswerFault} fault @param {boolean} came whether a part of the answer came */
function titleOf({ status, code }, came) {
  if (came) return text.fault.broken;
  if (code === "key_not_found") return text.fault.key;
  return text.fault.of[status] ?? (status >= 500 ? text.fault.server : text.fault.refused);
}

/** Counts seconds down. @param {number} from @param {string} id of what is waited for */
function useCountdown(from, id) {
  const [left, setLeft] = useState(from);
  useEffect(() => {
    setLeft(from);
    if (from <= 0) return;
    const timer = setInterval(() => setLeft((before) => Math.max(0, before - 1)), 1000);
    return () => clearInterval(timer);
  }, [from, id]);
  return left;
}
