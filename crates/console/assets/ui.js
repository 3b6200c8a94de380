// The components that every page uses.
import { Component, html, signal, useEffect, useElement, useId, useLayoutEffect, useMaybe, useRef, useState } from "./lib.js";
import { Icon, Whale } from "./icons.js";
import { Fault } from "./calls.js";
import { ago } from "./format.js";
import { holdsSecret } from "./router.js";
import { expired } from "./session.js";
import { words } from "./words.js";

/** @typedef {any} Children */

/** The heading of a page. @param {{ title: string, text?: Children, children?: Children }} props */
export function Head({ title, text, children }) {
  useEffect(() => {
    document.title = `${title} · ${words.name}`;
  }, [title]);
  return html`
    <div class="head">
      <div><h1 tabindex="-1">${title}</h1>${text && html`<p>${text}</p>`}</div>
      ${children && html`<div class="actions">${children}</div>`}
    </div>`;
}

/** @param {{ title: string, aside?: Children, class?: string, children?: Children }} props */
export const Card = ({ title, aside, children, ...props }) => html`
  <section class=${`card ${props.class ?? ""}`}>
    <header><h2>${title}</h2>${aside}</header>
    ${children}
  </section>`;

/** One of the figures at the top of a page. @param {{ label: string, value: Children, note: Children }} props */
export const Figure = ({ label, value, note }) => html`<div class="figure"><dt>${label}</dt><dd>${value}</dd><dd>${note}</dd></div>`;

/** A button that sends no form. @param {{ class?: string, icon?: string, children?: Children } & Record<string, unknown>} props */
export const Button = ({ class: kind = "", icon, children, ...props }) => html`
  <button class=${`btn ${kind}`} type="button" ...${props}>${icon && html`<${Icon} name=${icon} />`}${children}</button>`;

/** A small button with a sign alone. @param {{ icon: string, label: string } & Record<string, unknown>} props */
export const Sign = ({ label, ...props }) => html`<${Button} class="ghost small square" aria-label=${label} ...${props} />`;

/** What is to be noticed, behind a sign. @param {{ kind?: string, icon?: string, children?: Children } & Record<string, unknown>} props kind: warn, bad */
export const Note = ({ kind = "", icon = kind ? "warn" : "info", children, ...props }) => html`
  <div class=${`note ${kind}`} ...${props}><${Icon} name=${icon} /><div>${children}</div></div>`;

/** A state: a dot whose form tells as much as its colour, and a word. @param {{ kind: string, class?: string, children?: Children }} props */
export const State = ({ kind, children, ...props }) => html`<span class=${`state ${kind} ${props.class ?? ""}`}>${children}</span>`;

/** A share of a whole. @param {{ share: number, warn?: boolean, full?: boolean }} props share: 0 to 1 */
export const Meter = ({ share, warn, full }) => html`
  <svg class=${`meter ${full ? "full" : ""}`} viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
    <rect width="100" height="4" fill="var(--line)" />
    <rect width=${Math.max(0, Math.min(100, share * 100))} height="4" fill=${warn ? "var(--warn)" : "var(--c1)"} />
  </svg>`;

/** @param {{ title: string, text: string, children?: Children }} props */
export const Empty = ({ title, text, children }) => html`
  <div class="empty"><${Whale} class="deep" /><h2 class="h3">${title}</h2><p class="small">${withCode(text)}</p>${children}</div>`;

/** @param {Record<string, unknown>} props those of `Empty` */
export const EmptyCard = (props) => html`<section class="card"><${Empty} ...${props} /></section>`;

/** A text with what stands between backticks as code. @param {string} text */
export const withCode = (text) => text.split("`").map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));

/** Two to five choices. @param {{ label: string, value: string, choices: [string, string][], onChange: (value: string) => void, class?: string }} props */
export const Segments = ({ label, value, choices, onChange, ...props }) => html`
  <div class=${`seg ${props.class ?? ""}`} role="group" aria-label=${label}>
    ${choices.map(([choice, text]) => html`
      <button type="button" aria-pressed=${choice === value} onClick=${() => onChange(choice)}>${text}</button>`)}
  </div>`;

/** The languages of a piece of code: names and texts. @param {{ value: string, choices: [string, string][], onChange: (value: string) => void }} props */
export function Tabs({ value, choices, onChange }) {
  const ref = useElement();
  const move = (/** @type {KeyboardEvent} */ event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0;
    if (!step) return;
    const next = (choices.findIndex(([choice]) => choice === value) + step + choices.length) % choices.length;
    onChange(choices[next][0]);
    ref.current?.querySelectorAll("button")[next].focus();
  };
  return html`
    <div class="tabs" role="tablist" aria-label=${words.snippet.language} ref=${ref} onKeyDown=${move}>
      ${choices.map(([choice, text]) => html`
        <button type="button" role="tab" aria-selected=${choice === value} tabindex=${choice === value ? 0 : -1} onClick=${() => onChange(choice)}>${text}</button>`)}
    </div>`;
}

/** @param {{ label: string, value: string, onInput: (value: string) => void }} props */
export const Search = ({ label, value, onInput }) => html`
  <div class="search">
    <${Icon} name="search" />
    <input class="input" type="search" placeholder=${label} aria-label=${label} value=${value}
      onInput=${(/** @type {any} */ event) => onInput(event.target.value)} />
  </div>`;

/**
 * A label, a field, and below it a hint or what is wrong with its value.
 * `children` draws the field, given its id and the attributes that tie it to the message.
 * @param {{ label: string, hint?: Children, error?: string | null, children: (field: Record<string, unknown>) => Children }} props
 */
export function Field({ label, hint, error, children }) {
  const id = useId();
  const described = error || hint ? { "aria-describedby": `${id}-note` } : {};
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      ${children({ id, ...described, ...(error ? { "aria-invalid": "true" } : {}) })}
      ${error
        ? html`<span class="error" id=${`${id}-note`}><${Icon} name="warn" /><span>${error}</span></span>`
        : hint && html`<span class="hint" id=${`${id}-note`}>${hint}</span>`}
    </div>`;
}

/**
 * A field for a line of text.
 * @param {{ label: string, value: string, onInput: (value: string) => void, hint?: Children, error?: string | null, unit?: string } & Record<string, unknown>} props
 */
export function TextField({ label, value, onInput, hint, error, unit, ...attributes }) {
  return html`
    <${Field} label=${label} hint=${hint} error=${error}>
      ${(/** @type {any} */ field) => {
        const input = html`<input class="input" value=${value} ...${field} ...${attributes}
          onInput=${(/** @type {any} */ event) => onInput(event.target.value)} />`;
        return unit ? html`<span class="with-unit"><span>${unit}</span>${input}</span>` : input;
      }}
    <//>`;
}

/**
 * @param {{ label: string, value: string, choices: [string, string][], onChange: (value: string) => void, hint?: Children, error?: string | null }} props
 */
export const SelectField = ({ label, value, choices, onChange, hint, error }) => html`
  <${Field} label=${label} hint=${hint} error=${error}>
    ${(/** @type {any} */ field) => html`<${Select} ...${field} value=${value} choices=${choices} onChange=${onChange} />`}
  <//>`;

/** @param {{ value: string, choices: [string, string][], onChange: (value: string) => void, class?: string } & Record<string, unknown>} props */
export const Select = ({ value, choices, onChange, ...attributes }) => html`
  <select ...${attributes} class=${`select ${attributes.class ?? ""}`} value=${value}
    onChange=${(/** @type {any} */ event) => onChange(event.target.value)}>
    ${choices.map(([choice, text]) => html`<option value=${choice} selected=${choice === value}>${text}</option>`)}
  </select>`;

/** The button that sends a form. @param {{ busy: boolean, text: string, busyText: string, class?: string, disabled?: boolean }} props */
export const Submit = ({ busy, text, busyText, disabled, ...props }) => html`
  <button class=${`btn main ${busy ? "busy" : ""} ${props.class ?? ""}`} type="submit" disabled=${busy || disabled}>${busy ? busyText : text}</button>`;

/** Copies a text, and says so. @param {{ text: string | (() => string), class?: string }} props */
export function Copy({ text, ...props }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "string" ? text : text());
      setCopied(true);
      setTimeout(() => setCopied(false), 2000);
    } catch {
      toast(words.copyFailed, "bad");
    }
  };
  return html`
    <button class=${`btn small ${props.class ?? "ghost"}`} type="button" onClick=${copy}>
      <${Icon} name=${copied ? "check" : "copy"} /><span aria-live="polite">${copied ? words.copied : words.copy}</span>
    </button>`;
}

/** What a call did wrong, in words. @param {unknown} fault */
export const faultText = (fault) =>
  fault instanceof Fault && fault.status === 0 ? words.fault.unreachable : fault instanceof Error ? fault.message : String(fault);

/** What could not be read, why, how old what is still shown is. @param {{ what: string, fault: any, at?: number, retry: () => void }} props */
export const ErrorNote = ({ what, fault, at, retry }) => html`
  <div class="note bad" role="alert">
    <${Icon} name="warn" />
    <div class="stack-2">
      <div><strong class="medium">${words.fault.notRead(what)}</strong> ${faultText(fault)} ${at ? words.fault.age(ago(at / 1000)) : null}</div>
      <div class="row wrap">
        <${Button} class="small" icon="redo" onClick=${retry}>${words.retry}<//>
        <span class="tiny muted">${words.retrySoon}</span>
        ${fault.requestId && html`<span class="tiny muted mono">${fault.requestId}</span>`}
      </div>
    </div>
  </div>`;

/** What a form could not do, below its fields. @param {{ text: Children }} props */
export const FormFault = ({ text }) =>
  text ? html`<${Note} kind="bad" role="alert">${text}<//>` : null;

/** Bars in the shape of what comes, after 200 ms. @param {{ lines?: number }} props */
export function Skeleton({ lines = 5 }) {
  const [shown, setShown] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setShown(true), 200);
    return () => clearTimeout(timer);
  }, []);
  if (!shown) return null;
  const widths = ["w50", "w90", "w70", "w90", "w30"];
  return html`
    <div class="body stack-3" aria-busy="true">
      <span class="sr">${words.loading}</span>
      ${Array.from({ length: lines }, (_, line) => html`<span class=${`skel ${widths[line % widths.length]}`}></span>`)}
    </div>`;
}

const toasts = signal(/** @type {{ id: number, text: string, kind: string }[]} */ ([]));
let lastToast = 0;

/** Says something in the corner: what went well for 5 s, a fault until it is closed. @param {string} text @param {"good" | "bad"} [kind] */
export function toast(text, kind = "good") {
  const id = ++lastToast;
  toasts.value = [...toasts.value.filter((/** @type {any} */ other) => other.text !== text), { id, text, kind }];
  if (kind === "good") setTimeout(() => closeToast(id), 5000);
}

/** Does something, and says in the corner what goes wrong. @param {() => Promise<void>} act */
export async function attempt(act) {
  try {
    await act();
  } catch (fault) {
    toast(faultText(fault), "bad");
  }
}

/** @param {number} id */
const closeToast = (id) => {
  toasts.value = toasts.value.filter((/** @type {any} */ other) => other.id !== id);
};

export const Toasts = () => html`
  <div class="toasts">
    ${toasts.value.map((/** @type {any} */ { id, text, kind }) => html`
      <div class="toast" key=${id} role=${kind === "bad" ? "alert" : "status"}>
        <${Icon} name=${kind === "bad" ? "warn" : "check"} /><span class="grow small">${text}</span>
        <${Sign} icon="x" label=${words.close} onClick=${() => closeToast(id)} />
      </div>`)}
  </div>`;

/**
 * A dialog. Escape and the cross close it, unless it `holds` something that is shown only once. `submit`: the properties of the button that sends
 * its form; without it and a `footer`, a button closes it.
 * @param {{ title: string, onClose: () => void, onSubmit?: () => void, holds?: boolean, broad?: boolean, submit?: Record<string, unknown>, footer?: Children, children: Children }} props
 */
export function Dialog({ title, onClose, onSubmit = onClose, holds, broad, submit, footer, children }) {
  const id = useId();
  /** @type {{ current: HTMLDialogElement | null }} */
  const ref = useRef(null);
  useLayoutEffect(() => {
    const dialog = /** @type {HTMLDialogElement} */ (ref.current);
    const before = document.activeElement;
    if (holds) holdsSecret.value = true;
    return () => {
      dialog.close();
      if (holds) holdsSecret.value = false;
      if (before instanceof HTMLElement && before.isConnected) before.focus();
      // What opened it is gone, such as the row of what was removed.
      else document.querySelector("h1")?.focus();
    };
  }, []);
  useLayoutEffect(() => {
    // A modal dialog would block the login that stands before the page.
    if (expired.value) ref.current?.close();
    else ref.current?.showModal();
  }, [expired.value]);
  const body = html`
    <div class="dh">
      <h2 id=${id}>${title}</h2>
      ${!holds && html`<${Sign} icon="x" label=${words.close} onClick=${onClose} />`}
    </div>
    <div class="body">${children}</div>
    <footer>${footer ?? (submit
      ? html`<${Button} class="ghost" onClick=${onClose}>${words.cancel}<//><${Submit} ...${submit} />`
      : html`<button class="btn" type="submit">${words.close}</button>`)}</footer>`;
  return html`
    <dialog ref=${ref} class=${`dialog ${broad ? "broad" : ""}`} aria-labelledby=${id}
      onCancel=${(/** @type {Event} */ event) => {
        event.preventDefault();
        if (!holds) onClose();
      }}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
        // A second Escape would close it without asking.
        if (event.key === "Escape" && holds) event.preventDefault();
      }}>
      <form method="dialog" novalidate onSubmit=${(/** @type {Event} */ event) => {
        event.preventDefault();
        onSubmit();
      }}>${body}</form>
    </dialog>`;
}

/** The state of a form's call: whether it runs, and its last error. */
export function useSubmit() {
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useMaybe();
  /** @param {() => Promise<void>} act */
  const run = async (act) => {
    setBusy(true);
    setFault(null);
    try {
      await act();
    } catch (error) {
      setFault(error);
    }
    setBusy(false);
  };
  return { busy, fault, run, setFault };
}

/** Asks before something is destroyed. @param {{ title: string, text: string, submit: string, submitting: string, act: () => Promise<void>, onClose: () => void }} props */
export function Confirm({ title, text, submit, submitting, act, onClose }) {
  const { busy, fault, run } = useSubmit();
  const confirm = () => run(async () => {
    await act();
    onClose();
  });
  return html`
    <${Dialog} title=${title} onClose=${onClose} onSubmit=${confirm} footer=${html`
      <${Button} class="ghost" autofocus onClick=${onClose}>${words.cancel}<//>
      <${Submit} class="bad" busy=${busy} text=${submit} busyText=${submitting} />`}>
      <p class="soft">${text}</p>
      <${FormFault} text=${fault && faultText(fault)} />
    <//>`;
}

/** A list of actions behind three dots. @param {{ label: string, actions: { text: string, bad?: boolean, act: () => void }[] }} props */
export function Menu({ label, actions }) {
  const [open, setOpen] = useState(false);
  const ref = useElement();
  useEffect(() => {
    if (!open) return;
    const close = (/** @type {Event} */ event) => {
      if (!(event.target instanceof globalThis.Node && ref.current?.contains(event.target))) setOpen(false);
    };
    // The list lies above everything, so that no table cuts it off.
    const list = /** @type {HTMLElement} */ (ref.current?.querySelector("[role=menu]"));
    const button = /** @type {HTMLElement} */ (ref.current?.querySelector("button")).getBoundingClientRect();
    list.showPopover();
    const below = button.bottom + list.offsetHeight + 8 < innerHeight;
    list.style.top = `${below ? button.bottom + 2 : button.top - list.offsetHeight - 2}px`;
    list.style.left = `${Math.max(8, button.right - list.offsetWidth)}px`;
    const hide = () => setOpen(false);
    document.addEventListener("pointerdown", close);
    addEventListener("scroll", hide, true);
    addEventListener("resize", hide);
    /** @type {HTMLElement | null} */ (list.querySelector("[role=menuitem]"))?.focus();
    return () => {
      document.removeEventListener("pointerdown", close);
      removeEventListener("scroll", hide, true);
      removeEventListener("resize", hide);
    };
  }, [open]);
  const move = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape" || event.key === "Tab") {
      setOpen(false);
      if (event.key === "Escape") ref.current?.querySelector("button")?.focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !open) return;
    event.preventDefault();
    const items = /** @type {HTMLElement[]} */ ([...(ref.current?.querySelectorAll("[role=menuitem]") ?? [])]);
    items[(items.indexOf(/** @type {HTMLElement} */ (document.activeElement)) + step + items.length) % items.length].focus();
  };
  return html`
    <span class="menu" ref=${ref} onKeyDown=${move}>
      <${Sign} icon="more" label=${label} aria-haspopup="menu" aria-expanded=${open}
        onClick=${() => setOpen(!open)} />
      ${open && html`
        <span class="menu-list" role="menu" aria-label=${label} popover="manual">
          ${actions.map(({ text, bad, act }) => html`
            <button class=${bad ? "bad" : ""} type="button" role="menuitem" onClick=${() => {
              setOpen(false);
              ref.current?.querySelector("button")?.focus();
              act();
            }}>${text}</button>`)}
        </span>`}
    </span>`;
}

/** Keeps a page that fails from taking the others with it. */
export class Boundary extends Component {
  /** @type {any} */
  state = {};

  /** @param {unknown} fault */
  static getDerivedStateFromError(fault) {
    return { fault };
  }

  /** @param {unknown} fault */
  componentDidCatch(fault) {
    console.error(fault);
  }

  render() {
    if (!this.state.fault) return /** @type {any} */ (this.props).children;
    return html`
      <main id="main"><${EmptyCard} title=${words.fault.crashed} text=${words.fault.crashedText}>
        <${Button} class="main small" onClick=${() => location.reload()}>${words.fault.reload}<//>
      <//></main>`;
  }
}
