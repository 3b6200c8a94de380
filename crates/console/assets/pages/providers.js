// The providers: whether they answer, how they did in the last day, and who is called for a model.
import { html, useMaybe, useState } from "../lib.js";
import { call } from "../calls.js";
import { ago, clock, count, shellWord } from "../format.js";
import { Loaded, useRead } from "../read.js";
import { query, setQuery } from "../router.js";
import { me } from "../session.js";
import { Card, EmptyCard, Head, Note, Select, State, faultText, withCode } from "../ui.js";
import { words } from "../words.js";

/** @typedef {import("../../types/api.d.ts").ProviderHealth} ProviderHealth */

/**
 * What is known of a provider: `setting` is its entry of `GET /admin/providers`, undefined for one that is built in, `health` that of
 * `GET /admin/health`, undefined where the server keeps none; `fault` is why it is not in use, or its last error.
 * @typedef {{ name: string, models: number, working: number, running: number, setting: any, address: string, health: ProviderHealth | undefined, fault: string | null }} Provider
 */

const text = words.providers;

/** The providers of all models, this machine first. @param {any[]} models @param {any[]} settings @param {ProviderHealth[]} health @returns {Provider[]} */
export function providersOf(models, settings, health) {
  /** @type {Map<string, Provider>} */
  const found = new Map();
  const entryOf = (/** @type {string} */ name) => {
    const before = found.get(name);
    if (before) return before;
    const setting = settings.find((setting) => setting.name === name);
    const known = health.find(({ provider }) => provider === name);
    const fault = setting?.disabled ?? setting?.last_error ?? known?.last_error ?? null;
    const address = (setting?.value.base_url ?? setting?.value.row ?? "").replace(/^https?:\/\//, "");
    const entry = { name, models: 0, working: 0, running: 0, setting, address, health: known, fault };
    found.set(name, entry);
    return entry;
  };
  for (const { name } of settings) entryOf(name);
  for (const { targets } of models) {
    for (const { provider, works, running } of targets) {
      const entry = entryOf(provider);
      entry.models += 1;
      entry.working += works ? 1 : 0;
      entry.running += running;
    }
  }
  return [...found.values()].sort((a, b) => Number(b.name === "local") - Number(a.name === "local") || a.name.localeCompare(b.name));
}

/** Kind of dot, and word. @param {Provider} provider @returns {[string, string]} */
export function providerState({ models, working, running, health, fault }) {
  if (models === 0) return [fault ? "bad" : "off", words.state.unused];
  const pause = health?.retry_at ? Math.ceil(health.retry_at - Date.now() / 1000) : 0;
  if (working === 0) return ["bad", pause > 0 ? text.coolingDown(pause) : words.state.down];
  if (working < models) return ["warn", pause > 0 ? text.coolingDown(pause) : words.state.partly];
  return running > 0 ? ["live", words.overview.running(running)] : ["good", words.state.answers];
}

export default function Providers() {
  const read = useRead(["/admin/models", "/admin/providers", "/admin/health?hours=24"], { optional: true });
  return html`
    <main id="main">
      <${Head} title=${words.nav.providers} text=${text.text} />
      <${Loaded} read=${read} what=${words.nav.providers}>
        ${(/** @type {any[]} */ ...[models, settings, health]) => html`
          <${List} models=${models.data} providers=${providersOf(models.data, settings.data, health.providers ?? [])} times=${health.times ?? []} missing=${health.missing} />`}
      <//>
    </main>`;
}

/** @param {{ models: any[], providers: Provider[], times: number[], missing?: string }} props */
function List({ models, providers, times, missing }) {
  const remote = providers.filter(({ name }) => name !== "local");
  const down = remote.filter((provider) => provider.models > 0 && provider.working === 0);
  const shown = providers.find(({ name }) => name === query.value.get("show")) ?? down[0] ?? remote[0];
  return html`
    <div class="stack">
      ${down.map((provider) => html`<${Down} key=${provider.name} provider=${provider} models=${models} />`)}
      ${providers.length > 0 && html`
        <section class="card"><div class="table-wrap"><table class="cards">
          <thead><tr>
            <th>${text.name}</th><th>${text.state}</th><th>${text.lastDay}</th><th class="right">${words.requests.firstToken}</th><th class="right">${text.today}</th>
            <th class="right">${text.offers}</th><th class="right">${text.priority}</th><th>${text.keyEnv}</th><th class="right">${text.setIn}</th>
          </tr></thead>
          <tbody>${providers.map((provider) => html`<${Row} key=${provider.name} provider=${provider} times=${times} isShown=${provider === shown} />`)}</tbody>
        </table></div></section>`}
      ${missing && providers.length > 0 && html`<p class="small muted">${text.noHealth} ${missing}</p>`}
      ${remote.length === 0 && html`<${EmptyCard} title=${text.emptyTitle} text=${text.add} />`}
      ${remote.length > 0 && html`<p class="small muted">${withCode(text.add)}</p>`}
      ${shown && html`<div class="cols-2"><${Details} key=${shown.name} provider=${shown} /><${Order} provider=${shown.name} models=${models} /></div>`}
    </div>`;
}

/** A provider that does not answer, and what follows. @param {{ provider: Provider, models: any[] }} props */
function Down({ provider: { name, fault }, models }) {
  const alone = models.filter(({ targets }) => targets.length > 0 && targets.every((/** @type {any} */ target) => target.provider === name)).map(({ id }) => id);
  return html`
    <${Note} kind="warn"><strong class="medium">${words.overview.down(name)}.</strong> ${fault && withCode(fault)}
      ${alone.length > 0 ? html` ${text.nobodyElse} ${alone.slice(0, 3).map((id, index) => html`${index > 0 && ", "}<code>${id}</code>`)}${alone.length > 3 && text.andMore(alone.length - 3)}.` : ` ${text.othersAnswer}`}
      ${` ${words.overview.cooling}`}<//>`;
}

/** @param {{ provider: Provider, times: number[], isShown: boolean }} props */
function Row({ provider, times, isShown }) {
  const { name, setting, health, fault } = provider;
  const [kind, state] = providerState(provider);
  const value = setting?.value ?? {};
  const latest = health?.ttft_p50_ms.findLast((ms) => ms !== null) ?? null;
  const today = health && sumOf(health.requests);
  return html`
    <tr aria-selected=${isShown}>
      <td class="full"><button class="plain medium name" type="button" title=${text.show(name)} onClick=${() => setQuery("show", name)}>${name}</button>
        <span class="sub cut">${name === "local" ? text.localText : provider.address}</span></td>
      <td><${State} kind=${kind}>${state}<//>${fault && kind !== "good" && html`<span class="sub breaks">${withCode(fault)}</span>`}</td>
      <td class="right-phone">${health && html`<${HealthStrip} health=${health} times=${times} />`}</td>
      <td class="right hide">${latest === null ? "–" : words.usage.time(latest)}</td>
      <td class="right start-phone" data-label=${text.today}>${today === undefined ? "–" : count(today)}</td>
      <td class="right end-phone" data-label=${text.offers}>${count(provider.models)}</td>
      <td class="right hide">${value.priority ?? 0}, ${value.weight ?? 1}</td>
      <td class="hide">${value.key_env ? html`<code class="tiny">${value.key_env}</code>` : html`<span class="muted">${!setting || value.base_url ? text.noKey : text.usualKey}</span>`}</td>
      <td class="right hide"><span class="tag">${sourceOf(setting)}</span></td>
    </tr>`;
}

/** @param {any} setting */
const sourceOf = (setting) => (!setting ? text.builtIn : setting.source === "file" ? text.file : text.store);

/** @param {number[]} numbers */
const sumOf = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

/** A bar an hour: good, some failed, most failed, not asked. @param {{ health: ProviderHealth, times: number[] }} props */
function HealthStrip({ health: { requests, failures }, times }) {
  const fill = (/** @type {number} */ share) => (share >= 0.5 ? "var(--bad)" : share >= 0.01 ? "var(--warn)" : "var(--good)");
  return html`
    <svg class="spark" viewBox="0 0 96 24" role="img" aria-label=${text.failedOf(sumOf(failures), sumOf(requests))}>
      ${requests.map((asked, hour) => html`
        <rect x=${hour * (96 / requests.length)} y="4" width=${96 / requests.length - 1} height="16" rx="1" fill=${asked === 0 && failures[hour] === 0 ? "var(--line)" : fill(failures[hour] / Math.max(1, asked, failures[hour]))}>
          <title>${clock(times[hour]).slice(0, 5)}: ${text.failedOf(failures[hour], asked)}</title>
        </rect>`)}
    </svg>`;
}

/** One provider, and a button that tests it. @param {{ provider: Provider }} props */
function Details({ provider }) {
  const { name, models, setting, health, fault } = provider;
  const [kind, state] = providerState(provider);
  const [test, setTest] = useMaybe();
  const run = async () => {
    setTest({ busy: true });
    try {
      setTest({ result: await call("POST", `/admin/providers/${encodeURIComponent(name)}/test`), at: Date.now() });
    } catch (fault) {
      setTest({ fault });
    }
  };
  return html`
    <${Card} title=${html`<span class="name">${name}</span>`} aside=${html`<${State} kind=${kind} class="small">${state}<//>
      ${name !== "local" && me.value?.role === "admin" && html`<button class=${`btn small ${test?.busy ? "busy" : ""}`} type="button" disabled=${test?.busy} onClick=${run}>${test?.busy ? text.testing : text.test}</button>`}`}>
      <div class="body stack-3">
        <dl class="facts">
          ${(health || fault) && html`<dt>${text.lastError}</dt><dd class="name">${fault ? withCode(fault) : words.none}</dd>`}
          ${health && html`
            <dt>${text.lastDay}</dt><dd>${text.failedOf(sumOf(health.failures), sumOf(health.requests))}</dd>`}
          <dt>${text.offers}</dt><dd>${count(models)}</dd>
          ${test && !test.busy && html`<dt>${text.testResult}</dt><dd aria-live="polite"><${TestResult} test=${test} /></dd>`}
        </dl>
        ${setting && html`<${Note}>${withCode(setting.source === "file" ? text.fromFile : text.fromStore(shellWord(name)))}<//>`}
      </div>
    <//>`;
}

/** @param {{ test: any }} props */
function TestResult({ test: { result, fault, at } }) {
  if (fault) return html`<${State} kind="bad">${faultText(fault)}<//>`;
  const parts = [
    result.reached ? text.reached(result.milliseconds) : text.notReached,
    result.tls === false ? text.badTls : null,
    result.key_good === null ? null : result.key_good ? text.keyGood : text.keyBad,
    result.models ? words.keys.models(result.models.length) : null,
  ];
  const isGood = result.reached && result.tls !== false && result.key_good !== false && !result.error;
  return html`<${State} kind=${isGood ? "good" : "bad"}>${parts.filter(Boolean).join(", ")}<//>
    ${result.error && html`<div class="tiny muted name">${result.error}</div>`}<div class="tiny muted">${ago(at / 1000)}</div>`;
}

/** Who is called for a model, one after the other. @param {{ provider: string, models: any[] }} props */
function Order({ provider, models }) {
  const own = models.filter(({ targets }) => targets.some((/** @type {any} */ target) => target.provider === provider));
  const [chosen, setChosen] = useState("");
  const model = own.find(({ id }) => id === chosen) ?? [...own].sort((a, b) => b.targets.length - a.targets.length)[0];
  if (!model) return null;
  const targets = [...model.targets].sort((a, b) => a.priority - b.priority);
  return html`
    <${Card} title=${text.order} aside=${html`<${Select} class="small w-auto pick" aria-label=${words.models.model} value=${model.id} choices=${own.slice(0, 500).map(({ id }) => [id, id])} onChange=${setChosen} />`}>
      <div class="body"><ol class="steps small">
        ${targets.map((target) => html`
          <li key=${`${target.provider} ${target.model}`}><h3 class="name">${target.provider}</h3>
            <p>${text.priorityOf(target.priority)}${!target.works && ` ${words.state.down}.`}${target.model !== model.id && html` ${text.calledAs} <code class="name">${target.model}</code>.`}</p></li>`)}
        <li><h3>${text.nobody}</h3><p>${text.nobodyText}</p></li>
      </ol></div>
    <//>`;
}
