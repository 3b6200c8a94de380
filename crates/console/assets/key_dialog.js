// The dialog that makes or changes an API key, and the one that shows a new key.
import { html, useEffect, useMaybe, useState } from "./lib.js";
import { Icon } from "./icons.js";
import { catalog } from "./answers.js";
import { call } from "./calls.js";
import { day, dollars } from "./format.js";
import { identify, me, tabKey } from "./session.js";
import { Snippet } from "./snippet.js";
import { href } from "./router.js";
import { Copy, Dialog, Field, FormFault, Note, Segments, Select, SelectField, TextField, faultText } from "./ui.js";
import { words } from "./words.js";

const text = words.keyDialog;

/** The first request of a new key. @type {import("./snippet.js").Block[]} */
export const FIRST_REQUEST = [
  {
    info: "bash",
    code: `curl {{base_url}}/chat/completions \\
  -H "Authorization: Bearer {{key}}" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "{{model}}",
       "messages": [{"role": "user", "content": "Who are you?"}]}'`,
  },
  {
    info: "python",
    code: `from openai import OpenAI

client = OpenAI(
    base_url="{{base_url}}",
    api_key="{{key}}",
)
answer = client.chat.completions.create(
    model="{{model}}",
    messages=[{"role": "user", "content": "Who are you?"}],
)
print(answer.choices[0].message.content)`,
  },
  {
    info: "javascript",
    code: `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "{{base_url}}",
  apiKey: "{{key}}",
});
const answer = await client.chat.completions.create({
  model: "{{model}}",
  messages: [{ role: "user", content: "Who are you?" }],
});
console.log(answer.choices[0].message.content);`,
  },
];

/** The fields at which an error of the server can be shown. */
const FIELDS = ["name", "budget", "budgets", "models", "requests_per_minute", "tokens_per_minute", "concurrency", "networks", "expires_at"];

/** Those of them behind the fold. */
const LIMITS = FIELDS.slice(4);

/** The server's words for a value that is not valid, which stand beside its field. @param {unknown} fault */
function reasonOf(fault) {
  const reason = faultText(fault).replace(/^Invalid '\w+': /, "");
  return reason.charAt(0).toUpperCase() + reason.slice(1);
}

const DAY = 86400;

/** An amount as the server reads it: digits, and a point with up to nine more. */
const isAmount = (/** @type {string} */ value) => /^\d{1,9}(\.\d{1,9})?$/.test(value.trim());

/** Whether a budget is neither empty nor an amount. @param {string} value */
export const isNoBudget = (value) => value.trim() !== "" && !isAmount(value);

/** The field of a budget. @param {{ value: string, hint?: string } & Record<string, any>} props */
export const BudgetField = ({ value, hint = text.budgetHint, ...props }) => html`
  <${TextField} label=${text.budget} value=${value} hint=${hint} unit="$" inputmode="decimal" autocomplete="off" error=${isNoBudget(value) ? text.budgetRule : null} ...${props} />`;

/** @param {string} value */
const isCount = (value) => /^[1-9]\d{0,11}$/.test(value.trim());

/** What is wrong with the fields, by their names. @param {any} form @returns {Record<string, string>} */
function check(form) {
  /** @type {Record<string, string>} */
  const wrong = {};
  if (![...form.name.trim()].length || [...form.name.trim()].length > 64) wrong.name = text.nameRule;
  if ((form.budget.trim() || form.every) && !isAmount(form.budget)) wrong.budget = text.budgetRule;
  for (const limit of ["requests_per_minute", "tokens_per_minute", "concurrency"]) {
    if (form[limit].trim() && !isCount(form[limit])) wrong[limit] = text.numberRule;
  }
  if (form.some && form.models.length === 0) wrong.models = text.noModel;
  // Whether it is in the past is for the server's clock to say.
  if (form.expires === "day" && Number.isNaN(Date.parse(form.day))) wrong.expires_at = text.dayRule;
  return wrong;
}

/** @param {any} form @returns {import("../types/api.d.ts").Limits} */
function limitsOf(form) {
  const number = (/** @type {string} */ value) => (value.trim() ? Number(value) : null);
  const expires = form.expires === "never" ? null
    : form.expires === "day" ? Math.floor(Date.parse(form.day) / 1000)
    : form.expires === "keep" ? form.kept
    : Math.floor(Date.now() / 1000) + Number(form.expires) * DAY;
  const networks = form.networks.split(/[\s,]+/).filter(Boolean);
  return {
    models: form.some ? form.models : null,
    networks: networks.length ? networks : null,
    ...budgetOf(form),
    requests_per_minute: number(form.requests_per_minute),
    tokens_per_minute: number(form.tokens_per_minute),
    concurrency: number(form.concurrency),
    expires_at: expires,
  };
}

/** The budget, one of a whole life or of every period; budgets of other kinds are left as they are. @param {any} form */
function budgetOf({ every, renewing, ...form }) {
  const budget = form.budget.trim() || null;
  const budgets = every ? [{ time_zone: renewing?.time_zone, warn_at: renewing?.warn_at, every, amount: budget }] : [];
  return { budget: every ? null : budget, ...((every || renewing) && { budgets }) };
}

/** @param {any} form @returns {import("../types/api.d.ts").NewKey} */
const newKey = (form) => ({ name: form.name.trim(), project: form.project, ...(form.user && { user: form.user }), ...limitsOf(form) });

/** @param {string[]} projects those to choose from @param {any} [key] the key to change */
function formOf(projects, key) {
  const number = (/** @type {any} */ value) => (value == null ? "" : String(value));
  /** @type {any[]} */
  const budgets = key?.budgets ?? [];
  const [one] = budgets;
  // The form has one budget. It leaves others as they are, and only admins have budgets renew.
  const isAlone = key?.budget == null && budgets.length === 1 && one.every && one.amount && !one.end_user && !one.each_end_user;
  const mayRenew = me.value?.role === "admin" && (isAlone || !one);
  const renewing = mayRenew && one;
  const budget = (renewing?.amount ?? key?.budget) == null ? "" : String(Number(renewing?.amount ?? key.budget));
  return {
    name: key?.name ?? "", project: key?.project ?? (projects.includes("default") ? "default" : (projects[0] ?? "")), user: "", budget,
    every: renewing?.every ?? "", renewing, mayRenew,
    some: key?.models != null, models: key?.models ?? [], requests_per_minute: number(key?.requests_per_minute),
    tokens_per_minute: number(key?.tokens_per_minute), concurrency: number(key?.concurrency), networks: (key?.networks ?? []).join(", "),
    expires: key?.expires_at ? "keep" : "never", kept: key?.expires_at ?? null, day: "",
  };
}

/** @param {{ projects: any[], existing?: any, onClose: () => void, onDone: (key: any) => void }} props */
export function KeyDialog({ projects, existing, onClose, onDone }) {
  // The default project is made with its first key; others than admins make keys in their projects only.
  const own = projects.map(({ name }) => name);
  const names = me.value?.role === "admin" ? [...new Set(["default", ...own])] : own;
  const [form, setForm] = useState(formOf(names, existing));
  const [wrong, setWrong] = useState(/** @type {Record<string, string>} */ ({}));
  const [unfolded, setUnfolded] = useState(!!existing);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useMaybe();
  const [ids, setIds] = useState(/** @type {string[]} */ ([]));
  const [owners, setOwners] = useState(/** @type {string[]} */ ([]));
  useEffect(() => {
    catalog().then((models) => setIds(models.map((model) => model.id)), () => {});
    if (existing || me.value?.role !== "admin") return;
    call("GET", "/admin/users").then(({ data }) => {
      /** @type {string[]} */
      const names = data.filter((/** @type {any} */ user) => !user.disabled).map((/** @type {any} */ user) => user.name);
      setOwners(names);
      // A page may call models with keys of its own user only.
      if (names.includes(me.value?.name ?? "")) setForm((/** @type {any} */ before) => ({ ...before, user: me.value?.name }));
    }, () => {});
  }, []);
  /** @param {string} name */
  const set = (name) => (/** @type {any} */ value) => {
    setForm((/** @type {any} */ before) => ({ ...before, [name]: value }));
    if (wrong[name]) setWrong(({ [name]: _, ...others }) => others);
  };
  const blur = (/** @type {string} */ name) => () => {
    const found = check(form)[name];
    if (found && (form[/** @type {keyof typeof form} */ (name)] || name !== "name")) setWrong((before) => ({ ...before, [name]: found }));
  };
  const submit = async () => {
    const refuse = (/** @type {Record<string, string>} */ found) => {
      setWrong(found);
      if (LIMITS.some((name) => found[name])) setUnfolded(true);
    };
    const found = check(form);
    refuse(found);
    if (Object.keys(found).length > 0) return;
    setBusy(true);
    setFault(null);
    try {
      const done = existing
        ? await call("PATCH", `/admin/keys/${encodeURIComponent(existing.id)}`, limitsOf(form))
        : await call("POST", "/admin/keys", newKey(form));
      onDone(done);
    } catch (error) {
      const { param, status } = /** @type {any} */ (error);
      if (FIELDS.includes(param)) refuse({ [param === "budgets" ? "budget" : param]: reasonOf(error) });
      // After 401 the login is shown, and the form waits behind it.
      else if (status !== 401) setFault(error);
      setBusy(false);
    }
  };
  const project = projects.find(({ name }) => name === form.project);
  // Only admins and viewers know the budgets of projects.
  const left = project?.budget === undefined ? undefined
    : project.budget === null ? text.projectFree
    : text.projectLeft(dollars(Number(project.budget) - Number(project.spent)), dollars(project.budget));
  /** @param {string} name @param {string} label @param {Record<string, unknown>} [more] */
  const field = (name, label, more = {}) => html`
    <${TextField} label=${label} value=${form[/** @type {keyof typeof form} */ (name)]} onInput=${set(name)} onBlur=${blur(name)} error=${wrong[name]}
      autocomplete="off" ...${more} />`;
  return html`
    <${Dialog} title=${existing ? text.editTitle(existing.name) : text.title} onClose=${onClose} onSubmit=${submit}
      submit=${{ busy, disabled: names.length === 0 && !existing, text: existing ? text.save : text.submit, busyText: existing ? text.saving : text.submitting }}>
      ${!existing && field("name", text.name, { hint: text.nameHint, autofocus: true, maxlength: 80 })}
      <div class="cols-2">
        ${existing
          ? html`<div class="field"><span class="label">${text.project}</span><span class="still">${existing.project}</span><span class="hint">${left}</span></div>`
          : html`<${SelectField} label=${text.project} value=${form.project} choices=${names.map((name) => [name, name])} onChange=${set("project")} hint=${left} />`}
        ${field("budget", text.budget, { hint: me.value?.role === "admin" ? text.budgetHint : text.ownBudgetHint, unit: "$", inputmode: "decimal" })}
      </div>
      <div class="cols-2">
        ${owners.length > 0 && html`<${SelectField} label=${words.keys.owner} value=${form.user} onChange=${set("user")}
          choices=${[["", text.noOwner], ...owners.map((name) => [name, name])]} />`}
        ${form.mayRenew && html`<${SelectField} label=${text.renews} value=${form.every} onChange=${set("every")}
          choices=${Object.entries(text.every)} hint=${form.every && text.renewsHint(form.renewing?.time_zone ?? "UTC")} />`}
      </div>
      <div class="field">
        <span class="label">${text.models}</span>
        <${Segments} label=${text.models} value=${form.some ? "some" : "all"} onChange=${(/** @type {string} */ value) => set("some")(value === "some")}
          choices=${[["all", text.allModels(ids.length)], ["some", text.onlyThese]]} />
        ${form.some && html`<${ModelPicker} ids=${ids} chosen=${form.models} onChange=${set("models")} error=${wrong.models} />`}
      </div>
      ${names.length === 0 && !existing && html`<${Note} kind="warn">${text.noProject}<//>`}
      <details open=${unfolded} onToggle=${(/** @type {any} */ event) => setUnfolded(event.target.open)}>
        <summary class="label">${text.limits}</summary>
        <div class="cols-3 gap-top keep">
          ${field("requests_per_minute", text.requestsPerMinute, { placeholder: text.noLimit, inputmode: "numeric" })}
          ${field("tokens_per_minute", text.tokensPerMinute, { placeholder: text.noLimit, inputmode: "numeric" })}
          ${field("concurrency", text.concurrency, { placeholder: text.noLimit, inputmode: "numeric" })}
        </div>
        <div class="cols-2 gap-top">
          <${Expiry} form=${form} set=${set} error=${wrong.expires_at} />
          ${field("networks", text.networks, { placeholder: text.networksHint })}
        </div>
      </details>
      ${!existing && !me.value?.session && html`<${Note}>${text.firstKey}<//>`}
      <${FormFault} text=${fault && faultText(fault)} />
    <//>`;
}

/** @param {{ form: any, set: (name: string) => (value: any) => void, error?: string }} props */
function Expiry({ form, set, error }) {
  const inDays = (/** @type {number} */ days) => [String(days), text.inDays(days, day(Date.now() / 1000 + days * DAY))];
  const choices = [["never", text.never], inDays(7), inDays(30), inDays(90), inDays(365), ["day", text.onDay]];
  if (form.kept) choices.unshift(["keep", text.keep(day(form.kept))]);
  return html`
    <${Field} label=${text.expires} error=${error}>
      ${(/** @type {any} */ field) => html`
        <${Select} ...${field} value=${form.expires} choices=${choices} onChange=${set("expires")} />
        ${form.expires === "day" && html`<input class="input" type="date" aria-label=${text.day} value=${form.day}
          onInput=${(/** @type {any} */ event) => set("day")(event.target.value)} />`}`}
    <//>`;
}

/** Model ids, chosen one by one. @param {{ ids: string[], chosen: string[], onChange: (ids: string[]) => void, error?: string }} props */
function ModelPicker({ ids, chosen, onChange, error }) {
  const [typed, setTyped] = useState("");
  const add = (/** @type {string} */ id) => {
    if (id && !chosen.includes(id)) onChange([...chosen, id]);
    setTyped("");
  };
  return html`
    <div class="row wrap">
      ${chosen.map((id) => html`
        <span class="tag" key=${id}>${id}<button class="tag-x" type="button" aria-label=${text.removeModel(id)}
          onClick=${() => onChange(chosen.filter((other) => other !== id))}><${Icon} name="x" /></button></span>`)}
      <input class="input small pick" list="model-ids" placeholder=${text.addModel} aria-label=${text.addModel} value=${typed}
        onInput=${(/** @type {any} */ event) => (ids.includes(event.target.value) ? add(event.target.value) : setTyped(event.target.value))}
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
          if (event.key !== "Enter") return;
          event.preventDefault();
          add(typed.trim());
        }} onBlur=${() => add(typed.trim())} />
      <datalist id="model-ids">${ids.filter((id) => !chosen.includes(id)).map((id) => html`<option value=${id}></option>`)}</datalist>
    </div>
    ${error && html`<span class="error"><${Icon} name="warn" />${error}</span>`}`;
}

/** Shows a new key, once. @param {{ made: any, onClose: () => void }} props */
function KeyMade({ made, onClose }) {
  const [keep, setKeep] = useState(true);
  const done = async () => {
    if (keep) tabKey.value = { id: made.id, name: made.name, secret: made.key };
    onClose();
    await identify();
  };
  return html`
    <${Dialog} title=${text.madeTitle(made.name)} holds onClose=${done} onSubmit=${done} footer=${html`
      <a class="btn ghost" href=${href("guide")} target="_blank" rel="noopener">${words.nav.guide}</a>
      <button class="btn main" type="submit">${text.done}</button>`}>
      <p class="soft">${text.madeText}</p>
      <div class="once"><code class="cut">${made.key}</code><${Copy} class="main" text=${made.key} /></div>
      <label class="check small"><input type="checkbox" checked=${keep} onChange=${(/** @type {any} */ event) => setKeep(event.target.checked)} />${text.keepInTab}</label>
      <${Snippet} blocks=${FIRST_REQUEST} secret=${made.key} />
    <//>`;
}

/** Both dialogs, one after the other. @param {{ projects: any[], onClose: () => void, onMade?: () => void }} props */
export function CreateKey({ projects, onClose, onMade }) {
  const [made, setMade] = useMaybe();
  if (made) return html`<${KeyMade} key="made" made=${made} onClose=${onClose} />`;
  return html`<${KeyDialog} key="form" projects=${projects} onClose=${onClose} onDone=${(/** @type {any} */ key) => {
    setMade(key);
    onMade?.();
  }} />`;
}
