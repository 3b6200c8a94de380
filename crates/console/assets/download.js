// Files that the page saves.
import { html, useState } from "./lib.js";
import { faultOf, send } from "./calls.js";
import { untilNow } from "./filters.js";
import { Icon } from "./icons.js";
import { attempt } from "./ui.js";

/** Saves a text as a file of the user. @param {string} name @param {string} type @param {string} content */
export function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A button that saves what a path of the admin API answers, as CSV. @param {{ name: string, title?: string, path: string }} props */
export function SaveTable({ name, title, path }) {
  const [busy, setBusy] = useState(false);
  const save = async () => {
    setBusy(true);
    await attempt(async () => {
      const response = await send("GET", untilNow(path), { headers: { accept: "text/csv" } });
      if (!response.ok) throw await faultOf(response);
      download(name, "text/csv", await response.text());
    });
    setBusy(false);
  };
  return html`<button class=${`btn ${busy ? "busy" : ""}`} type="button" disabled=${busy} title=${title} onClick=${save}>${!busy && html`<${Icon} name="save" />`}CSV</button>`;
}
