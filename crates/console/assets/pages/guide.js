// The API guide: Markdown files, with snippets that are filled in and can be run.
import { html, useEffect, useState } from "../lib.js";
import { catalog } from "../answers.js";
import { send } from "../calls.js";
import { dollars, price } from "../format.js";
import { blocks, parse } from "../markdown.js";
import { Loaded, useFile } from "../read.js";
import { go, href, path } from "../router.js";
import { me, tabKey } from "../session.js";
import { Snippet, chooseModel, keyHeaders, languageOf, snippetModel, usesTabKey } from "../snippet.js";
import { Head, Select } from "../ui.js";
import { words } from "../words.js";

const own = words.guide;

/** The topics in their order: name of the file, title. @type {[string, string][]} */
const TOPICS = [
  ["start", own.topics.start], ["keys", own.topics.keys], ["chat", own.topics.chat], ["streaming", own.topics.streaming],
  ["thinking", own.topics.thinking], ["tools", own.topics.tools], ["json", own.topics.json],
  ["images-audio-tasks", own.topics.media], ["anthropic-gemini-responses", own.topics.others], ["models", own.topics.models],
  ["limits", own.topics.limits], ["errors", own.topics.errors],
];

/** Languages of snippets; other code blocks are examples of what comes back. */
const RUNNABLE = ["bash", "python", "javascript"];

export default function Guide() {
  const topic = path.value.split("/")[1] || "start";
  const known = TOPICS.find(([name]) => name === topic);
  useEffect(() => {
    if (!known) go("guide");
  }, [known]);
  const file = useFile(`/console/guide/${known ? topic : "start"}.md`);
  return html`
    <main id="main" class="wide">
      <div class="docs">
        <nav aria-label=${own.on}>
          ${TOPICS.map(([name, title]) => html`<a href=${href(name === "start" ? "guide" : `guide/${name}`)} aria-current=${name === topic ? "page" : undefined}>${title}</a>`)}
        </nav>
        <div class="docs-body">
          <${Loaded} read=${file} what=${own.title}>
            ${(/** @type {string} */ text) => html`<${Article} key=${topic} text=${text} topic=${topic} />`}
          <//>
        </div>
      </div>
    </main>`;
}

/** @param {{ text: string, topic: string }} props */
function Article({ text, topic }) {
  const tokens = parse(text.replaceAll("{{base_url}}", location.origin).replaceAll("{{model}}", snippetModel.value || "deepseek-chat"));
  const title = tokens[0]?.type === "heading" ? tokens[0].text : own.title;
  // The snippets need their placeholders, the text does not.
  const raw = parse(text);
  /** @type {{ heading: any, text: any[], code: any[] }[]} */
  const sections = [{ heading: null, text: [], code: [] }];
  tokens.slice(1).forEach((token, index) => {
    if (token.type === "heading" && token.depth === 2) sections.push({ heading: token, text: [], code: [] });
    else sections[sections.length - 1][token.type === "code" && token.lang !== "models" ? "code" : "text"].push(token.type === "code" ? raw[index + 1] : token);
  });
  return html`
    <article class="prose">
      <div class="docs-head">
        <${Head} title=${title} />
        <${Choices} />
      </div>
      ${sections.filter((section) => section.text.length + section.code.length > 0).map((section) => html`<${Section} section=${section} />`)}
      <p class="small"><a href=${`/console/guide/${topic}.md`} target="_blank">${own.asText}</a></p>
    </article>`;
}

/** Text beside its code. @param {{ section: { heading: any, text: any[], code: any[] } }} props */
function Section({ section: { heading, text, code } }) {
  const options = {
    link: (/** @type {string} */ address) => (/^(guide(\/[\w-]+)?|keys|requests|models)$/.test(address) ? href(address) : null),
    code: () => html`<${ModelTable} />`,
  };
  const snippets = code.map((token) => ({ code: token.text, info: token.lang ?? "" }));
  const groups = [];
  for (const block of snippets) {
    const last = groups[groups.length - 1];
    const isNew = !last || languageOf(block.info) === "bash" || !RUNNABLE.includes(languageOf(block.info));
    if (isNew) groups.push([block]);
    else last.push(block);
  }
  return html`
    <section class=${code.length ? "with-code" : ""}>
      <div>
        ${heading && html`<h2>${heading.text}</h2>`}
        ${blocks(text, options)}
      </div>
      ${code.length > 0 && html`<div class="aside">${groups.map((group) => html`<div><${Snippet} blocks=${group} /></div>`)}</div>`}
    </section>`;
}

/** Key and model of the snippets. */
function Choices() {
  const [ids, setIds] = useState(/** @type {string[]} */ ([]));
  useEffect(() => {
    usable().then(setIds);
  }, [tabKey.value?.id]);
  if (!me.value) return null;
  const keys = [["environment", own.keyFromEnvironment]];
  if (tabKey.value) keys.unshift(["tab", own.keyInTab(tabKey.value.name)]);
  const models = [...new Set([snippetModel.value, ...ids])].filter(Boolean).sort();
  return html`
    <div class="row wrap choices">
      <label class="field"><span class="label">${own.key}</span>
        <${Select} value=${tabKey.value && usesTabKey.value ? "tab" : "environment"} choices=${keys}
          onChange=${(/** @type {string} */ value) => {
            usesTabKey.value = value === "tab";
          }} />
      </label>
      ${models.length > 0 && html`<label class="field"><span class="label">${own.model}</span>
        <${Select} value=${snippetModel.value} choices=${models.map((id) => [id, id])} onChange=${(/** @type {string} */ value) => {
          snippetModel.value = value;
        }} /></label>`}
    </div>`;
}

/** The models that the key may use; all where no key is known. */
async function usable() {
  await chooseModel();
  try {
    const headers = keyHeaders();
    const response = me.value?.session && !headers["x-cachalot-key"] ? null : await send("GET", "/v1/models", { headers });
    /** @type {string[]} */
    const ids = response?.ok ? (await response.json()).data.map((/** @type {any} */ model) => model.id) : (await catalog()).map((model) => model.id);
    if (ids.length > 0 && !ids.includes(snippetModel.value)) snippetModel.value = ids[0];
    return ids;
  } catch {
    // The snippets name the model that they had.
    return [];
  }
}

/** The models of this server, as they are. */
function ModelTable() {
  const [models, setModels] = useState(/** @type {any[] | null} */ (null));
  useEffect(() => {
    catalog().then(setModels, () => setModels([]));
  }, []);
  if (models === null) return null;
  if (models.length === 0) return html`<p class="soft">${own.noModels}</p>`;
  const shown = models.slice(0, 25);
  return html`
    <div class="card table-wrap" tabindex="0" role="group" aria-label=${own.models}><table>
      <thead><tr><th>${words.models.model}</th><th class="hide-phone">${words.models.by}</th><th class="right">${words.models.input}</th>
        <th class="right hide-phone">${words.models.cached}</th><th class="right">${words.models.output}</th></tr></thead>
      <tbody>${shown.map(({ id, provider, pricing }) => html`
        <tr key=${id}><td><code>${id}</code></td><td class="hide-phone">${provider}</td>
          <td class="right">${pricing.per_request != null ? own.perCall(dollars(pricing.per_request)) : price(pricing.input)}</td>
          <td class="right hide-phone">${price(pricing.cached_input)}</td><td class="right">${price(pricing.output)}</td></tr>`)}</tbody>
    </table></div>
    ${models.length > shown.length && html`<p class="small soft">${own.moreModels(models.length - shown.length)}<a href=${href("models")}>${words.nav.models}</a>.</p>`}`;
}
