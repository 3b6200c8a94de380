// The models that this server offers, who answers, and their prices.
import { html } from "../lib.js";
import { SortHeading, sortOf } from "../filters.js";
import { Icon } from "../icons.js";
import { contextSize, dollars, price, priceName, shellWord } from "../format.js";
import { Loaded, useRead } from "../read.js";
import { href, query, setQuery } from "../router.js";
import { me } from "../session.js";
import { Button, Card, EmptyCard, Head, Search, Segments, State } from "../ui.js";
import { words } from "../words.js";

const text = words.models;
const PAGE_SIZE = 50;

export default function Models() {
  const isMember = me.value?.role === "member";
  const read = useRead(["/api/models", "/admin/models", ...(isMember ? [] : ["/admin/aliases", "/admin/prices"])]);
  return html`
    <main id="main">
      <${Head} title=${words.nav.models} text=${text.text} />
      <${Loaded} read=${read} what=${words.nav.models}>
        ${(/** @type {any[]} */ ...[catalog, health, aliases, prices]) => html`
          <${Table} models=${catalog.data} health=${health?.data ?? []} aliases=${aliases?.data ?? []} />
          ${aliases?.data.length > 0 && html`<${SetHere} title=${text.aliases} columns=${[text.alias, text.standsFor]} entries=${aliases.data} show=${String} />`}
          ${prices?.data.length > 0 && html`<${SetHere} title=${text.prices} columns=${[text.model, text.price]} entries=${prices.data} show=${priceText} />`}`}
      <//>
    </main>`;
}

/** The command that sets the price of the first target without one; undefined if all have one. @param {any[]} targets */
export function priceCommand(targets) {
  const found = targets.find(({ price }) => price === null);
  return found && html`<code class="breaks">cachalot price set ${shellWord(`${found.provider}/${found.model}`)} <span class="nowrap">--input USD</span> <span class="nowrap">--output USD</span></code>`;
}

/** @param {any} targets @returns {[string, string]} */
function modelState(targets) {
  if (!targets?.length) return ["good", words.state.answers];
  const working = targets.filter((/** @type {any} */ target) => target.works).length;
  const running = targets.reduce((/** @type {number} */ sum, /** @type {any} */ target) => sum + target.running, 0);
  if (working === 0) return ["bad", words.state.down];
  if (running > 0) return ["live", words.overview.running(running)];
  return working < targets.length ? ["warn", words.state.partly] : ["good", words.state.answers];
}

/** @type {Record<string, (model: any) => string | number>} */
const ORDERS = {
  id: (model) => model.id.toLowerCase(),
  input: (model) => model.pricing.input ?? Infinity,
  output: (model) => model.pricing.output ?? Infinity,
};

/** @param {{ models: any[], health: any[], aliases: any[] }} props */
function Table({ models, health, aliases }) {
  if (models.length === 0) return html`<${EmptyCard} title=${text.emptyTitle} text=${text.emptyText} />`;
  const targets = new Map(health.map((model) => [model.id, model.targets]));
  const isLocal = (/** @type {any} */ model) => targets.get(model.id)?.some((/** @type {any} */ target) => target.provider === "local");
  const isPriced = (/** @type {any} */ { pricing }) => [pricing.input, pricing.output, pricing.per_request, pricing.per_second].some((value) => value != null);
  // The engine has one model; its other names are those that clients expect.
  const engine = models.find(({ provider }) => provider === "local")?.id;
  const aliasOf = (/** @type {any} */ model) => aliases.find(({ name }) => name === model.id)?.value ?? (isLocal(model) && model.id !== engine ? engine : null);
  const find = query.value.get("find") ?? "";
  const where = query.value.get("where") ?? "all";
  const { column, isDown } = sortOf("id", true);
  const local = models.filter(isLocal).length;
  const value = ORDERS[column] ?? ORDERS.id;
  const shown = models
    .filter((model) => [model.id, model.provider].some((name) => name.toLowerCase().includes(find.toLowerCase())))
    .filter((model) => where === "all" || (where === "local") === !!isLocal(model))
    .filter((model) => query.value.get("price") !== "none" || !isPriced(model))
    .sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (isDown ? -1 : 1));
  const page = Math.min(Math.max(0, Number(query.value.get("page") ?? 1) - 1), Math.floor(Math.max(0, shown.length - 1) / PAGE_SIZE));
  const rows = shown.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  const turn = (/** @type {number} */ to) => setQuery("page", to === 0 ? null : String(to + 1));
  const heading = (/** @type {string} */ column, /** @type {string} */ title) => html`
    <${SortHeading} class=${column === "id" ? "" : "right"} column=${column} text=${title} usual="id" up />`;
  return html`
    <div class="filters">
      <${Search} label=${text.find} value=${find} onInput=${(/** @type {string} */ typed) => {
        setQuery("page", null);
        setQuery("find", typed || null);
      }} />
      ${health.length > 0 && html`<${Segments} label=${text.where} value=${where} onChange=${(/** @type {string} */ choice) => setQuery("where", choice === "all" ? null : choice)}
        choices=${[["all", text.all(models.length)], ["local", text.local(local)], ["remote", text.remote(models.length - local)]]} />`}
      ${query.value.get("price") === "none" && html`<${Button} class="small" onClick=${() => setQuery("price", null)}>${text.noPrice}<${Icon} name="x" /><//>`}
    </div>
    <section class="card">
      <div class="table-wrap"><table class="cards">
        <thead><tr>
          ${heading("id", text.model)}<th>${text.by}</th><th class="right">${text.context}</th>${heading("input", text.input)}
          <th class="right">${text.cached}</th>${heading("output", text.output)}<th>${text.state}</th><th><span class="sr">${text.tryIt}</span></th>
        </tr></thead>
        <tbody>
          ${rows.map((model) => html`<${Row} key=${model.id} model=${model} targets=${targets.get(model.id)} priced=${isPriced(model)} alias=${aliasOf(model)} />`)}
          ${rows.length === 0 && html`<tr><td class="full muted" colspan="8">${text.noneFound}</td></tr>`}
        </tbody>
      </table></div>
      ${shown.length > PAGE_SIZE && html`
        <div class="pager">
          <span>${text.showing(page * PAGE_SIZE + 1, page * PAGE_SIZE + rows.length, shown.length)}</span>
          <span class="row">
            <${Button} class="small" disabled=${page === 0} onClick=${() => turn(page - 1)}>${text.back}<//>
            <${Button} class="small" disabled=${(page + 1) * PAGE_SIZE >= shown.length} onClick=${() => turn(page + 1)}>${text.next}<//>
          </span>
        </div>`}
    </section>`;
}

/** @param {{ model: any, targets: any, priced: boolean, alias: string | null }} props alias: the model that it stands for */
function Row({ model, targets, priced, alias }) {
  const { input, cached_input: cached, output, per_request: call, per_second: second } = model.pricing;
  const [kind, state] = modelState(targets);
  const by = targets ? targets.map((/** @type {any} */ target) => target.provider).join(`, ${text.then}`) : model.provider;
  const source = targets?.[0]?.price;
  const notes = [alias && text.aliasOf(alias), priced ? source && priceName(source) : text.noPriceText];
  const first = call != null ? words.guide.perCall(dollars(call)) : second != null ? words.guide.perSecond(dollars(second)) : price(input);
  return html`
    <tr>
      <td class="full">
        <div class="row wrap"><span class="medium mono small name">${model.id}</span>${!priced && html`<span class="tag warn">${text.noPrice}</span>`}</div>
        <span class="sub"><span class="name">${notes.filter(Boolean).join(" · ")}</span>${!priced && me.value?.role !== "member" && html` ${priceCommand(targets ?? [{ provider: model.provider, model: model.id, price: null }])}`}</span>
      </td>
      <td data-label=${text.by}><span class="name">${by}</span></td>
      <td class="right hide">${model.context_length ? contextSize(model.context_length) : "–"}</td>
      <td class="right end-phone" data-label=${text.input}>${first}</td>
      <td class="right start-phone" data-label=${text.cached}>${price(cached)}</td>
      <td class="right end-phone" data-label=${text.output}>${price(output)}</td>
      <td><${State} kind=${kind}>${state}<//></td>
      <td class="right hide">${model.model_type === "text" && html`<a class="btn ghost small" href=${href(`playground?model=${encodeURIComponent(model.id)}`)}>${text.tryIt}</a>`}</td>
    </tr>`;
}

/** The parts of a price, as its row has them. @param {any} value */
const priceText = ({ source, date, ...parts }) => `${Object.entries(parts).filter(([, part]) => typeof part === "number").map(([name, part]) => `${name} ${/** @type {number} */ (part) ? dollars(/** @type {number} */ (part)) : 0}`).join(", ")} (${date}, ${source})`;

/** What administrators set: aliases, prices. @param {{ title: string, columns: string[], entries: any[], show: (value: any) => string }} props */
const SetHere = ({ title, columns, entries, show }) => html`
  <${Card} class="after" title=${title}>
    <div class="table-wrap"><table>
      <thead><tr><th>${columns[0]}</th><th>${columns[1]}</th><th class="right">${text.setIn}</th></tr></thead>
      <tbody>${entries.map((entry) => html`
        <tr key=${entry.name}><td class="mono small name">${entry.name}</td><td class="mono small name">${show(entry.value)}</td>
          <td class="right"><span class="tag">${entry.source === "file" ? words.providers.file : words.providers.store}</span></td></tr>`)}</tbody>
    </table></div>
  <//>`;
