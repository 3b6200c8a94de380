// The first page: the first steps on a new server, then how it is doing.
import { html, useEffect, useState } from "../lib.js";
import { catalog } from "../answers.js";
import { Chart } from "../chart.js";
import { untilNow } from "../filters.js";
import { compact, contextSize, count, dollars, seconds } from "../format.js";
import { Icon } from "../icons.js";
import { CreateKey, FIRST_REQUEST } from "../key_dialog.js";
import { Loaded, useRead } from "../read.js";
import { href } from "../router.js";
import { groupName, shareOf } from "../series.js";
import { me, tabKey } from "../session.js";
import { Run, Snippet, parseCurl } from "../snippet.js";
import { useTail } from "../tail.js";
import { Button, Card, EmptyCard, Figure, Head, Meter, Note, State, withCode } from "../ui.js";
import { words } from "../words.js";
import { priceCommand } from "./models.js";
import { providerState, providersOf } from "./providers.js";
import { RequestTable } from "./requests.js";

/** @typedef {import("../../types/api.d.ts").Series} Series */
/** @typedef {NonNullable<import("../../types/api.d.ts").Engine>} Engine */

const { first, nav, overview: text } = words;

export default function Overview() {
  if (me.value?.role === "member") return html`<${MemberOverview} />`;
  return html`<${ServerOverview} />`;
}

const LATEST = "/admin/records?limit=6";

function ServerOverview() {
  const latest = useRead([LATEST], { optional: true });
  const records = latest.data?.[0];
  if (records && records.data.length === 0) return html`<${First} noStore=${!!records.missing} reload=${latest.reload} />`;
  return html`
    <main id="main">
      <${Head} title=${nav.overview} text=${text.text}>
        <a class="btn" href=${href("guide")}><${Icon} name="book" />${nav.guide}</a>
        <a class="btn main" href=${href("playground")}><${Icon} name="chat" />${nav.playground}</a>
      <//>
      <${Loaded} read=${latest} what=${nav.requests}>
        ${(/** @type {any} */ { data }) => html`<${Dashboard} records=${data} />`}
      <//>
    </main>`;
}

/** The three steps of a new server. @param {{ noStore: boolean, reload: () => void }} props */
function First({ noStore, reload }) {
  const [models, setModels] = useState(/** @type {any[] | null} */ (null));
  const [creating, setCreating] = useState(false);
  const keys = useRead(noStore ? [] : ["/admin/keys", "/admin/projects"]);
  useEffect(() => {
    catalog().then(setModels, () => setModels([]));
  }, []);
  // The first request turns the page over as it ends; without a tail, what is read every ten seconds does.
  useTail("/admin/tail", { isOn: !noStore, onEvent: (name) => name === "end" && setTimeout(reload, 300) });
  const used = (keys.data?.[0]?.data ?? []).filter((/** @type {any} */ key) => !key.revoked_at).length;
  const answers = (models?.length ?? 0) > 0;
  const hasKey = used > 0 || tabKey.value !== null;
  const request = parseCurl(FIRST_REQUEST[0].code);
  return html`
    <main id="main">
      <${Head} title=${nav.overview} text=${first.text}>
        <a class="btn main" href=${href("guide")}><${Icon} name="book" />${nav.guide}</a>
      <//>
      <div class="split">
        <${Card} title=${first.title} aside=${html`<span class="tag">${first.done(Number(answers) + Number(hasKey))}</span>`}>
          <div class="body"><ol class="steps">
            <li class=${answers ? "done" : ""}>
              <h3>${first.answers}</h3>
              <p>${models === null ? words.loading : answers ? first.models(models.length) : first.noModels} ${withCode(first.andProviders)}<a
                href=${href("providers")}>${nav.providers}</a>.</p>
            </li>
            <li class=${hasKey ? "done" : ""}>
              <h3>${first.makeKey}</h3>
              <p>${noStore ? withCode(first.noStore) : used > 0 ? first.haveKey(used) : me.value?.session ? first.makeKeyOnce : first.makeKeyText}</p>
              ${!noStore && html`<div class="row wrap">
                <button class=${`btn small ${hasKey ? "" : "main"}`} type="button" onClick=${() => setCreating(true)}><${Icon} name="plus" />${first.makeKey}</button>
              </div>`}
            </li>
            <li>
              <h3>${first.ask}</h3>
              <p>${first.askText}</p>
              <div class="snippet-first"><${Snippet} blocks=${FIRST_REQUEST} secret=${tabKey.value?.secret ?? "$CACHALOT_KEY"} /></div>
              ${request && html`<${Run} request=${request} onDone=${reload}><${State} kind="off" class="small muted">${first.waiting}<//><//>`}
            </li>
          </ol></div>
        <//>
        <div class="stack">
          ${!noStore && html`<${LocalModel} />`}
          <${EmptyCard} title=${words.requests.emptyTitle} text=${first.emptyText} />
        </div>
      </div>
      ${creating && html`<${CreateKey} projects=${keys.data?.[1]?.data ?? []} onClose=${() => setCreating(false)} onMade=${keys.reload} />`}
    </main>`;
}

/** What happened in the last day and the last thirty. */
const useSums = () => useRead(["/admin/series?last=24h&by=model&top=5", "/admin/series?last=30d"], { optional: true, resolve: untilNow });

/** @param {{ records: any[] }} props */
function Dashboard({ records }) {
  const sums = useSums();
  const state = useRead(["/admin/models", "/admin/engine"], { optional: true });
  const more = useRead(["/admin/keys", "/admin/health?hours=24", "/admin/providers", "/admin/config"], { optional: true, seldom: true });
  const models = state.data?.[0].data ?? [];
  const engine = state.data?.[1]?.missing ? null : (state.data?.[1] ?? null);
  const [keys, health, settings, config] = more.data ?? [];
  const providers = providersOf(models, settings?.data ?? [], health?.providers ?? []);
  return html`
    ${keys && !keys.missing && !config.server?.keys.value.length && html`<${KeyHint} keys=${keys.data} onMade=${more.reload} />`}
    <${Loaded} read=${sums} what=${nav.usage}>
      ${(/** @type {any[]} */ ...[day, month]) => html`
        <div class="stack">
          ${!day.missing && html`<${Figures} day=${day} month=${month} />`}
          <div class="split">
            <div class="stack"><${Sums} day=${day} /><${Latest} records=${records} /></div>
            <div class="stack">
              <${Loaded} read=${state} what=${nav.models}>${() => html`
                <${Attention} models=${models} providers=${providers} keys=${keys?.data ?? []} />
                ${engine && html`<${Machine} engine=${engine} />`}
                <${Providers} providers=${providers} />`}<//>
            </div>
          </div>
        </div>`}
    <//>`;
}

/** Says that programs need a key, as long as there is none. @param {{ keys: any[], onMade: () => void }} props */
function KeyHint({ keys, onMade }) {
  const [creating, setCreating] = useState(false);
  const isNeeded = me.value?.session && me.value.role === "admin" && keys.every((/** @type {any} */ key) => key.revoked_at);
  return html`
    ${isNeeded && html`<${Note} kind="above" icon="key">${first.needsKey} <button class="link" type="button" onClick=${() => setCreating(true)}>${first.createOne}</button><//>`}
    ${creating && html`<${CreateKey} projects=${[]} onClose=${() => setCreating(false)} onMade=${onMade} />`}`;
}

/** @param {{ records: any[] }} props */
const Latest = ({ records }) => html`
  <${Card} title=${text.latest} aside=${html`<a class="small" href=${href("requests")}>${nav.requests}</a>`}>
    <${RequestTable} records=${records} short />
  <//>`;

/** The last day, or why it is not known. @param {{ day: any }} props */
const Sums = ({ day }) => (day.missing
  ? html`<${EmptyCard} title=${words.usage.missing} text=${day.missing} />`
  : html`<${Day} day=${day} /><${TopModels} day=${day} />`);

/** @param {{ day: Series, month: Series }} props */
function Figures({ day, month }) {
  const { total } = day.all;
  const sums = month.all.total;
  return html`
    <dl class="figures">
      <${Figure} label=${text.requests} value=${count(total.requests)} note=${text.inDays(count(sums.requests))} />
      <${Figure} label=${text.spent} value=${dollars(total.cost)} note=${text.inDays(dollars(sums.cost))} />
      <${Figure} label=${words.requests.firstToken} value=${total.ttft_ms.p50 === null ? "–" : html`${seconds(total.ttft_ms.p50 * 1000)} <small>s</small>`}
        note=${total.ttft_ms.p95 === null ? text.noFirstToken : text.p95(words.usage.time(total.ttft_ms.p95))} />
      <${Figure} label=${words.usage.failed} value=${html`${shareOf(total.failures, total.requests)}<small>%</small>`} note=${text.failedRequests(total.failures, total.refusals)} />
    </dl>`;
}

/** Requests of the last day. @param {{ day: Series }} props */
const Day = ({ day }) => html`
  <${Card} title=${text.lastDay} aside=${html`<span class="small muted">${text.requestsAnHour}</span>`}>
    <div class="body"><${Chart} title=${text.lastDay} times=${day.times} step=${day.step} show=${count} height=${190}
      lines=${[{ name: nav.requests, color: 1, values: day.all.requests }]} /></div>
  <//>`;

/** @param {{ day: Series }} props */
function TopModels({ day: { groups } }) {
  return html`
    <${Card} title=${text.topModels} aside=${html`<a class="small" href=${href("usage")}>${nav.usage}</a>`}>
      ${groups.length === 0
        ? html`<div class="body small muted">${text.noneToday}</div>`
        : html`
          <div class="table-wrap"><table>
            <thead><tr><th>${words.models.model}</th><th class="hide-phone">${text.perHour}</th><th class="right">${nav.requests}</th><th class="right">${words.usage.cost}</th></tr></thead>
            <tbody>${groups.map(({ of, requests, total }) => html`
              <tr key=${of}><td class="medium mono small name">${groupName(of, "model")}</td><td class="hide-phone"><${Spark} values=${requests} /></td>
                <td class="right">${count(total.requests)}</td><td class="right medium">${dollars(total.cost)}</td></tr>`)}
            </tbody>
          </table></div>`}
    <//>`;
}

/** A small line without axes. @param {{ values: number[] }} props */
function Spark({ values }) {
  const most = Math.max(1, ...values);
  const points = values.map((value, index) => `${((index / Math.max(1, values.length - 1)) * 94 + 1).toFixed(1)} ${(21 - (value / most) * 18).toFixed(1)}`);
  return html`<svg class="spark" viewBox="0 0 96 24" aria-hidden="true"><path d=${`M${points.join("L")}`} fill="none" stroke="var(--c1)" stroke-width="1.5" stroke-linejoin="round" /></svg>`;
}

/** What somebody should do something about; nothing if there is nothing. @param {{ models: any[], providers: import("./providers.js").Provider[], keys: any[] }} props */
function Attention({ models, providers, keys }) {
  const down = providers.filter(({ models, working, fault }) => working === 0 && (models > 0 || fault));
  const now = Date.now() / 1000;
  const low = keys.filter((key) => !key.revoked_at && !(key.expires_at <= now && key.expires_at) && key.budget != null && Number(key.spent) > 0.9 * Number(key.budget));
  const unpriced = models.flatMap((model) => priceCommand(model.targets) ?? []);
  const n = down.length + low.length + (unpriced.length ? 1 : 0);
  if (n === 0) return null;
  return html`
    <${Card} title=${text.attention} aside=${html`<span class="tag warn">${n}</span>`}>
      <div class="body"><ul class="list small">
        ${down.map(({ name, models, fault, address }) => html`
          <li class="col"><${State} kind="bad" class="medium">${models > 0 ? text.down(name) : text.unused(name)}<//>
            <span class="muted name">${fault ? withCode(fault) : text.cooling} ${address && html`<code>${address}</code> `}<a href=${href(`providers?show=${encodeURIComponent(name)}`)}>${nav.providers}</a></span></li>`)}
        ${low.map((key) => html`
          <li class="col"><${State} kind="warn" class="medium">${text.budget(key.name, dollars(Math.max(0, Number(key.budget) - Number(key.spent))))}<//>
            <${Meter} full warn share=${Number(key.spent) / Number(key.budget)} />
            <span class="muted">${text.ofBudget(dollars(key.budget))} <a href=${href(`keys?find=${encodeURIComponent(key.name)}`)}>${nav.keys}</a></span></li>`)}
        ${unpriced.length > 0 && html`
          <li class="col"><${State} kind="warn" class="medium">${text.noPrice(unpriced.length)}<//>
            <span class="muted">${text.noPriceText} ${unpriced[0]} <a href=${href("models?price=none")}>${nav.models}</a></span></li>`}
      </ul></div>
    <//>`;
}

/** The model of this machine, read by itself. */
function LocalModel() {
  const read = useRead(["/admin/engine"], { optional: true });
  const engine = read.data?.[0];
  return engine && !engine.missing && html`<${Machine} engine=${engine} />`;
}

/** @param {{ engine: Engine }} props */
function Machine({ engine }) {
  const { running, waiting, cache, memory } = engine;
  const gigabytes = (/** @type {number} */ bytes) => (bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0);
  const [kind, state] = !engine.ready ? ["off", text.loading] : running > 0 ? ["live", text.running(running)] : ["good", text.ready];
  return html`
    <${Card} title=${text.local} aside=${html`<${State} kind=${kind} class="tiny">${state}<//>`}>
      <div class="body stack-3">
        <div><div class="medium name">${engine.model}</div>
          <div class="small muted">${[engine.compute, text.attentionOf(engine.attention), engine.kernels, text.context(contextSize(engine.context))].join(" · ")}</div></div>
        <dl class="facts">
          <dt>${text.speed}</dt><dd>${text.tokensPerSecond(engine.generated_tokens_per_second.toFixed(1))}</dd>
          <dt>${text.waitingNow}</dt><dd>${text.of(count(waiting), count(engine.queue))}</dd>
          <dt>${text.cache}</dt><dd>${text.tokensOf(compact(cache.used_tokens + cache.cached_tokens), compact(cache.tokens))}</dd>
          <dt>${text.prompts}</dt><dd>${text.cachedShare(shareOf(engine.cached_prompt_tokens, engine.prompt_tokens))}</dd>
          <dt>${text.memory}</dt><dd>${text.gigabytes(gigabytes(memory.weights + memory.cache), gigabytes(memory.total))}</dd>
        </dl>
      </div>
    <//>`;
}

/** @param {{ providers: import("./providers.js").Provider[] }} props */
function Providers({ providers }) {
  const remote = providers.filter(({ name }) => name !== "local");
  return html`
    <${Card} title=${text.providers} aside=${html`<a class="small" href=${href("providers")}>${words.all}</a>`}>
      <div class="body">
        ${remote.length === 0
          ? html`<p class="small muted">${text.noProviders}</p>`
          : html`<ul class="list small">${remote.slice(0, 8).map((provider) => {
            const [kind, state] = providerState(provider);
            const latest = provider.health?.ttft_p50_ms.findLast((ms) => ms !== null) ?? null;
            return html`<li><${State} kind=${kind} class="grow name">${provider.name}<//><span class="muted num">${kind === "good" && latest !== null ? words.usage.time(latest) : state}</span></li>`;
          })}</ul>`}
      </div>
    <//>`;
}

/** What a member sees: what their own keys asked and spent, and how to use them. */
function MemberOverview() {
  const latest = useRead([LATEST, "/admin/keys"], { optional: true });
  const sums = useSums();
  const [creating, setCreating] = useState(false);
  return html`
    <main id="main">
      <${Head} title=${nav.overview} text=${text.ownText}>
        <${Button} class="main" icon="plus" onClick=${() => setCreating(true)}>${first.makeKey}<//>
      <//>
      <${Loaded} read=${latest} what=${nav.requests}>
        ${(/** @type {any[]} */ ...[records, keys]) => html`
          <div class="stack">
            ${records.data.length > 0 && sums.data && !sums.data[0].missing && html`<${Figures} day=${sums.data[0]} month=${sums.data[1]} />`}
            <div class="split">
              <div class="stack">
                ${records.data.length > 0 && html`
                  <${Loaded} read=${sums} what=${nav.usage}>${(/** @type {any} */ day) => html`<${Sums} day=${day} />`}<//>
                  <${Latest} records=${records.data} />`}
                <${Card} title=${text.tryIt} aside=${html`<a class="small" href=${href("guide")}>${nav.guide}</a>`}>
                  <div class="body"><${Snippet} blocks=${FIRST_REQUEST} /></div>
                <//>
              </div>
              <${OwnKeys} keys=${keys.data.filter((/** @type {any} */ key) => !key.revoked_at)} />
            </div>
          </div>`}
      <//>
      ${creating && html`<${CreateKey} projects=${(me.value?.projects ?? []).map((name) => ({ name }))} onClose=${() => setCreating(false)} onMade=${latest.reload} />`}
    </main>`;
}

/** @param {{ keys: any[] }} props */
const OwnKeys = ({ keys }) => html`
  <${Card} title=${nav.keys} aside=${html`<a class="small" href=${href("keys")}>${words.all}</a>`}>
    <div class="body">
      ${keys.length === 0
        ? html`<p class="small muted">${words.keys.emptyText}</p>`
        : html`<ul class="list small">${keys.slice(0, 8).map((key) => html`
          <li key=${key.id}><span class="grow medium name">${key.name}</span><span class="muted">${dollars(key.spent)}${key.budget != null && ` ${words.keys.of(dollars(key.budget))}`}</span></li>`)}</ul>`}
    </div>
  <//>`;
