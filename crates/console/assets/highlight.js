// Code as virtual nodes: the tokens of Prism are walked, and become elements of four classes.
import { html } from "./lib.js";
import { tokenize } from "./vendor/prism.af2dd3ba.js";

/** @type {Record<string, string>} */
const CLASSES = {
  keyword: "k", builtin: "k", "class-name": "k", tag: "k", property: "k", function: "", "attr-name": "k", selector: "k", atrule: "k", important: "k",
  string: "s", "template-string": "s", "triple-quoted-string": "s", "attr-value": "s", char: "s", url: "s", regex: "s",
  number: "n", boolean: "n", constant: "n", null: "n", variable: "n",
  comment: "c", prolog: "c", doctype: "c", cdata: "c", shebang: "c",
};

/** Text of more characters stays plain, so that no page waits for its colours. */
const LIMIT = 50_000;

/** @typedef {import("./vendor/prism.af2dd3ba.js").Token} Token */

/**
 * @param {string} code @param {string} language
 * @param {string} [marked] a text whose every occurrence is marked
 * @returns {any}
 */
export function highlight(code, language, marked) {
  const tokens = code.length > LIMIT ? [code] : tokenize(code, language);
  return tokens.map((token) => draw(token, marked));
}

/** @param {Token} token @param {string | undefined} marked @returns {any} */
function draw(token, marked) {
  if (typeof token === "string") return mark(token, marked);
  const content = Array.isArray(token.content) ? token.content.map((part) => draw(part, marked)) : draw(token.content, marked);
  const name = CLASSES[token.type];
  return name ? html`<span class=${name}>${content}</span>` : content;
}

/** @param {string} text @param {string | undefined} marked @returns {any} */
function mark(text, marked) {
  if (!marked || !text.includes(marked)) return text;
  return text.split(marked).flatMap((part, index) => (index === 0 ? [part] : [html`<mark>${marked}</mark>`, part]));
}
