// Snippets of the API guide: filled in, copied, and run from the page.
import { html, signal, useEffect, useMaybe, useRef } from "./lib.js";
import { EventReader, catalog, costOf, textOf, usageOf } from "./answers.js";
import { faultOf, send } from "./calls.js";
import { count, dollars, seconds } from "./format.js";
import { highlight } from "./highlight.js";
import { href } from "./router.js";
import { me, tabKey } from "./session.js";
import { Button, Copy, Note, Tabs, faultText } from "./ui.js";
import { words } from "./words.js";

const own = words.snippet;

/** @typedef {{ code: string, info: string }} Block A code block of the guide: `info` is its language, and the client if it is not openai. */

/** The language that was chosen last, everywhere. */
const chosen = signal(stored("language") ?? "bash");

/** The model that snippets name; empty until the models are known. */
export const snippetModel = signal("");

/** Whether snippets hold the key of this tab. */
export const usesTabKey = signal(true);

/** @param {string} name */
function stored(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** Chooses the model of the snippets from what the key may use. */
export async function chooseModel() {
  if (snippetModel.value) return;
  const ids = (await catalog().catch(() => [])).filter((model) => model.model_type === "text").map((model) => model.id);
  snippetModel.value = ids.includes("deepseek-chat") ? "deepseek-chat" : (ids[0] ?? "deepseek-chat");
}

/**
 * A snippet with address, key and model. The key is that of this tab, or the environment variable CACHALOT_KEY.
 * @param {Block} block @param {{ key?: string, model?: string }} [values]
 */
export function fill({ code, info }, values = {}) {
  const key = values.key ?? (usesTabKey.value ? tabKey.value?.secret : undefined);
  const language = languageOf(info);
  let text = code.replaceAll("{{base_url}}", location.origin).replaceAll("{{model}}", values.model ?? (snippetModel.value || "deepseek-chat"));
  if (key) return text.replaceAll("{{key}}", key);
  if (language === "python" && text.includes('"{{key}}"')) text = `import os\n${text.replaceAll('"{{key}}"', 'os.environ["CACHALOT_KEY"]')}`;
  if (language === "javascript") text = text.replaceAll('"{{key}}"', "process.env.CACHALOT_KEY");
  return text.replaceAll("{{key}}", "$CACHALOT_KEY");
}

/** @param {string} info */
export const languageOf = (info) => ({ sh: "bash", js: "javascript" })[info.split(" ")[0]] ?? info.split(" ")[0];

/** @param {Block} block */
function label({ info }) {
  const [, client] = info.split(" ");
  const language = own.languages[languageOf(info)] ?? info;
  return client ? `${language}, ${client}` : language;
}

/** Code blocks that do the same in several languages. @param {{ blocks: Block[], secret?: string }} props */
export function Snippet({ blocks, secret }) {
  useEffect(() => {
    chooseModel();
  }, []);
  const matching = blocks.findIndex((block) => languageOf(block.info) === chosen.value);
  const shown = blocks[Math.max(0, matching)];
  const values = secret ? { key: secret } : {};
  const text = fill(shown, values);
  const runnable = blocks.map((block) => (languageOf(block.info) === "bash" ? parseCurl(block.code) : null)).find(Boolean);
  const choose = (/** @type {string} */ info) => {
    chosen.value = languageOf(info);
    try {
      localStorage.setItem("language", chosen.value);
    } catch {
      // The choice lasts as long as the page.
    }
  };
  return html`
    <div class="code wraps">
      <header>
        ${blocks.length > 1
          ? html`<${Tabs} value=${shown.info} choices=${blocks.map((block) => [block.info, label(block)])} onChange=${choose} />`
          : html`<span class="grow">${label(shown)}</span>`}
        <${Copy} text=${() => fill(shown, values)} />
      </header>
      <pre tabindex="0"><code>${highlight(text, languageOf(shown.info), secret ?? (usesTabKey.value ? tabKey.value?.secret : undefined))}</code></pre>
    </div>
    ${runnable && !secret && html`<${Run} request=${runnable} />`}`;
}

/** @typedef {{ method: string, path: string, headers: Record<string, string>, body: string | undefined }} CurlRequest */

/**
 * The request of a curl command as the guide writes them; null for one that this page cannot send.
 * @param {string} command @returns {CurlRequest | null}
 */
export function parseCurl(command) {
  const parts = [...command.replace(/\\\n/g, " ").matchAll(/'([^']*)'|"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, single, double, plain]) => single ?? double?.replace(/\\(.)/g, "$1") ?? plain,
  );
  if (parts.shift() !== "curl") return null;
  /** @type {CurlRequest} */
  const request = { method: "", path: "", headers: {}, body: undefined };
  while (parts.length > 0) {
    const part = /** @type {string} */ (parts.shift());
    if (part === "-N" || part === "-s") continue;
    if (part === "-d") request.body = parts.shift();
    else if (part === "-X") request.method = parts.shift() ?? "";
    else if (part === "-H") {
      const [name, value] = (parts.shift() ?? "").split(/:\s*/, 2);
      if (!/^(authorization|x-api-key|x-goog-api-key)$/i.test(name)) request.headers[name.toLowerCase()] = value;
    } else if (part.startsWith("{{base_url}}")) request.path = part.slice("{{base_url}}".length);
    else return null;
  }
  request.method ||= request.body === undefined ? "GET" : "POST";
  return request.path ? request : null;
}

/** The headers with which this page may call models. */
export function keyHeaders() {
  if (me.value?.session) {
    const id = tabKey.value?.id ?? me.value.keys?.[0];
    return /** @type {Record<string, string>} */ (id ? { "x-cachalot-key": id } : {});
  }
  return /** @type {Record<string, string>} */ (tabKey.value ? { authorization: `Bearer ${tabKey.value.secret}` } : {});
}

/** Sends the request of a snippet, and shows what came. @param {{ request: CurlRequest, children?: any, onDone?: () => void }} props */
export function Run({ request, children, onDone }) {
  const [answer, setAnswer] = useMaybe();
  /** @type {{ current: AbortController | null }} */
  const running = useRef(null);
  useEffect(() => () => running.current?.abort(), []);
  const run = async () => {
    const headers = keyHeaders();
    if (me.value?.session && !headers["x-cachalot-key"]) {
      setAnswer({ needsKey: true });
      return;
    }
    const stop = (running.current = new AbortController());
    const began = performance.now();
    setAnswer({ busy: true, text: "" });
    try {
      const body = request.body?.replaceAll("{{model}}", snippetModel.value || "deepseek-chat");
      const path = request.path.replaceAll("{{model}}", encodeURIComponent(snippetModel.value || "deepseek-chat"));
      const response = await send(request.method, path, {
        body: body === undefined ? undefined : JSON.parse(body),
        headers: { ...request.headers, ...headers },
        signal: stop.signal,
      });
      if (!response.ok) throw await faultOf(response);
      const text = await readText(response, (text) => setAnswer({ busy: true, text }));
      const { pretty, usage } = readAnswer(text);
      const model = body ? JSON.parse(body).model : undefined;
      const cost = usage && (await costOf(model ?? /models\/([^:/]+)/.exec(path)?.[1] ?? "", usage));
      setAnswer({ text: pretty, usage, cost, id: response.headers.get("x-request-id"), took: (performance.now() - began) * 1000 });
      onDone?.();
    } catch (fault) {
      if (stop.signal.aborted) setAnswer((/** @type {any} */ before) => ({ ...before, busy: false }));
      else setAnswer({ fault });
    }
    running.current = null;
  };
  return html`
    <div class="run">
      <div class="row wrap">
        ${answer?.busy
          ? html`<${Button} class="small" onClick=${() => running.current?.abort()}>${own.stop}<//>`
          : html`<${Button} class="small" icon="play" onClick=${run}>${own.run}<//>`}
        ${children}
        ${answer && !answer.busy && !answer.fault && !answer.needsKey && html`<${Measures} answer=${answer} />`}
      </div>
      <div aria-live="polite">
        ${answer?.needsKey && html`<${Note} icon="key">${own.needsKey} <a href=${href("keys")}>${words.nav.keys}</a><//>`}
        ${answer?.fault && html`
          <${Note} kind="bad">${faultText(answer.fault)}${answer.fault.requestId && html`<div class="tiny mono">${answer.fault.requestId}</div>`}<//>`}
        ${answer?.text && html`<div class="code answer"><header><span class="grow">${own.answer}</span><${Copy} text=${answer.text} /></header>
          <pre tabindex="0"><code>${answer.busy ? answer.text : highlight(answer.text, "json")}</code></pre></div>`}
      </div>
    </div>`;
}

/** @param {{ answer: any }} props */
const Measures = ({ answer: { usage, cost, id, took } }) => html`
  <span class="measure">
    ${usage && html`<span>${own.tokens(count(usage.input), count(usage.output))}</span>`}
    <span>${own.took(seconds(took))}</span>
    ${usage && html`<span>${cost === null ? own.noPrice : own.cost(dollars(cost))}</span>`}
    ${id && html`<span class="mono">${id}</span>`}
  </span>`;

/** @param {Response} response @param {(text: string) => void} show */
async function readText(response, show) {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) return response.text();
  let text = "";
  for await (const piece of textOf(response.body)) show((text += piece));
  return text;
}

/** The text of an answer, indented where it is JSON, and its usage. @param {string} text */
function readAnswer(text) {
  const whole = parse(text);
  if (whole) return { pretty: JSON.stringify(whole, null, 2), usage: usageOf(whole) };
  const events = new EventReader();
  const usages = [...events.push(text), ...events.end()].map(({ data }) => usageOf(parse(data) ?? {}));
  return { pretty: text, usage: usages.findLast((usage) => usage !== null) ?? null };
}

/** The object that a text of JSON holds; null for anything else. @param {string} text */
function parse(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
