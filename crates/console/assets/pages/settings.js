// The configuration in force, and where each value comes from; what the file sets is changed in the file.
import { html } from "../lib.js";
import { call } from "../calls.js";
import { ago, dateTime } from "../format.js";
import { Icon } from "../icons.js";
import { Loaded, useRead } from "../read.js";
import { me } from "../session.js";
import { Card, FormFault, Head, faultText, toast, useSubmit, withCode } from "../ui.js";
import { words } from "../words.js";

/** @typedef {import("../../types/api.d.ts").Config} Config */
/** @typedef {import("../../types/api.d.ts").Setting} Setting */

const text = words.settings;

export default function Settings() {
  const read = useRead(["/admin/config", "/admin/engine"]);
  const { busy, fault, run } = useSubmit();
  const reload = () => run(async () => {
    await call("POST", "/admin/reload");
    await read.reload();
    toast(text.reloaded);
  });
  return html`
    <main id="main">
      <${Head} title=${words.nav.settings} text=${text.text}>
        ${me.value?.role === "admin" && html`
          <button class=${`btn ${busy ? "busy" : ""}`} type="button" disabled=${busy} onClick=${reload}>
            ${!busy && html`<${Icon} name="redo" />`}${busy ? text.reloading : text.reload}</button>`}
      <//>
      ${fault && html`<div class="above"><${FormFault} text=${text.notReloaded(faultText(fault))} /></div>`}
      <${Loaded} read=${read} what=${words.nav.settings}>
        ${(/** @type {Config} */ config, /** @type {any} */ engine) => html`<${Groups} config=${config} engine=${engine} />`}
      <//>
    </main>`;
}

/** @param {{ config: Config, engine: import("../../types/api.d.ts").Engine }} props */
function Groups({ config, engine }) {
  const { file, ...groups } = config;
  const { model, context, compute, attention, threads } = engine ?? {};
  const waiting = Object.values(groups).flatMap((group) => Object.values(group)).filter((setting) => "next" in setting).length;
  return html`
    <div class="stack">
      <div class=${`note ${file ? "good" : ""}`}><${Icon} name=${file ? "check" : "info"} /><div>
        ${file ? html`${text.readFrom} <code class="name">${file.path}</code>, ${dateTime(file.read_at)} UTC, ${ago(file.read_at)}.` : text.noFile}
        ${waiting > 0 && ` ${text.waiting(waiting)}`} ${withCode(text.changeInFile)}</div></div>
      ${Object.entries(groups).map(([name, group]) => Object.keys(group).length > 0 && html`<${Group} key=${name} name=${name} group=${group} chosen=${name === "engine" ? { model, context, compute, attention, threads } : {}} />`)}
    </div>`;
}

/** @param {{ name: string, group: Record<string, Setting>, chosen: Record<string, unknown> }} props chosen: by the server, for what is not set */
function Group({ name, group, chosen }) {
  const settings = Object.entries(group);
  const isFixed = settings.every(([, { at_start: fixed }]) => fixed);
  return html`
    <${Card} title=${text.groups[name] ?? name} aside=${isFixed && html`<span class="small muted">${text.atStart}</span>`}>
      <div class="body sets">
        ${settings.map(([key, setting]) => {
          const [title, note] = [text.names[`${name}.${key}`] ?? key].flat();
          const value = setting.value ?? chosen[key] ?? null;
          const notes = [note, setting.at_start && !isFixed ? text.atStart : ""].filter(Boolean).join(". ");
          return html`
            <div class="set" key=${key}>
              <div><div class="medium name">${title}</div>${notes && html`<div class="tiny muted">${withCode(notes)}</div>`}
                ${"next" in setting && html`<div class="tiny warn-text">${text.next(show(setting.next))}</div>`}</div>
              <div class="row between"><span class=${`small ${value === null || value === false ? "muted" : "mono"} breaks`}>${show(value)}</span>
                <span class=${`tag ${setting.from === "store" ? "abyss" : ""}`}>${text.from[setting.from]}</span></div>
            </div>`;
        })}
      </div>
    <//>`;
}

/** @param {any} value @returns {string} */
function show(value) {
  if (value === null || value === undefined) return text.notSet;
  if (value === true) return text.yes;
  if (value === false) return text.no;
  if (Array.isArray(value)) return value.length === 0 ? words.none : value.map(show).join(", ");
  if (typeof value === "object") return Object.entries(value).filter(([, part]) => part !== null).map(([name, part]) => `${name} = ${show(part)}`).join(", ");
  return String(value);
}
