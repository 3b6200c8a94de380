// An answer as its tokens, with what could have stood in their places.
import { html, useEffect, useElement, useState } from "../lib.js";
import { words } from "../words.js";

const text = words.playground;

/** Most tokens that are shown one by one. */
const MOST = 5_000;

/** @param {number} logprob */
const percent = (logprob) => `${(100 * Math.exp(logprob)).toFixed(logprob > -0.01 ? 0 : 1)} %`;

/** A token as it can be seen: white space has signs. @param {string} token */
const visible = (token) => token.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥");

/** @param {{ tokens: import("./conversation.js").TokenLogprob[] }} props */
export function Tokens({ tokens }) {
  const [shown, setShown] = useState(/** @type {{ index: number, x: number, y: number } | null} */ (null));
  const [focus, setFocus] = useState(0);
  const ref = useElement();
  const at = (/** @type {any} */ event) => {
    const index = Number(event.target?.dataset?.token ?? NaN);
    if (Number.isNaN(index)) return setShown(null);
    const box = event.target.getBoundingClientRect();
    setShown({ index, x: box.left, y: box.bottom });
  };
  const move = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0;
    if (event.key === "Escape") setShown(null);
    if (!step) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(Math.min(tokens.length, MOST) - 1, focus + step));
    setFocus(next);
    /** @type {HTMLElement | undefined | null} */ (ref.current?.querySelector(`[data-token="${next}"]`))?.focus();
  };
  return html`
    <div class="prose said-text tokens" ref=${ref} onMouseOver=${at} onMouseLeave=${() => setShown(null)} onFocusIn=${at} onFocusOut=${() => setShown(null)} onKeyDown=${move}>
      <div class="raw">${tokens.slice(0, MOST).map(({ token, logprob }, index) => html`
        <span class=${`token ${logprob < -2.3 ? "low" : logprob < -0.69 ? "mid" : ""}`} data-token=${index} tabindex=${index === focus ? 0 : -1}>${token}</span>`)}</div>
      ${tokens.length > MOST && html`<p class="small muted">${text.moreTokens(tokens.length - MOST)}</p>`}
      ${shown && html`<${Alternatives} of=${tokens[shown.index]} x=${shown.x} y=${shown.y} />`}
    </div>`;
}

/** @param {{ of: import("./conversation.js").TokenLogprob, x: number, y: number }} props */
function Alternatives({ of: { token, logprob, top }, x, y }) {
  const ref = useElement();
  useEffect(() => {
    const box = /** @type {HTMLElement} */ (ref.current);
    box.style.left = `${Math.max(8, Math.min(x, innerWidth - box.offsetWidth - 8))}px`;
    box.style.top = `${y + box.offsetHeight + 8 > innerHeight ? y - box.offsetHeight - 28 : y + 4}px`;
  }, [x, y]);
  const rows = top.some(([other]) => other === token) ? top : [/** @type {[string, number]} */ ([token, logprob]), ...top];
  return html`
    <div class="alternatives" role="tooltip" ref=${ref}>
      ${rows.map(([other, value]) => html`
        <div class=${other === token ? "medium" : ""}><code>${visible(other)}</code><span class="num">${percent(value)}</span></div>`)}
    </div>`;
}
