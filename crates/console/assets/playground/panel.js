// The parameters of a chat.
import { html, useId } from "../lib.js";
import { Icon } from "../icons.js";
import { contextSize, count, dollars } from "../format.js";
import { Button, Field, Segments, Select, Sign, TextField } from "../ui.js";
import { words } from "../words.js";
import { problems, typed } from "./settings.js";

const text = words.playground;

/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {import("./sources.js").Sources} Sources */

/**
 * @param {{ settings: Settings, onChange: (change: Partial<Settings>) => void, local: boolean, onTool: (index: number) => void }} props
 * `local`: whether this machine answers; `onTool` opens the dialog of a tool
 */
export function Parameters({ settings, onChange, local, onTool }) {
  const wrong = problems(settings);
  const id = useId();
  /** @param {keyof Settings} name */
  const set = (name) => (/** @type {any} */ value) => onChange({ [name]: value });
  /** @param {keyof Settings} name @param {string} label @param {Record<string, unknown>} [more] */
  const line = (name, label, more = {}) => html`
    <${TextField} label=${label} value=${settings[name]} onInput=${set(name)} error=${wrong[name]} autocomplete="off" ...${more} />`;
  return html`
    <div class="group">
      <div class="field"><label for=${`${id}-system`}>${text.system}</label>
        <textarea class="area" id=${`${id}-system`} rows="3" placeholder=${text.systemHint} value=${settings.system} onInput=${typed(set("system"))}></textarea></div>
    </div>
    <div class="group">
      <${Slider} label=${text.temperature} value=${settings.temperature} usual=${1} min=${0} max=${2} onChange=${set("temperature")} />
      <${Slider} label=${text.topP} value=${settings.topP} usual=${1} min=${0.01} max=${1} onChange=${set("topP")} />
      <div class="cols-2 keep">
        ${line("maxTokens", text.maxTokens, { placeholder: text.byDefault, inputmode: "numeric" })}
        ${line("seed", text.seed, { placeholder: words.none, inputmode: "numeric" })}
      </div>
    </div>
    <hr class="rule" />
    <div class="group">
      <div class="row between"><span class="label" id=${`${id}-thinking`}>${text.thinking}</span>
        <${Segments} label=${text.thinking} value=${settings.thinking} onChange=${set("thinking")}
          choices=${[["", text.byDefault], ["enabled", text.on], ["disabled", text.off]]} /></div>
      ${(local || settings.attention) && html`
        <div class="row between"><span class="label">${text.attention}</span>
          <${Segments} label=${text.attention} value=${settings.attention} onChange=${set("attention")}
            choices=${[["", text.byDefault], ["sparse", text.sparse], ["dense", text.dense]]} /></div>`}
      <div class="row between"><span class="label">${text.format}</span>
        <${Segments} label=${text.format} value=${settings.format} onChange=${set("format")}
          choices=${[["text", text.formatText], ["json", text.formatJson], ["schema", text.formatSchema]]} /></div>
      ${settings.format === "json" && html`<span class="hint tiny muted">${text.jsonHint}</span>`}
      ${settings.format === "schema" && html`
        <${Field} label=${text.schema} error=${wrong.schema}>
          ${(/** @type {any} */ field) => html`<textarea class="area mono" rows="8" spellcheck=${false} placeholder=${text.schemaHint} ...${field} value=${settings.schema}
            onInput=${typed(set("schema"))}></textarea>`}
        <//>`}
    </div>
    <hr class="rule" />
    <div class="group">
      <div class="row between"><h2>${text.tools}</h2>
        <${Button} class="ghost small" icon="plus" onClick=${() => onTool(settings.tools.length)}>${text.addTool}<//></div>
      ${settings.tools.map(({ name }, index) => html`
        <div class="row between small"><code class="name">${name}</code>
          <${Sign} icon="edit" label=${text.editTool(name)} onClick=${() => onTool(index)} /></div>`)}
      ${wrong.tools && html`<span class="error small">${wrong.tools}</span>`}
    </div>
    <hr class="rule" />
    <details class="group" open=${!!(settings.stop || settings.topLogprobs || settings.frequencyPenalty !== null || settings.presencePenalty !== null)}>
      <summary class="label">${text.more}</summary>
      <div class="group gap-top">
        <${Field} label=${text.stop} hint=${text.stopHint} error=${wrong.stop}>
          ${(/** @type {any} */ field) => html`<textarea class="area mono" rows="2" spellcheck=${false} ...${field} value=${settings.stop}
            onInput=${typed(set("stop"))}></textarea>`}
        <//>
        <${Slider} label=${text.frequencyPenalty} value=${settings.frequencyPenalty} usual=${0} min=${-2} max=${2} onChange=${set("frequencyPenalty")} />
        <${Slider} label=${text.presencePenalty} value=${settings.presencePenalty} usual=${0} min=${-2} max=${2} onChange=${set("presencePenalty")} />
        ${line("topLogprobs", text.topLogprobs, { placeholder: words.none, inputmode: "numeric", hint: text.topLogprobsHint })}
      </div>
    </details>`;
}

/** A number that is left to the model until it is moved. @param {{ label: string, value: number | null, usual: number, min: number, max: number, onChange: (value: number | null) => void }} props */
function Slider({ label, value, usual, min, max, onChange }) {
  const id = useId();
  return html`
    <div class="field">
      <div class="row between"><label class="label" for=${id}>${label}</label>
        <span class="row"><output class="small num muted" for=${id}>${value === null ? text.byDefault : value.toFixed(2)}</output>
          ${value !== null && html`<button class="tag-x" type="button" aria-label=${text.resetOf(label)} onClick=${() => onChange(null)}><${Icon} name="x" /></button>`}</span></div>
      <input class=${`slider ${value === null ? "unset" : ""}`} id=${id} type="range" min=${min} max=${max} step="0.01" value=${value ?? usual}
        onInput=${(/** @type {any} */ event) => onChange(Number(event.target.value))} />
    </div>`;
}

/** The key that requests belong to. @param {{ sources: Sources, onChoose: (id: string) => void, onCreate: () => void }} props */
export function KeyChooser({ sources, onChoose, onCreate }) {
  const id = useId();
  const key = sources.keys.find((other) => other.id === sources.key);
  if (!sources.needsKey) return null;
  return html`
    <hr class="rule" />
    <div class="group"><div class="field"><label for=${id}>${text.key}</label>
      ${sources.keys.length > 0 && html`
        <${Select} id=${id} value=${sources.key} onChange=${onChoose}
          choices=${sources.keys.map(({ id, name, project, isUsable }) => [id, `${name} (${project})${isUsable ? "" : text.notUsable}`])} />`}
      ${key?.budget != null && html`<span class="hint">${words.keyDialog.projectLeft(dollars(Number(key.budget) - Number(key.spent)), dollars(key.budget))}</span>`}
      ${sources.keys.length === 0 && html`<${Button} class="small" onClick=${onCreate}>${words.keys.create}<//>`}
    </div></div>`;
}

/** How much of the model's context the conversation takes. @param {{ usage: import("./conversation.js").Usage | null, context: number | null }} props */
export function Depth({ usage, context }) {
  const used = usage ? usage.input + usage.output : 0;
  const full = context ?? 131_072;
  const width = (/** @type {number} */ tokens) => Math.min(264, (264 * tokens) / full);
  return html`
    <div class="group"><div class="row between"><h2>${text.depth}</h2></div>
      <div class="depth">
        <span>${text.depthTokens(count(used))}</span><span class="right">${usage && usage.cached > 0 ? text.depthCached(count(usage.cached)) : ""}</span>
        <svg viewBox="0 0 264 26" aria-hidden="true">
          <rect y="6" width="264" height="6" rx="3" fill="var(--line)" />
          <rect y="6" width=${width(used)} height="6" rx="3" fill="var(--c1)" />
          <rect y="6" width=${width(usage?.cached ?? 0)} height="6" rx="3" fill="var(--surface)" fill-opacity=".45" />
          ${context !== null && [[0, "start"], [0.25, "middle"], [0.5, "middle"], [1, "end"]].map(([share, anchor]) => html`
            <text x=${264 * Number(share)} y="25" text-anchor=${anchor} class="tick">${contextSize(full * Number(share))}</text>`)}
        </svg>
      </div>
    </div>`;
}
