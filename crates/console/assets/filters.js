// What the pages about requests look at: a span of time and filters, which stand in the address.
import { html } from "./lib.js";
import { Icon } from "./icons.js";
import { dateTime, shortDay } from "./format.js";
import { useOnce } from "./read.js";
import { query, setQueries } from "./router.js";
import { me } from "./session.js";
import { Button, Segments } from "./ui.js";
import { words } from "./words.js";

const text = words.filters;

/** The spans that can be chosen: seconds, and seconds of a step. @type {Record<string, [number, number]>} */
const SPANS = { "1h": [3600, 60], "24h": [86_400, 3600], "7d": [7 * 86_400, 3600], "30d": [30 * 86_400, 86_400], "1y": [365 * 86_400, 86_400] };

/** The names of steps, as the server has them. @type {Record<number, string>} */
const STEP_NAMES = { 60: "minute", 3600: "hour", 86_400: "day" };

/** What requests can be filtered by. */
const FILTERS = ["key", "project", "model", "provider", "outcome"];

/** Classes of outcomes. */
const OUTCOMES = ["answered", "cancelled", "invalid", "refused", "rate_limited", "failed", "refunded"];

/**
 * A span of time in seconds since 1970, whose ends are whole steps, and the seconds of a step. `name`: it ends now; empty for one that was drawn.
 * @typedef {{ name: string, from: number, to: number, step: number }} Span
 */

/** The span that the address names. @param {string} usual the span of an address without one @returns {Span} */
export function spanOf(usual) {
  const from = Number(query.value.get("from"));
  const to = Number(query.value.get("to"));
  if (from > 0 && to > from) {
    const step = to - from <= 6 * 3600 ? 60 : to - from <= 14 * 86_400 ? 3600 : 86_400;
    return { name: "", from: Math.floor(from / step) * step, to: Math.ceil(to / step) * step, step };
  }
  const name = query.value.get("span") ?? usual;
  return lastSpan(Object.hasOwn(SPANS, name) ? name : usual);
}

/** @param {string} name @returns {Span} that ends now */
function lastSpan(name) {
  const [length, step] = SPANS[name];
  const to = (Math.floor(Date.now() / 1000 / step) + 1) * step;
  return { name, from: to - length, to, step };
}

/** Shows the span that was drawn over in a chart. @param {number} from @param {number} to */
export const zoomTo = (from, to) => setQueries({ span: null, from: String(from), to: String(to), cursor: null });

/** The filters of the address: names and values. @returns {[string, string][]} */
export const filtersOf = () => [...query.value].filter(([name]) => FILTERS.includes(name));

/** Adds a filter. @param {string} name @param {string} value */
export const addFilter = (name, value) => setQueries({ [name]: [...new Set([...query.value.getAll(name), value])], cursor: null });

/** A path of the admin API with the filters of the address. @param {string} path @param {Record<string, string | number | undefined>} parameters */
export function withFilters(path, parameters) {
  const all = new URLSearchParams(filtersOf());
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) all.append(name, String(value));
  const text = all.toString();
  return text ? `${path}?${text}` : path;
}

/**
 * The path of a series. That of a span that ends now has the name of the span, so that it stays the same while time passes: see `untilNow`.
 * @param {Span} span @param {Record<string, string | number | undefined>} [parameters] @param {number} [before] spans before this one
 */
export function seriesPath({ name, from, to, step }, parameters = {}, before = 0) {
  if (name) return withFilters("/admin/series", { last: name, before: before || undefined, ...parameters });
  const past = before * (to - from);
  return withFilters("/admin/series", { from: from - past, to: to - past, step: STEP_NAMES[step], ...parameters });
}

/** The path of a list of requests. @param {Span} span @param {Record<string, string | number | undefined>} parameters */
export const recordsPath = ({ name, from, to }, parameters) => withFilters("/admin/records", { ...(name ? { last: name } : { from, to }), ...parameters });

/** A path whose span ends now, with the times that the server understands. @param {string} path */
export function untilNow(path) {
  const [place, text] = path.split("?");
  const parameters = new URLSearchParams(text);
  const name = parameters.get("last");
  if (name === null) return path;
  const { from, to, step } = lastSpan(name);
  const past = Number(parameters.get("before")) * (to - from);
  parameters.delete("last");
  parameters.delete("before");
  parameters.append("from", String(from - past));
  if (place === "/admin/series") {
    parameters.append("to", String(to - past));
    parameters.append("step", STEP_NAMES[step]);
  }
  return `${place}?${parameters}`;
}

/** A span in words. @param {Span} span */
export const spanText = ({ from, to, step }) => (step >= 86_400 ? text.fromTo(shortDay(from), shortDay(to - 1)) : text.fromTo(dateTime(from), dateTime(to)));

/** @param {{ usual: string }} props */
export const SpanChoice = ({ usual }) => html`
  <${Segments} class="scroll" label=${text.span} value=${spanOf(usual).name} choices=${Object.keys(SPANS).map((name) => [name, text.spans[name]])}
    onChange=${(/** @type {string} */ span) => setQueries({ span: span === usual ? null : span, from: null, to: null, cursor: null })} />`;

/** The filters of the address, each with a button that removes it, and a list of those that can be added. */
export function FilterChoice() {
  const read = useOnce(["/admin/keys", "/admin/models"]);
  const chosen = filtersOf();
  const keys = read.data?.[0].data ?? [];
  const models = read.data?.[1].data ?? [];
  const unique = (/** @type {string[]} */ values) => [...new Set(values)].sort((a, b) => a.localeCompare(b));
  /** @type {[string, string[]][]} */
  const groups = [
    ["outcome", OUTCOMES],
    ["key", unique(keys.map((/** @type {any} */ key) => key.name))],
    ["project", unique(keys.map((/** @type {any} */ key) => key.project))],
    ["provider", unique(models.flatMap((/** @type {any} */ model) => model.targets.map((/** @type {any} */ target) => target.provider)))],
    ["model", unique(models.map((/** @type {any} */ model) => model.id))],
  ];
  if (me.value?.role === "member") groups.splice(2, 1);
  return html`
    ${chosen.map(([name, value]) => html`
      <span class="tag abyss" key=${`${name} ${value}`}><span class="cut filter-text">${text.names[name]}: <span class="name">${name === "outcome" ? (text.outcomes[value] ?? value) : value}</span></span>
        <button class="tag-x" type="button" aria-label=${text.remove(`${text.names[name]} ${value}`)}
          onClick=${() => setQueries({ [name]: query.value.getAll(name).filter((other) => other !== value), cursor: null })}><${Icon} name="x" /></button></span>`)}
    <select class="select" aria-label=${text.add} value="" onChange=${(/** @type {any} */ event) => {
      const [name, ...value] = event.target.value.split("=");
      event.target.value = "";
      addFilter(name, value.join("="));
    }}>
      <option value="" selected>${text.add}</option>
      ${groups.map(([name, values]) => values.length > 0 && html`
        <optgroup label=${text.names[name]} key=${name}>${values.map((value) => html`<option value=${`${name}=${value}`}>${name === "outcome" ? text.outcomes[value] : value}</option>`)}</optgroup>`)}
    </select>
    ${chosen.length > 1 && html`<${Button} class="ghost small" onClick=${() => setQueries(Object.fromEntries([...FILTERS, "cursor"].map((name) => [name, null])))}>${text.clear}<//>`}`;
}

/**
 * The column that a table is sorted by, in the address: its name, and whether the largest come first.
 * @param {string} usual @param {boolean} [up] whether the smallest usually come first @returns {{ column: string, isDown: boolean }}
 */
export const sortOf = (usual, up = false) => ({ column: query.value.get("sort") ?? usual, isDown: (query.value.get("order") ?? (up ? "up" : "down")) === "down" });

/** The heading of a column that a table can be sorted by. @param {{ column: string, text: string, usual: string, up?: boolean, class?: string }} props */
export function SortHeading({ column, text: title, usual, up = false, ...props }) {
  const { column: current, isDown } = sortOf(usual, up);
  const isCurrent = current === column;
  const sort = () => setQueries({ sort: column === usual ? null : column, order: isCurrent && isDown !== up ? (up ? "down" : "up") : null });
  return html`
    <th class=${props.class} aria-sort=${isCurrent ? (isDown ? "descending" : "ascending") : undefined}>
      <button type="button" title=${words.models.sort(title)} onClick=${sort}>${title}${isCurrent && html`<${Icon} name=${isDown ? "down" : "up"} />`}</button>
    </th>`;
}

