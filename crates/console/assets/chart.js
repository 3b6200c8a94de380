// Charts of columns of numbers over time: stacked bars or lines, with axes, a legend, the figures of the time that is pointed at, and the same
// numbers as a table.
import { html, useEffect, useElement, useLayoutEffect, useState } from "./lib.js";
import { compact, dateTime, shortDay, timeOfDay } from "./format.js";
import { words } from "./words.js";

/**
 * A line of the chart, or a layer of its bars: a value for each time, null where there is none. `color`: 1 to 6.
 * @typedef {{ name: string, color: number, values: (number | null)[], dashed?: boolean }} Line
 */

const BOTTOM = 22;
const TOP = 8;

/** Values at which the axis has a line: at most five, from 0 to above the greatest; whole ones for whole numbers. @param {number} most @param {boolean} isWhole */
function gridOf(most, isWhole) {
  if (!(most > 0)) return [0];
  const unit = 10 ** Math.floor(Math.log10(most / 4));
  const size = unit * ([1, 2, 2.5, 5].find((size) => size * unit * 4 >= most) ?? 10);
  const step = isWhole ? Math.ceil(size) : size;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, index) => index * step);
}

/** Seconds between two labels of the axis of time. */
const STEPS = [60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 14 * 86_400, 30 * 86_400, 91 * 86_400, 182 * 86_400, 365 * 86_400];

/** The places of the labels of the axis of time, as indices of `times`, at round times. @param {number[]} times @param {number} most how many fit */
function labelsOf(times, most) {
  const span = times[times.length - 1] - times[0];
  const step = STEPS.find((size) => span / size <= most) ?? span;
  const first = step > 86_400 ? times[0] : 0;
  const places = times.flatMap((time, index) => ((time - first) % step === 0 ? [index] : []));
  return { places: places.length > 0 ? places : [0], step };
}

/** A time as a label of the axis. @param {number} at @param {number} step */
const label = (at, step) => (step < 86_400 && at % 86_400 !== 0 ? timeOfDay(at) : shortDay(at));

/** @param {number} at @param {string} step */
const timeName = (at, step) => (step === "day" ? shortDay(at) : dateTime(at));

/** The seconds of a step. @type {Record<string, number>} */
const SECONDS = { minute: 60, hour: 3600, day: 86_400 };

/** The lines of a chart and their colours. @param {{ lines: Line[], kind?: string }} props */
export const Legend = ({ lines, kind = "bars" }) => html`
  <div class="legend">${lines.map(({ name, color }) => html`<span key=${name}><span class=${`key k${color} ${kind === "lines" ? "line" : ""}`}></span><span class="name">${name}</span></span>`)}</div>`;

/**
 * @param {{ title: string, times: number[], step: "minute" | "hour" | "day", lines: Line[], kind?: "bars" | "lines", height?: number, show: (value: number) => string,
 *   axis?: (value: number) => string, onZoom?: (from: number, to: number) => void }} props
 * `times` are the beginnings of steps, in seconds since 1970; `show` writes a value, `axis` one of the axis; `onZoom` is given the span that
 * was drawn over.
 */
export function Chart({ title, times, step, lines, kind = "bars", height = 200, show, axis = compact, onZoom }) {
  const box = useElement();
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const [from, setFrom] = useState(/** @type {number | null} */ (null));
  const [asTable, setAsTable] = useState(false);
  useLayoutEffect(() => {
    if (asTable || !box.current) return;
    const fit = () => setWidth(/** @type {HTMLElement} */ (box.current).clientWidth);
    fit();
    const watcher = new ResizeObserver(fit);
    watcher.observe(box.current);
    return () => watcher.disconnect();
  }, [asTable]);
  const last = times.length - 1;
  const base = height - BOTTOM;
  const sums = times.map((_, index) => lines.reduce((sum, { values }) => (kind === "bars" ? sum + (values[index] ?? 0) : Math.max(sum, values[index] ?? 0)), 0));
  const grid = gridOf(Math.max(...sums, 0), sums.every(Number.isInteger));
  const top = grid[grid.length - 1] || 1;
  const left = 16 + Math.max(...grid.map((value) => axis(value).length)) * 6.5;
  const plot = Math.max(1, width - left - 4);
  const slot = plot / times.length;
  const x = (/** @type {number} */ index) => left + (index + 0.5) * slot;
  const y = (/** @type {number} */ value) => base - (value / top) * (base - TOP);
  const labels = labelsOf(times, Math.max(1, Math.floor(plot / 85)));
  const indexAt = (/** @type {PointerEvent} */ event) => {
    const start = /** @type {HTMLElement} */ (box.current).getBoundingClientRect().left + left;
    return Math.max(0, Math.min(last, Math.floor((event.clientX - start) / slot)));
  };
  const zoom = (/** @type {number} */ one, /** @type {number} */ other) => onZoom?.(times[Math.min(one, other)], times[Math.max(one, other)] + SECONDS[step]);
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.toLowerCase() === "t") setAsTable(!asTable);
    else if (event.key === "Escape") setAt(null);
    else {
      const to = { ArrowLeft: (at ?? last + 1) - 1, ArrowRight: (at ?? -1) + 1, Home: 0, End: last }[event.key];
      if (to === undefined || asTable) return;
      setAt(Math.max(0, Math.min(last, to)));
    }
    event.preventDefault();
  };
  const drawn = width > 0 && !asTable;
  return html`
    <div class="chart-box" ref=${box} tabindex="0" role="group" aria-label=${`${title}. ${words.chart.keys}`} onKeyDown=${onKeyDown} onBlur=${() => setAt(null)}>
      ${asTable && html`<${Numbers} title=${title} times=${times} step=${step} lines=${lines} show=${show} />`}
      ${drawn && html`
        <svg class="chart" width=${width} height=${height} aria-hidden="true"
          onPointerMove=${(/** @type {PointerEvent} */ event) => setAt(indexAt(event))}
          onPointerLeave=${() => {
            setAt(null);
            setFrom(null);
          }}
          onPointerDown=${(/** @type {PointerEvent} */ event) => onZoom && event.pointerType === "mouse" && setFrom(indexAt(event))}
          onPointerUp=${(/** @type {PointerEvent} */ event) => {
            const to = indexAt(event);
            if (from !== null && from !== to) zoom(from, to);
            setFrom(null);
          }}>
          ${grid.map((value) => html`
            <line class="grid" x1=${left} x2=${width - 2} y1=${y(value)} y2=${y(value)} />
            <text x=${left - 8} y=${y(value) + 4} text-anchor="end">${axis(value)}</text>`)}
          ${from !== null && at !== null && html`<rect x=${x(Math.min(from, at)) - slot / 2} y=${TOP} width=${(Math.abs(at - from) + 1) * slot} height=${base - TOP} fill="var(--abyss-bg)" />`}
          ${at !== null && from === null && html`<rect x=${x(at) - slot / 2} y=${TOP} width=${slot} height=${base - TOP} fill="var(--hover)" />`}
          ${kind === "bars" ? html`<${Bars} lines=${lines} count=${times.length} x=${x} y=${y} slot=${slot} />` : lines.map((line) => html`<${Path} line=${line} x=${x} y=${y} at=${at} />`)}
          ${labels.places.map((index) => html`
            <text x=${x(index)} y=${height - 6} text-anchor=${x(index) < left + 30 ? "start" : x(index) > width - 36 ? "end" : "middle"}>${label(times[index], labels.step)}</text>`)}
        </svg>
        ${at !== null && at <= last && html`<${Tip} x=${x(at)} width=${width} title=${timeName(times[at], step)} lines=${lines} at=${at} show=${show} />`}`}
      <button class="link tiny chart-switch" type="button" aria-pressed=${asTable} onClick=${() => setAsTable(!asTable)}>${asTable ? words.chart.asChart : words.chart.asTable}</button>
    </div>`;
}

/** Stacked bars. @param {{ lines: Line[], count: number, x: (index: number) => number, y: (value: number) => number, slot: number }} props */
function Bars({ lines, count, x, y, slot }) {
  const heights = new Array(count).fill(0);
  const gap = slot > 6 ? slot * 0.13 : slot > 2 ? 0.5 : 0;
  // A path for each layer: thousands of bars are few elements.
  return lines.map(({ color, values }) => {
    const parts = [];
    for (let index = 0; index < count; index++) {
      const value = values[index] ?? 0;
      if (!(value > 0)) continue;
      const bottom = y(heights[index]);
      heights[index] += value;
      const up = Math.min(y(heights[index]), bottom - 0.75);
      parts.push(`M${(x(index) - slot / 2 + gap).toFixed(1)} ${bottom.toFixed(1)}V${up.toFixed(1)}h${(slot - 2 * gap).toFixed(1)}V${bottom.toFixed(1)}z`);
    }
    return html`<path d=${parts.join("")} fill=${`var(--c${color})`} stroke="var(--surface)" stroke-width=${slot > 6 ? 0.75 : 0} />`;
  });
}

/** A line, which stops where there is no value. @param {{ line: Line, x: (index: number) => number, y: (value: number) => number, at: number | null }} props */
function Path({ line: { values, color, dashed }, x, y, at }) {
  let isDown = false;
  const parts = values.map((value, index) => {
    const part = value === null ? "" : `${isDown ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    // A value between two gaps is a dash.
    const dot = value !== null && !isDown && values[index + 1] == null ? "m-2 0h4" : "";
    isDown = value !== null;
    return part + dot;
  });
  const value = at === null ? null : (values[at] ?? null);
  return html`
    <path d=${parts.join("")} fill="none" stroke=${`var(--c${color})`} stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round" stroke-dasharray=${dashed ? "3 3" : undefined} />
    ${value !== null && at !== null && html`<circle cx=${x(at)} cy=${y(value)} r="3" fill=${`var(--c${color})`} />`}`;
}

/** The figures of the time that is pointed at. @param {{ x: number, width: number, title: string, lines: Line[], at: number, show: (value: number) => string }} props */
function Tip({ x, width, title, lines, at, show }) {
  const ref = useElement();
  useLayoutEffect(() => {
    const tip = /** @type {HTMLElement} */ (ref.current);
    const left = x + 12 + tip.offsetWidth > width ? x - 12 - tip.offsetWidth : x + 12;
    tip.style.left = `${Math.max(0, left)}px`;
  });
  return html`
    <div class="tip chart-tip" role="status" ref=${ref}>
      <div class="medium">${title}</div>
      ${lines.map(({ name, color, values }) => values[at] != null && html`
        <div class="row between"><span class="row"><span class=${`key k${color}`}></span><span class="cut">${name}</span></span><span class="num">${show(/** @type {number} */ (values[at]))}</span></div>`)}
    </div>`;
}

/** The numbers of a chart. @param {{ title: string, times: number[], step: "minute" | "hour" | "day", lines: Line[], show: (value: number) => string }} props */
function Numbers({ title, times, step, lines, show }) {
  const ref = useElement();
  useEffect(() => {
    // The latest are what one looks for.
    if (ref.current) ref.current.scrollTop = ref.current.scrollHeight;
  }, []);
  return html`
    <div class="table-wrap chart-table" tabindex="0" role="group" aria-label=${title} ref=${ref}><table>
      <thead><tr><th>${words.chart.time}</th>${lines.map(({ name }) => html`<th class="right">${name}</th>`)}</tr></thead>
      <tbody>${times.map((time, index) => html`
        <tr key=${time}><td class="nowrap muted">${timeName(time, step)}</td>${lines.map(({ values }) => html`<td class="right">${values[index] == null ? "–" : show(/** @type {number} */ (values[index]))}</td>`)}</tr>`)}
      </tbody>
    </table></div>`;
}

/** The colours of names, which keep them as long as the page is open: the first free one, 6 for the rest. @type {Map<string, number>} */
const colors = new Map();

/** The colours of a chart's names, the largest first. @param {string[]} names @returns {Map<string, number>} */
export function colorsOf(names) {
  const shown = names.slice(0, 5);
  const free = [1, 2, 3, 4, 5].filter((color) => !shown.some((name) => colors.get(name) === color));
  for (const name of shown) {
    const color = colors.get(name) ?? 6;
    const isTaken = shown.some((other) => other !== name && colors.get(other) === color && shown.indexOf(other) < shown.indexOf(name));
    if (color === 6 || isTaken) colors.set(name, free.shift() ?? 6);
  }
  return new Map(names.map((name) => [name, shown.includes(name) ? /** @type {number} */ (colors.get(name)) : 6]));
}
