// Markdown as virtual nodes: the tokens of marked are walked. No HTML is made from text: raw HTML
// stays text, links lead only where a reader may be led, and images become links.
import { Fragment, h, html } from "./lib.js";
import { highlight } from "./highlight.js";
import { lex } from "./vendor/marked.aae40afe.js";

/**
 * What a page draws in its own way. `code` gets consecutive code blocks, `link` the address of a link.
 * @typedef {{ code?: (blocks: { code: string, info: string }[]) => any, link?: (href: string) => string | null }} Options
 */

/** Blocks within blocks; what lies deeper is shown as its text. */
const MAX_DEPTH = 40;

/**
 * The tokens of a text. The lexer calls itself for each level of nesting; a text that is nested too deeply for that is one
 * token, which is shown as it is.
 * @param {string} text @returns {any[]}
 */
export function parse(text) {
  try {
    return lex(flatten(text));
  } catch (fault) {
    if (fault instanceof RangeError) return [{ type: "html", raw: text }];
    throw fault;
  }
}

/** A list item that is indented by more than 40 levels. */
const DEEP_ITEM = /^\s{80,}(?=[-*+\d])/;

/** Moves list items of more than 40 levels up, outside of code: the lexer's time grows with the cube of their depth. @param {string} text */
function flatten(text) {
  if (!/^\s{80,}[-*+\d]/m.test(text)) return text;
  let inCode = false;
  return text.split("\n").map((line) => {
    if (/^\s*(```|~~~)/.test(line)) inCode = !inCode;
    return inCode ? line : line.replace(DEEP_ITEM, " ".repeat(80));
  }).join("\n");
}

/** @param {{ text: string }} props */
export const Markdown = ({ text }) => html`<div class="prose">${blocks(parse(text), {})}</div>`;

/** @param {any[]} tokens @param {Options} options @param {number} [depth] @returns {any} */
export function blocks(tokens, options, depth = 0) {
  if (depth > MAX_DEPTH) return tokens.map((token) => token.raw);
  const drawn = [];
  for (let index = 0; index < tokens.length; index++) {
    if (tokens[index].type === "code" && options.code) {
      const group = [];
      for (; index < tokens.length && (tokens[index].type === "code" || tokens[index].type === "space"); index++) {
        if (tokens[index].type === "code") group.push({ code: tokens[index].text, info: tokens[index].lang ?? "" });
      }
      index--;
      drawn.push(options.code(group));
    } else {
      drawn.push(block(tokens[index], options, depth));
    }
  }
  return drawn;
}

/** @param {any} token @param {Options} options @param {number} depth @returns {any} */
function block(token, options, depth) {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      // The page has a heading of the first level itself.
      return h(`h${Math.min(6, token.depth + 1)}`, {}, inline(token.tokens, options, depth));
    case "paragraph":
      return html`<p>${inline(token.tokens, options, depth)}</p>`;
    case "code":
      return html`<div class="code"><pre tabindex="0"><code>${highlight(token.text, (token.lang ?? "").split(" ")[0])}</code></pre></div>`;
    case "blockquote":
      return html`<blockquote>${blocks(token.tokens, options, depth + 1)}</blockquote>`;
    case "list":
      return h(token.ordered ? "ol" : "ul", token.ordered && token.start > 1 ? { start: token.start } : {}, token.items.map(
        (/** @type {any} */ item) => html`<li>${blocks(item.tokens, options, depth + 1)}</li>`,
      ));
    case "table":
      return table(token, options, depth);
    case "checkbox":
      return token.checked ? "☑ " : "☐ ";
    case "hr":
      return html`<hr class="rule" />`;
    case "text":
      return token.tokens ? inline(token.tokens, options, depth) : decode(token.text);
    default:
      return html`<p>${token.raw}</p>`;
  }
}

/** @param {any} token @param {Options} options @param {number} depth */
function table(token, options, depth) {
  const cell = (/** @type {string} */ tag) => (/** @type {any} */ content, /** @type {number} */ column) =>
    h(tag, { class: token.align[column] === "right" ? "right" : undefined }, inline(content.tokens, options, depth));
  return html`
    <div class="card table-wrap" tabindex="0" role="group">
      <table>
        <thead><tr>${token.header.map(cell("th"))}</tr></thead>
        <tbody>${token.rows.map((/** @type {any[]} */ row) => html`<tr>${row.map(cell("td"))}</tr>`)}</tbody>
      </table>
    </div>`;
}

/** @param {any[]} tokens @param {Options} options @param {number} depth @returns {any} */
function inline(tokens, options, depth) {
  if (depth > MAX_DEPTH) return tokens.map((token) => token.raw);
  return tokens.map((token) => span(token, options, depth + 1));
}

/** @param {any} token @param {Options} options @param {number} depth @returns {any} */
function span(token, options, depth) {
  switch (token.type) {
    case "strong":
    case "em":
    case "del":
      return h(token.type, {}, inline(token.tokens, options, depth));
    case "codespan":
      return html`<code>${token.text}</code>`;
    case "br":
      return html`<br />`;
    case "link":
      return link(token.href, inline(token.tokens, options, depth), options);
    case "image":
      // An image would tell a third party who reads.
      return link(token.href, token.text || token.href, options);
    case "text":
      return token.tokens ? inline(token.tokens, options, depth) : decode(token.text);
    case "escape":
      return token.text;
    default:
      return token.raw;
  }
}

/** @param {string} address @param {any} content @param {Options} options */
function link(address, content, options) {
  const own = options.link?.(address);
  if (own) return html`<a href=${own}>${content}</a>`;
  if (!isSafe(address)) return h(Fragment, {}, content);
  return html`<a href=${address} target="_blank" rel="noopener noreferrer">${content}</a>`;
}

/** Whether an address leads to a web page or to a mail: nothing that runs, nothing relative. @param {string} address */
function isSafe(address) {
  try {
    return ["http:", "https:", "mailto:"].includes(new URL(address).protocol);
  } catch {
    return false;
  }
}

/** @type {Record<string, string>} */
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

/** The characters that a text names: `&lt;`, `&#233;`. Others stay as they are. @param {string} text */
function decode(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w{2,5}));/gi, (whole, decimal, hex, name) => {
    if (name) return ENTITIES[name] ?? whole;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
