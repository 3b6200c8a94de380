// The log of requests: those that run and those that ended, newest first; and the page of one.
import { html, useEffect, useState } from "../lib.js";
import { Icon } from "../icons.js";
import { SaveTable } from "../download.js";
import { ago, clock, count, dateTime, dollars, seconds } from "../format.js";
import { FilterChoice, SpanChoice, filtersOf, recordsPath, spanOf, untilNow, withFilters } from "../filters.js";
import { Loaded, useRead } from "../read.js";
import { go, href, path, query, setQuery } from "../router.js";
import { me } from "../session.js";
import { useTail } from "../tail.js";
import { Button, EmptyCard, Head, Search, State } from "../ui.js";
import { words } from "../words.js";
import { RequestView } from "./request.js";

const text = words.requests;
const USUAL_SPAN = "30d";
const PAGE_SIZE = 50;
/** Rows of the tail that are kept above the list. */
const MAX_TAIL = 200;

export default function Requests() {
  const [, id] = path.value.split("/");
  return id ? html`<${RequestView} key=${id} id=${decodeURIComponent(id)} />` : html`<${Log} />`;
}

function Log() {
  const cursor = query.value.get("cursor") ?? undefined;
  const span = spanOf(USUAL_SPAN);
  const isDrawn = span.name === "";
  const read = useRead([recordsPath(span, { limit: PAGE_SIZE, cursor })], { optional: true, resolve: untilNow });
  const [isHeld, setHeld] = useState(false);
  const isTailed = !cursor && !isDrawn && !isHeld;
  const live = useLive(isTailed, read);
  return html`
    <main id="main">
      <${Head} title=${words.nav.requests} text=${me.value?.role === "member" ? text.ownText : text.text}>
        ${!cursor && !isDrawn && html`<${Button} aria-pressed=${isHeld} onClick=${() => setHeld(!isHeld)}>
          <${Icon} name=${isHeld ? "play" : "pause"} />${isHeld ? text.goOn : text.hold}<//>`}
        <${SaveTable} name="requests.csv" title=${text.csvHint} path=${recordsPath(span, { limit: 1000 })} />
      <//>
      <div class="filters">
        <${FindId} />
        <${SpanChoice} usual=${USUAL_SPAN} />
        <${FilterChoice} />
        <span class="grow"></span>
        ${isTailed && live.state === "live" && html`<${State} kind="live" class="small">${live.skipped > 0 ? text.liveSampled : text.live}<//>`}
        ${isTailed && live.state !== "live" && html`<span class="tiny muted">${text.notLive}</span>`}
        ${isHeld && html`<span class="tiny muted">${text.held}</span>`}
      </div>
      <${Loaded} read=${read} what=${words.nav.requests}>
        ${(/** @type {any} */ answer) => html`<${List} answer=${answer} live=${cursor || isDrawn ? [] : live.rows} cursor=${cursor} />`}
      <//>
    </main>`;
}

/**
 * The requests that began and ended since the list was read.
 * @param {boolean} isOn @param {import("../read.js").Read} read
 */
function useLive(isOn, read) {
  const [rows, setRows] = useState(/** @type {any[]} */ ([]));
  const [skipped, setSkipped] = useState(0);
  const filters = JSON.stringify(filtersOf());
  useEffect(() => {
    setRows([]);
    setSkipped(0);
  }, [filters]);
  const state = useTail(withFilters("/admin/tail", {}), { isOn, onEvent(name, data) {
    if (name === "skipped") return setSkipped((before) => before + data.skipped);
    const row = { ...data, isRunning: name === "start" };
    setRows((before) => [row, ...before.filter(({ id }) => id !== row.id)].sort((a, b) => (b.at_ms ?? b.at * 1000) - (a.at_ms ?? a.at * 1000)).slice(0, MAX_TAIL));
  } });
  useEffect(() => {
    // What runs is known only as long as the tail is open.
    if (state !== "live") setRows((before) => before.filter(({ isRunning }) => !isRunning));
  }, [state]);
  const known = new Set((read.data?.[0].data ?? []).map((/** @type {any} */ record) => record.id));
  return { state, skipped, rows: rows.filter(({ id }) => !known.has(id)) };
}

/** Opens the request that an id names. */
function FindId() {
  const [id, setId] = useState("");
  const open = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (id.trim()) go(`requests/${encodeURIComponent(id.trim())}`);
  };
  return html`<form class="find-id" role="search" onSubmit=${open}><${Search} label=${text.find} value=${id} onInput=${setId} /></form>`;
}

/** @param {{ answer: any, live: any[], cursor: string | undefined }} props */
function List({ answer, live, cursor }) {
  if (answer.missing) return html`<${EmptyCard} title=${text.missing} text=${answer.missing} />`;
  const rows = [...live, ...answer.data];
  if (rows.length === 0 && filtersOf().length === 0 && !cursor && !query.value.has("span") && !query.value.has("from")) {
    const target = me.value?.role === "viewer" ? "guide" : "keys";
    return html`
      <${EmptyCard} title=${text.emptyTitle} text=${text.emptyText}>
        <a class="btn main small" href=${href(target)}>${target === "guide" ? words.nav.guide : words.nav.keys}</a>
      <//>`;
  }
  const older = new URLSearchParams(query.value);
  older.set("cursor", answer.next ?? "");
  return html`
    <section class="card">
      ${rows.length === 0 ? html`<div class="body small muted">${text.noneFound}</div>` : html`<${RequestTable} records=${rows} />`}
      <div class="pager">
        <span>${text.shown(rows.length)}</span>
        <span class="row">
          ${cursor && html`<${Button} class="small" onClick=${() => setQuery("cursor", null)}>${text.newest}<//>`}
          ${answer.next && html`<a class="btn small" href=${href(`requests?${older}`)}>${text.older}</a>`}
        </span>
      </div>
    </section>`;
}

/** Kind of dot, and word. @param {any} record @returns {[string, string]} */
export function outcomeOf(record) {
  if (record.isRunning) return ["live", text.running];
  if (record.outcome_class === "cancelled") return ["off", text.cancelled];
  if (record.outcome_class === "answered") return [record.outcome === "length" ? "warn" : "good", record.outcome];
  return [record.outcome_class === "refunded" ? "off" : "bad", record.outcome.replaceAll("_", " ")];
}

/** @param {{ records: any[], short?: boolean }} props short: few columns, for the overview */
export const RequestTable = ({ records, short }) => html`
  <div class="table-wrap" tabindex="0" role="group" aria-label=${words.nav.requests}><table class=${short ? "" : "cards"}>
    <thead><tr>
      <th>${short ? text.when : text.at}</th><th>${text.outcome}</th><th>${text.model}</th>
      ${!short && html`<th class="right">${text.cost}</th><th>${text.provider}</th><th>${text.key}</th>`}
      <th class="right">${text.input}</th><th class="right">${text.output}</th>
      ${!short && html`<th class="right">${text.firstToken}</th>`}
      <th class="right">${text.total}</th>${short && html`<th class="right">${text.cost}</th>`}
    </tr></thead>
    <tbody>
      ${records.map((record) => {
        const [kind, word] = outcomeOf(record);
        const cost = record.isRunning ? "" : dollars(record.cost);
        const tokens = (/** @type {number | undefined} */ value) => (value == null ? "–" : count(value));
        return html`
          <tr key=${record.id} class="opens" onClick=${(/** @type {any} */ event) => !event.target.closest("a") && !String(getSelection()) && go(`requests/${record.id}`)}>
            <td class="nowrap"><a href=${href(`requests/${record.id}`)} title=${record.request_id ?? record.id}>${short ? ago(record.at) : Date.now() / 1000 - record.at < 86_400 ? html`<span class="mono tiny">${clock(record.at)}</span>` : dateTime(record.at)}</a></td>
            <td class="only-cell nowrap"><${State} kind=${kind}>${word}<//>${record.requests > 1 && html` <span class="tag">${text.times(record.requests)}</span>`}</td>
            <td class=${`mono small cell ${record.model ? "medium" : "muted"}`}>${record.model || text.noModel}</td>
            ${!short && html`<td class="right medium only-cell">${cost}${record.estimated && html` <span class="tag">${text.estimated}</span>`}</td>
              <td class="cell" data-label=${text.provider}>${record.provider ?? "–"}</td>
              <td class=${`cell end-phone ${record.key ? "" : "muted"}`} data-label=${text.key}>${record.key || text.noKey}</td>`}
            <td class="right hide">${tokens(record.prompt_tokens)}</td><td class="right hide">${record.isRunning ? "–" : tokens(record.completion_tokens)}</td>
            ${!short && html`<td class="right hide">${record.first_token_us ? `${seconds(record.first_token_us)} s` : "–"}</td>`}
            <td class="right hide">${record.isRunning || !record.total_us ? "–" : `${seconds(record.total_us)} s`}</td>
            ${short && html`<td class="right medium">${cost}</td>`}
          </tr>`;
      })}
    </tbody>
  </table></div>`;
