// The request of a chat as code: curl, Python, Node, and the bytes themselves.
import { html, useState } from "../lib.js";
import { quoted } from "../format.js";
import { highlight } from "../highlight.js";
import { href } from "../router.js";
import { me, tabKey } from "../session.js";
import { usesTabKey } from "../snippet.js";
import { Copy, Dialog, Note, Tabs } from "../ui.js";
import { words } from "../words.js";
import { CHAT_PATH } from "./stream.js";

const text = words.playground;

/** Characters of a text in the code that are shown; copies have all. */
const SHOWN = 2_000;

/** The arguments that the client of Python has a name for; others go in `extra_body`. */
const NAMED = new Set([
  "model", "messages", "temperature", "top_p", "max_tokens", "seed", "stop", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs", "response_format",
  "tools", "stream", "stream_options",
]);

/** @param {string} body @param {string} base address of the server @param {string} key */
export const curl = (body, base, key) => `curl -N ${base}${CHAT_PATH} \\
  -H "Authorization: Bearer ${key}" \\
  -H "Content-Type: application/json" \\
  -d ${quoted(body)}`;

/** A value as Python writes it. @param {any} value @param {string} indent @returns {string} */
function pythonValue(value, indent) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const parts = Array.isArray(value)
    ? value.map((item) => inner + pythonValue(item, inner))
    : Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${pythonValue(item, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return parts.length === 0 ? open + close : `${open}\n${parts.join(",\n")},\n${indent}${close}`;
}

/** @param {string} body @param {string} base @param {string | null} key null: from the environment */
export function python(body, base, key) {
  const fields = Object.entries(JSON.parse(body));
  const others = fields.filter(([name]) => !NAMED.has(name));
  const given = fields.filter(([name]) => NAMED.has(name)).map(([name, value]) => `    ${name}=${pythonValue(value, "    ")},`);
  if (others.length > 0) given.push(`    extra_body=${pythonValue(Object.fromEntries(others), "    ")},`);
  return `${key ? "" : "import os\n"}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(`${base}/v1`)}, api_key=${key ? JSON.stringify(key) : 'os.environ["CACHALOT_KEY"]'})
stream = client.chat.completions.create(
${given.join("\n")}
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)`;
}

/** @param {string} body @param {string} base @param {string | null} key null: from the environment */
export const node = (body, base, key) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(`${base}/v1`)}, apiKey: ${key ? JSON.stringify(key) : "process.env.CACHALOT_KEY"} });
const stream = await client.chat.completions.create(${body});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");`;

/** @param {{ body: string, onClose: () => void }} props */
export function CodeDialog({ body, onClose }) {
  const [language, setLanguage] = useState("bash");
  const secret = usesTabKey.value ? (tabKey.value?.secret ?? null) : null;
  // A server without keys takes any.
  const base = location.origin;
  const codes = /** @type {Record<string, () => string>} */ ({
    bash: () => curl(body, base, secret ?? "$CACHALOT_KEY"), python: () => python(body, base, secret), javascript: () => node(body, base, secret), json: () => body,
  });
  const code = codes[language]();
  const shown = code.replace(/"(?:[^"\\]|\\.){2000,}"/g, (found) => `${found.slice(0, SHOWN / 10)}…"`);
  return html`
    <${Dialog} title=${text.viewCode} broad onClose=${onClose}>
      <p class="small soft">${text.codeText}${shown !== code && ` ${text.codeShortened}`}</p>
      <div class="code wraps">
        <header>
          <${Tabs} value=${language} choices=${Object.keys(codes).map((name) => [name, name === "json" ? text.rawJson : words.snippet.languages[name]])} onChange=${setLanguage} />
          <${Copy} text=${code} />
        </header>
        <pre tabindex="0"><code>${highlight(shown, language, secret ?? undefined)}</code></pre>
      </div>
      ${!secret && me.value?.session && html`<${Note} icon="key">${text.codeKey} <a href=${href("keys")}>${words.keys.create}</a><//>`}
    <//>`;
}
