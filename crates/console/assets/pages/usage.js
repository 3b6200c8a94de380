// What was asked, what it cost, how fast it came, and what failed: sums over a span of time.
import { html } from "../lib.js";
import { Chart, Legend, colorsOf } from "../chart.js";
import { SaveTable } from "../download.js";
import { FilterChoice, SortHeading, SpanChoice, addFilter, filtersOf, seriesPath, sortOf, spanOf, spanText, untilNow, zoomTo } from "../filters.js";
import { axisDollars, compact, count, dollars } from "../format.js";
import { Loaded, useRead } from "../read.js";
import { query, returnTo, setQuery } from "../router.js";
import { failuresOf, groupName, shareOf } from "../series.js";
import { me } from "../session.js";
import { Card, EmptyCard, Figure, Head, Segments, Select } from "../ui.js";
import { words } from "../words.js";

/** @typedef {import("../../types/api.d.ts").Series} Series */
/** @typedef {import("../../types/api.d.ts").SeriesColumns} SeriesColumns */
/** @typedef {import("../../types/api.d.ts").SeriesTotal} SeriesTotal */

const text = words.usage;
const USUAL_SPAN = "30d";

/** What the first chart shows: its values, and how they are written. @type {Record<string, { values: (columns: SeriesColumns) => number[], show: (value: number) => string, axis: (value: number) => string }>} */
const MEASURES = {
  cost: { values: ({ cost }) => cost, show: dollars, axis: axisDollars },
  requests: { values: ({ requests }) => requests, show: count, axis: compact },
  tokens: { values: (columns) => columns.prompt_tokens.map((tokens, index) => tokens + columns.completion_tokens[index]), show: count, axis: compact },
};

export default function Usage() {
  const span = spanOf(USUAL_SPAN);
  const groupings = Object.keys(text.by);
  const asked = query.value.get("by") ?? "";
  const by = groupings.includes(asked) ? asked : "model";
  const read = useRead([seriesPath(span, { by, top: 5 }), seriesPath(span, { by: "outcome" }), seriesPath(span, {}, 1)], { optional: true, resolve: untilNow });
  return html`
    <main id="main">
      <${Head} title=${words.nav.usage} text=${me.value?.role === "member" ? text.ownText : text.text}>
        <${SaveTable} name="usage.csv" path=${seriesPath(span, { by, top: 20 })} />
      <//>
      <div class="filters">
        <${SpanChoice} usual=${USUAL_SPAN} />
        <${Select} aria-label=${text.groupBy} value=${by} choices=${groupings.map((name) => [name, text.by[name]])}
          onChange=${(/** @type {string} */ name) => setQuery("by", name === "model" ? null : name)} />
        <${FilterChoice} />
        <span class="grow"></span>
        <span class="tiny muted">${spanText(span)}</span>
      </div>
      <${Loaded} read=${read} what=${words.nav.usage}>
        ${(/** @type {any[]} */ ...[series, outcomes, earlier]) => (series.missing
          ? html`<${EmptyCard} title=${text.missing} text=${series.missing} />`
          : html`<${Sums} series=${series} outcomes=${outcomes} earlier=${earlier} />`)}
      <//>
    </main>`;
}

/** @param {{ series: Series, outcomes: Series, earlier: Series }} props */
function Sums({ series, outcomes, earlier }) {
  const asked = query.value.get("of") ?? "";
  const measure = Object.hasOwn(MEASURES, asked) ? asked : "cost";
  const { values, show, axis } = MEASURES[measure];
  const { all: { total }, by, groups, times, ttft_ms: ttft } = series;
  const colors = colorsOf(groups.flatMap(({ of }) => (of === null ? [] : [of])));
  const colorOf = (/** @type {string | null} */ of) => colors.get(of ?? "") ?? 6;
  const lines = groups.map((group) => ({ name: groupName(group.of, by), color: colorOf(group.of), values: values(group) }));
  const first = [
    { name: text.median, color: 1, values: ttft.p50 }, { name: "95%", color: 2, values: ttft.p95 }, { name: "99%", color: 6, values: ttft.p99, dashed: true },
  ];
  const failures = failuresOf(outcomes);
  return html`
    <div class="stack">
      <dl class="figures">
        <${Figure} label=${text.cost} value=${dollars(total.cost)} note=${text.before(dollars(earlier.all.total.cost))} />
        <${Figure} label=${words.nav.requests} value=${count(total.requests)} note=${total.requests ? text.failedShare(shareOf(total.failures, total.requests), count(total.refusals)) : text.none} />
        <${Figure} label=${text.input} value=${compact(total.prompt_tokens)} note=${text.cachedShare(shareOf(total.cached_tokens, total.prompt_tokens))} />
        <${Figure} label=${text.output} value=${compact(total.completion_tokens)} note=${text.thought(compact(total.reasoning_tokens))} />
      </dl>
      <${Card} title=${text.measures[measure]} aside=${html`
        ${lines.length > 1 && html`<${Legend} lines=${lines} />`}
        <${Segments} label=${text.measure} value=${measure} choices=${Object.keys(MEASURES).map((name) => [name, text.measures[name]])}
          onChange=${(/** @type {string} */ name) => setQuery("of", name === "cost" ? null : name)} />`}>
        <div class="body"><${Chart} title=${text.measures[measure]} times=${times} step=${series.step} lines=${lines} height=${260} show=${show} axis=${axis} onZoom=${zoomTo} /></div>
      <//>
      <div class="cols-2">
        <${Card} title=${words.requests.firstToken} aside=${html`<${Legend} kind="lines" lines=${first} />`}>
          <div class="body"><${Chart} title=${words.requests.firstToken} kind="lines" times=${times} step=${series.step} lines=${first} show=${text.time} axis=${text.axis} onZoom=${zoomTo} /></div>
        <//>
        <${Card} title=${text.notAnswered} aside=${failures.length > 0 && html`<${Legend} lines=${failures} />`}>
          <div class="body"><${Chart} title=${text.notAnswered} times=${times} step=${series.step} lines=${failures} show=${count} onZoom=${zoomTo} /></div>
        <//>
      </div>
      <${Table} series=${series} colorOf=${colorOf} />
    </div>`;
}

/** What the table can be sorted by. @type {Record<string, (total: SeriesTotal) => number>} */
const ORDERS = {
  requests: (total) => total.requests, input: (total) => total.prompt_tokens, output: (total) => total.completion_tokens,
  first: (total) => total.ttft_ms.p50 ?? 0, p95: (total) => total.ttft_ms.p95 ?? 0, cost: (total) => Number(total.cost),
};

/** @param {{ series: Series, colorOf: (of: string | null) => number }} props */
function Table({ series: { all, by, groups }, colorOf }) {
  const { column, isDown } = sortOf("cost");
  const order = ORDERS[column] ?? ORDERS.cost;
  const name = by ?? "model";
  const rows = [...groups].sort((a, b) => Number(a.of === null) - Number(b.of === null) || (order(b.total) - order(a.total)) * (isDown ? 1 : -1));
  const isFiltered = filtersOf().some(([filter]) => filter === by);
  const heading = (/** @type {string} */ of, /** @type {string} */ title) => html`<${SortHeading} class="right" column=${of} text=${title} usual="cost" />`;
  return html`
    <${Card} title=${text.by[name]} aside=${html`<a class="small" href=${returnTo("requests")}>${text.behind}</a>`}>
      <div class="table-wrap"><table class="cards">
        <thead><tr>
          <th>${text.columns[name]}</th>${heading("requests", words.nav.requests)}${heading("input", text.input)}<th class="right">${words.models.cached}</th>
          ${heading("output", text.output)}${heading("first", words.requests.firstToken)}${heading("p95", "95%")}${heading("cost", text.cost)}
        </tr></thead>
        <tbody>
          ${rows.map(({ of, total }) => html`
            <tr key=${of}>
              <td class="full"><span class="row"><span class=${`key k${colorOf(of)}`}></span>
                ${of && !isFiltered
                  ? html`<button class="plain medium name" type="button" title=${text.only(groupName(of, by))} onClick=${() => addFilter(name, of)}>${groupName(of, by)}</button>`
                  : html`<span class="medium name">${groupName(of, by)}</span>`}</span></td>
              <${Cells} total=${total} />
            </tr>`)}
          ${rows.length === 0 && html`<tr><td class="full muted" colspan="8">${text.none}</td></tr>`}
        </tbody>
        ${rows.length > 1 && html`<tfoot><tr><td class="full medium">${text.total}</td><${Cells} total=${all.total} /></tr></tfoot>`}
      </table></div>
    <//>`;
}

/** Milliseconds as seconds. @param {number | null} ms */
const time = (ms) => (ms === null ? "–" : text.time(ms));

/** @param {{ total: SeriesTotal }} props */
const Cells = ({ total }) => html`
  <td class="right start-phone" data-label=${words.nav.requests}>${count(total.requests)}</td>
  <td class="right end-phone" data-label=${text.input}>${compact(total.prompt_tokens)}</td>
  <td class="right hide">${total.prompt_tokens ? `${shareOf(total.cached_tokens, total.prompt_tokens)}%` : "–"}</td>
  <td class="right start-phone" data-label=${text.output}>${compact(total.completion_tokens)}</td>
  <td class="right hide">${time(total.ttft_ms.p50)}</td><td class="right hide">${time(total.ttft_ms.p95)}</td>
  <td class="right medium end-phone">${dollars(total.cost)}</td>`;
