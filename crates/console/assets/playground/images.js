// Images of a turn: chosen, pasted or dropped.
import { html, useRef, useState } from "../lib.js";
import { Icon } from "../icons.js";
import { Sign } from "../ui.js";
import { words } from "../words.js";

const text = words.playground;

/** @typedef {import("./conversation.js").Picture} Picture */
/** A file that was added; `url` is empty while it is read, and for one that cannot be sent. @typedef {{ id: number, name: string, url: string, fault: string }} Added */

export const TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
export const MOST = 8;
export const MAX_BYTES = 10 * 1024 * 1024;

let lastId = 0;

/** What is wrong with a file; empty for one that may be sent. @param {File} file @param {Uint8Array} start its first bytes */
function faultOf(file, start) {
  if (file.size > MAX_BYTES) return text.imageTooLarge((file.size / 1024 / 1024).toFixed(1));
  if (!TYPES.includes(file.type)) return text.imageType;
  const signs = { "image/png": [0x89, 0x50], "image/jpeg": [0xff, 0xd8], "image/webp": [0x52, 0x49], "image/gif": [0x47, 0x49] };
  const sign = signs[/** @type {keyof typeof signs} */ (file.type)];
  return sign.every((byte, index) => start[index] === byte) ? "" : text.imageBroken;
}

/** @param {Blob} blob @returns {Promise<string>} a `data:` address */
const dataUrl = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(String(reader.result));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

/** The images of a turn that is being written. @param {Picture[]} [before] */
export function usePictures(before = []) {
  const [all, setAll] = useState(/** @type {Added[]} */ (before.map((picture) => ({ ...picture, id: ++lastId, fault: "" }))));
  const good = all.filter(({ url, fault }) => url && !fault).map(({ name, url }) => ({ name, url }));
  const add = async (/** @type {Iterable<File>} */ files) => {
    let free = MOST - all.filter(({ fault }) => !fault).length;
    for (const file of files) {
      const id = ++lastId;
      const isFull = free <= 0;
      /** @type {Added} */
      const added = { id, name: file.name, url: "", fault: isFull ? text.tooManyImages(MOST) : "" };
      setAll((now) => [...now, added]);
      if (isFull) continue;
      let result;
      try {
        const fault = faultOf(file, new Uint8Array(await file.slice(0, 4).arrayBuffer()));
        result = { fault, url: fault ? "" : await dataUrl(file) };
      } catch {
        result = { fault: text.imageUnread, url: "" };
      }
      if (!result.fault) free -= 1;
      setAll((now) => now.map((other) => (other.id === id ? { ...other, ...result } : other)));
    }
  };
  return {
    all, good, add,
    isReading: all.some(({ url, fault }) => !url && !fault),
    remove: (/** @type {number} */ index) => setAll((now) => now.filter((_, other) => other !== index)),
    clear: () => setAll([]),
    put: (/** @type {Picture[]} */ pictures) => setAll(pictures.map((picture) => ({ ...picture, id: ++lastId, fault: "" }))),
  };
}

/** The files of a paste or a drop. @param {DataTransfer | null} data @returns {File[]} */
export const filesOf = (data) => [...(data?.files ?? [])];

/** @param {{ pictures: ReturnType<typeof usePictures> }} props */
export function ImagePicker({ pictures }) {
  /** @type {{ current: HTMLInputElement | null }} */
  const input = useRef(null);
  return html`
    <${Sign} icon="image" label=${text.addImage} onClick=${() => input.current?.click()} />
    <input class="sr" type="file" tabindex="-1" aria-hidden="true" accept=${TYPES.join(",")} multiple ref=${input} onChange=${(/** @type {any} */ event) => {
      pictures.add([...event.target.files]);
      event.target.value = "";
    }} />`;
}

/** @param {{ pictures: (Picture & { fault?: string })[], onRemove?: (index: number) => void }} props */
export const Thumbnails = ({ pictures, onRemove }) => pictures.length === 0 ? null : html`
  <ul class="pictures">
    ${pictures.map(({ name, url, fault }, index) => html`
      <li class=${fault ? "wrong" : ""}>
        ${url ? html`<img src=${url} alt=${name} />` : html`<span class="picture-file">${fault ? html`<${Icon} name="warn" />` : html`<${Icon} name="image" />`}</span>`}
        ${fault && html`<span class="error tiny" role="alert"><span class="name">${name}</span> ${fault}</span>`}
        ${onRemove && html`<button class="tag-x" type="button" aria-label=${text.removeImage(name)} onClick=${() => onRemove(index)}><${Icon} name="x" /></button>`}
      </li>`)}
  </ul>`;
