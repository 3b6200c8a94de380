// The picture beside the login: a whale that looks up from the depth of a long context.
import { html } from "./lib.js";
import { WhaleShape } from "./icons.js";
import { words } from "./words.js";

/** The depths that are marked: height in the picture, label. @type {[number, string][]} */
const DEPTHS = [[90, "0"], [230, "4K"], [400, "16K"], [570, "64K"], [740, "128K"]];

/** What the whale looks at. */
const LIGHTS = [[96, 160], [150, 118], [300, 196], [410, 352], [236, 468], [505, 520], [330, 612], [128, 640]];

/** Everything else in the water: places that look like chance and are always the same. */
const DOTS = Array.from({ length: 110 }, (_, index) => [22 + ((index * 7919) % 643), 102 + ((index * 104_729) % 787)]);

export const Sea = () => html`
  <aside class="sea" aria-label=${words.about}>
    <svg viewBox="0 0 760 900" preserveAspectRatio="xMidYMid slice" aria-hidden="true">
      <defs>
        <linearGradient id="water" x1="0" y1="0" x2="0" y2="1">
          <stop offset="0" stop-color="var(--sea-1)" />
          <stop offset="1" stop-color="var(--sea-2)" />
        </linearGradient>
      </defs>
      <rect width="760" height="900" fill="url(#water)" />
      ${DEPTHS.map(([y, label]) => html`
        <line x1="0" x2="686" y1=${y} y2=${y} stroke="var(--sea-line)" />
        <text x="698" y=${y + 4} class="sea-text">${label}</text>`)}
      ${DOTS.map(([x, y], index) => html`<circle cx=${x} cy=${y} r=${index % 4 ? 1 : 1.3} fill="var(--sea-dot)" />`)}
      ${LIGHTS.map(([x, y]) => html`
        <line x1=${x} y1=${y} x2="430" y2="742" stroke="var(--candle)" stroke-opacity=".28" />
        <circle cx=${x} cy=${y} r="3" fill="var(--candle)" />
        <circle cx=${x} cy=${y} r="9" fill="var(--candle)" fill-opacity=".16" />`)}
      <g transform="translate(420 716) rotate(-16)">
        <svg width="176" height="84" viewBox="0 0 100 48" class="sea-whale"><${WhaleShape} /></svg>
      </g>
    </svg>
    <p>${words.login.motto}</p>
  </aside>`;
