// The dialog that makes or changes a tool: by its fields, or as the JSON that requests have.
import { html, useState } from "../lib.js";
import { Button, Dialog, Field, Segments, TextField } from "../ui.js";
import { words } from "../words.js";
import { isObject, schemaFault, toolOf, toolProblems, typed } from "./settings.js";

const text = words.playground;

/** @typedef {import("./settings.js").Tool} Tool */

/** @type {Tool} */
const EMPTY = { name: "", description: "", parameters: '{\n  "type": "object",\n  "properties": {},\n  "required": []\n}', answer: "" };

/** @param {{ tools: Tool[], index: number, onClose: () => void, onDone: (tools: Tool[]) => void }} props */
export function ToolDialog({ tools, index, onClose, onDone }) {
  const existing = tools[index];
  const [tool, setTool] = useState(existing ?? EMPTY);
  const [view, setView] = useState("form");
  const [json, setJson] = useState("");
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const others = tools.filter((_, other) => other !== index).map(({ name }) => name);
  /** @param {keyof Tool} name */
  const set = (name) => (/** @type {string} */ value) => {
    setTool((before) => ({ ...before, [name]: value }));
    if (wrong[name]) setWrong(({ [name]: _, ...rest }) => rest);
  };
  const check = (/** @type {keyof Tool} */ name) => () => {
    const found = toolProblems(tool, others)[name];
    if (found && (tool.name || name !== "name")) setWrong((before) => ({ ...before, [name]: found }));
  };
  /** The tool of the JSON, or what is wrong with it. */
  const fromJson = () => {
    try {
      const value = JSON.parse(json);
      const made = isObject(value?.function) ? value.function : value;
      if (!isObject(made) || typeof made.name !== "string") return { fault: text.toolShape };
      const { name, description, parameters } = made;
      return { tool: { ...tool, name, description: typeof description === "string" ? description : "", parameters: parameters === undefined ? "" : JSON.stringify(parameters, null, 2) } };
    } catch (fault) {
      return { fault: text.noJson(/** @type {Error} */ (fault).message) };
    }
  };
  const turnTo = (/** @type {string} */ next) => {
    if (next === view) return;
    if (next === "json") {
      if (tool.parameters.trim() && schemaFault(tool.parameters)?.length) return setWrong(toolProblems(tool, others));
      setJson(JSON.stringify(toolOf(tool), null, 2));
    } else {
      const read = fromJson();
      if (!read.tool) return setWrong({ json: /** @type {string} */ (read.fault) });
      setTool(read.tool);
    }
    setWrong({});
    setView(next);
  };
  const submit = () => {
    const read = view === "json" ? fromJson() : { tool };
    if (!read.tool) return setWrong({ json: /** @type {string} */ (read.fault) });
    const found = toolProblems(read.tool, others);
    if (Object.keys(found).length > 0) return setWrong(view === "json" ? { json: Object.values(found)[0] } : found);
    const changed = [...tools];
    changed[index] = read.tool;
    onDone(changed);
  };
  return html`
    <${Dialog} title=${existing ? text.editTool(existing.name) : text.newTool} onClose=${onClose} onSubmit=${submit} footer=${html`
      ${existing && html`<${Button} class="ghost bad" onClick=${() => onDone(tools.filter((_, other) => other !== index))}>${text.removeTool}<//><span class="grow"></span>`}
      <${Button} class="ghost" onClick=${onClose}>${words.cancel}<//>
      <button class="btn main" type="submit">${words.save}</button>`}>
      <div><${Segments} label=${text.toolAs} value=${view} onChange=${turnTo} choices=${[["form", text.toolForm], ["json", text.formatJson]]} /></div>
      ${view === "form"
        ? html`
          <${TextField} label=${text.toolName} value=${tool.name} onInput=${set("name")} onBlur=${check("name")} error=${wrong.name} hint=${text.toolNameHint} autocomplete="off" autofocus class="input mono" />
          <${TextField} label=${text.toolDescription} value=${tool.description} onInput=${set("description")} hint=${text.toolDescriptionHint} autocomplete="off" />
          <${Area} label=${text.toolParameters} value=${tool.parameters} onInput=${set("parameters")} onBlur=${check("parameters")} error=${wrong.parameters} rows=${8} />`
        : html`<${Area} label=${text.toolJson} value=${json} error=${wrong.json} rows=${14} onInput=${(/** @type {string} */ value) => {
            setJson(value);
            setWrong({});
          }} />`}
      <${Area} label=${text.toolAnswer} hint=${text.toolAnswerHint} value=${tool.answer} onInput=${set("answer")} rows=${2} />
    <//>`;
}

/** @param {{ label: string, value: string, rows: number, onInput: (value: string) => void, hint?: string, error?: string } & Record<string, unknown>} props */
const Area = ({ label, value, rows, onInput, hint, error, ...attributes }) => html`
  <${Field} label=${label} hint=${hint} error=${error}>
    ${(/** @type {any} */ field) => html`<textarea class="area mono" spellcheck=${false} rows=${rows} ...${field} ...${attributes} value=${value}
      onInput=${typed(onInput)}></textarea>`}
  <//>`;
