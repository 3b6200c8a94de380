// One request: what it took, who was asked, and how its cost comes about.
import { html } from "../lib.js";
import { Icon } from "../icons.js";
import { count, dateTime, exactDollars, priceName, seconds } from "../format.js";
import { Loaded, useRead } from "../read.js";
import { href, returnTo } from "../router.js";
import { me } from "../session.js";
import { Card, Copy, EmptyCard, Figure, Head, State } from "../ui.js";
import { words } from "../words.js";
import { outcomeOf } from "./requests.js";

const shared = words.requests;

/** @typedef {import("../../types/api.d.ts").RecordDetail} RecordDetail */

const text = words.request;

/** @param {{ id: string }} props as the caller got it, or as the log has it */
export function RequestView({ id }) {
  const read = useRead([`/admin/records/${encodeURIComponent(id)}`], { optional: true });
  return html`
    <main id="main">
      <p class="crumb"><a href=${returnTo("requests")}>${words.nav.requests}</a> / <span class="mono breaks">${id}</span></p>
      <${Loaded} read=${read} what=${text.title}>
        ${(/** @type {any} */ record) => (record.missing
          ? html`<${Head} title=${text.title} /><${EmptyCard} title=${text.missing} text=${record.missing}><a class="btn main small" href=${returnTo("requests")}>${words.nav.requests}</a><//>`
          : html`<${Whole} record=${record} />`)}
      <//>
    </main>`;
}

/** Microseconds with their unit. @param {number} micros */
const time = (micros) => (micros < 1e6 ? text.milliseconds((micros / 1000).toFixed(micros < 10_000 ? 1 : 0)) : text.seconds(seconds(micros)));

/** How quickly the answer came after its first token. @param {RecordDetail} record */
function speedOf({ first_token_us: first, total_us: total, completion_tokens: tokens }) {
  if (!first) return text.notStreamed;
  const passed = total - first;
  return tokens > 1 && passed > 50_000 ? text.speed(((tokens - 1) / (passed / 1e6)).toFixed(1)) : text.atOnce;
}

/** @param {{ record: RecordDetail }} props */
function Whole({ record }) {
  const { attempts } = record;
  const [kind, word] = outcomeOf(record);
  const id = record.request_id;
  const lost = attempts.slice(0, -1).reduce((sum, attempt) => sum + ((attempt.ended_us ?? attempt.started_us) - attempt.started_us), 0);
  const failed = attempts.slice(0, -1).map((attempt) => attempt.provider);
  const isRefused = attempts.length === 0 && ["refused", "rate_limited"].includes(record.outcome_class);
  const model = record.model || shared.noModel;
  return html`
    <${Head} title=${record.provider ? text.heading(model, record.provider) : model}
      text=${html`<${State} kind=${kind}>${word}<//> · ${dateTime(record.at)} UTC · ${record.key ? text.byKey(record.key) : shared.noKey}`}>
      <${Copy} class="btn-copy" text=${id} />
      ${me.value?.role !== "viewer" && record.model && html`<a class="btn" href=${href(`playground?model=${encodeURIComponent(record.model)}`)}><${Icon} name="chat" />${words.nav.playground}</a>`}
    <//>
    <div class="stack">
      <dl class="figures">
        <${Figure} label=${shared.total} value=${isRefused ? "–" : html`${seconds(record.total_us)} <small>s</small>`}
          note=${isRefused ? text.refused : lost > 0 ? text.lost(time(lost), failed.join(", ")) : record.outcome_class === "answered" ? text.noneLost : word} />
        <${Figure} label=${shared.firstToken} value=${record.first_token_us ? html`${seconds(record.first_token_us)} <small>s</small>` : "–"}
          note=${isRefused ? words.none : speedOf(record)} />
        <${Figure} label=${text.tokens} value=${html`${count(record.prompt_tokens)} <small>${text.inOut(count(record.completion_tokens))}</small>`}
          note=${text.cachedThought(count(record.cached_tokens), count(record.reasoning_tokens))} />
        <${Figure} label=${shared.cost} value=${exactDollars(record.cost)} note=${record.estimated ? text.estimated : isRefused ? words.none : record.price ? priceName(record.price) : text.noPrice} />
      </dl>
      <${Card} title=${text.attempts} aside=${!isRefused && html`<span class="small muted">${text.span(seconds(record.total_us))}</span>`}>
        <div class="body">
          ${attempts.length > 0 ? html`<${Attempts} record=${record} />` : html`<p class="small muted">${isRefused ? text.reasons[record.outcome] : text.noAttempts}</p>`}
        </div>
      <//>
      <div class="split">
        <${Card} title=${text.details}>
          <div class="body"><dl class="facts">
            <dt>${words.fault.requestId}</dt><dd class="mono">${id}</dd>
            <dt>${shared.key}</dt><dd class="name">${record.key || shared.noKey}</dd>
            ${record.project && html`<dt>${words.keys.project}</dt><dd class="name">${record.project}</dd>`}
            <dt>${shared.model}</dt><dd class="mono">${model}</dd>
            <dt>${shared.outcome}</dt><dd>${word}${isRefused && `, ${text.refused}`}</dd>
            ${record.requests > 1 && html`<dt>${words.nav.requests}</dt><dd>${count(record.requests)}</dd>`}
          </dl></div>
        <//>
        <${Cost} record=${record} />
      </div>
    </div>`;
}

/** Who was asked, one after the other: a bar from the start of each attempt to its end. @param {{ record: RecordDetail }} props */
function Attempts({ record: { attempts, total_us: total } }) {
  const whole = Math.max(total, ...attempts.map((attempt) => attempt.ended_us ?? 0), 1);
  const bar = (/** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ fill) => html`
    <svg preserveAspectRatio="none" viewBox="0 0 1000 34" aria-hidden="true"><rect x=${(from / whole) * 1000} y="11" width=${Math.max(3, ((to - from) / whole) * 1000)} height="12" fill=${fill} /></svg>`;
  const row = (/** @type {any} */ head, /** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ fill) => html`
    <div class="h">${head}</div><div class="b">${bar(from, to, fill)}</div><div class="d">${time(to - from)}</div>`;
  return html`
    <div class="way">${attempts.map((attempt) => {
      const failed = attempt.fault !== null;
      const ended = attempt.ended_us ?? whole;
      const head = html`<div><${State} kind=${failed ? "bad" : "good"}><span class="name">${[attempt.provider, attempt.model].filter(Boolean).join(" · ")}</span><//>
        ${failed && html`<div class="tiny muted name">${[attempt.status, attempt.fault].filter(Boolean).join(" ")}</div>`}</div>`;
      const first = attempt.first_byte_us;
      return html`
        ${row(head, attempt.started_us, ended, failed ? "var(--bad)" : "var(--c1)")}
        ${!failed && first !== null && ended - first > 1000 && html`
          ${row(html`<span class="inner"><${State} kind="off">${text.untilFirst}<//></span>`, attempt.started_us, first, "var(--c1)")}
          ${row(html`<span class="inner"><${State} kind="off">${text.writing}<//></span>`, first, ended, "var(--c4)")}`}`;
    })}</div>`;
}

/** @param {{ record: RecordDetail }} props */
const Cost = ({ record }) => html`
  <${Card} title=${text.cost}>
    <div class="table-wrap"><table><tbody>
      ${record.cost_lines === null && html`<tr><td class="muted" colspan="2">${text.noLines}</td></tr>`}
      ${record.cost_lines?.map((line) => html`
        <tr key=${line.of}><td>${(text.costOf[line.of] ?? ((n) => `${n} ${line.of.replaceAll("_", " ")}`))(count(line.quantity))}${line.of !== "rounding" && html` <span class="muted">${text.atPrice(exactDollars(line.price), line.per === 1e6 ? "" : count(line.per))}</span>`}</td><td class="right">${exactDollars(line.cost)}</td></tr>`)}
      <tr><td class="medium">${record.key ? text.billedTo(record.key) : text.billed}</td><td class="right medium">${exactDollars(record.cost)}</td></tr>
    </tbody></table></div>
  <//>`;
