// Where the next turn is written.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { Icon } from "../icons.js";
import { Button, Sign } from "../ui.js";
import { words } from "../words.js";
import { ImagePicker, Thumbnails, filesOf, usePictures } from "./images.js";

const text = words.playground;

/** What is being typed, on each page that has a composer. @type {Map<string, { text: string, images: import("./conversation.js").Picture[] }>} */
export const drafts = new Map();

/**
 * @param {{
 *   name: string, placeholder: string, busy: boolean, disabled?: boolean, onSend: (text: string, images: import("./conversation.js").Picture[]) => void, onStop: () => void,
 *   onTools?: () => void, onParameters?: () => void, tools?: number, focus?: number,
 * }} props `name` tells composers apart; a change of `focus` moves the focus here
 */
export function Composer({ name, placeholder, busy, disabled, onSend, onStop, onTools, onParameters, tools, focus }) {
  /** @type {{ current: HTMLTextAreaElement | null }} */
  const area = useRef(null);
  const [dragged, setDragged] = useState(false);
  const [isEmpty, setEmpty] = useState(!drafts.get(name)?.text);
  const pictures = usePictures(drafts.get(name)?.images);
  useLayoutEffect(() => {
    // The text stays with the element: what is typed there draws nothing anew.
    /** @type {HTMLTextAreaElement} */ (area.current).value = drafts.get(name)?.text ?? "";
  }, [name]);
  useEffect(() => {
    if (focus) area.current?.focus();
  }, [focus]);
  useEffect(() => {
    drafts.set(name, { text: area.current?.value ?? "", images: pictures.good });
  }, [pictures.all]);
  const keep = () => {
    const value = area.current?.value ?? "";
    drafts.set(name, { text: value, images: pictures.good });
    setEmpty(value === "");
  };
  const send = () => {
    const value = area.current?.value ?? "";
    if (busy || disabled || pictures.isReading || (!value.trim() && pictures.good.length === 0)) return;
    onSend(value, pictures.good);
    /** @type {HTMLTextAreaElement} */ (area.current).value = "";
    pictures.clear();
    drafts.delete(name);
    setEmpty(true);
  };
  const take = (/** @type {DataTransfer | null} */ data, /** @type {Event} */ event) => {
    const files = filesOf(data);
    if (files.length === 0) return;
    event.preventDefault();
    pictures.add(files);
  };
  return html`
    <div class=${`composer ${dragged ? "dragged" : ""}`}
      onDragOver=${(/** @type {DragEvent} */ event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        setDragged(true);
      }}
      onDragLeave=${() => setDragged(false)}
      onDrop=${(/** @type {DragEvent} */ event) => {
        setDragged(false);
        take(event.dataTransfer, event);
      }}>
      <form class="box" onSubmit=${(/** @type {Event} */ event) => {
        event.preventDefault();
        send();
      }}>
        <${Thumbnails} pictures=${pictures.all} onRemove=${pictures.remove} />
        <textarea ref=${area} aria-label=${text.message} placeholder=${placeholder} rows="1" onInput=${keep}
          onPaste=${(/** @type {ClipboardEvent} */ event) => take(event.clipboardData, event)}
          onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            send();
          }}></textarea>
        <div class="tools">
          <${ImagePicker} pictures=${pictures} />
          ${onTools && html`<${Sign} icon="tool" label=${text.tools} onClick=${onTools} />`}
          ${!!tools && html`<span class="tag">${text.toolsOn(tools)}</span>`}
          ${onParameters && html`<${Button} class="ghost small only-narrow" icon="sliders" onClick=${onParameters}>${text.parameters}<//>`}
          <span class="tiny muted hide-phone keys-hint"><kbd>Enter</kbd> ${text.sends} <kbd>Shift Enter</kbd> ${text.breaksLine}</span>
          ${busy
            ? html`<${Button} class="main small square" icon="stop" aria-label=${text.stopNow} onClick=${onStop} />`
            : html`<button class="btn main small square" type="submit" aria-label=${text.send} disabled=${disabled || pictures.isReading || (isEmpty && pictures.good.length === 0)}><${Icon} name="send" /></button>`}
        </div>
      </form>
    </div>`;
}
