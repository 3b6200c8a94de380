// The walker over Markdown: whatever the text, only known elements, and links that lead nowhere unsafe. `node markdown.mjs`
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const assets = resolve(process.env.ASSETS ?? join(import.meta.dirname, "../../crates/console/assets"));
const { blocks, parse } = await import(pathToFileURL(join(assets, "markdown.js")).href);

const ELEMENTS = new Set([
  "a", "blockquote", "br", "code", "del", "div", "em", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "span", "strong", "table", "tbody",
  "td", "th", "thead", "tr", "ul", "mark",
]);
const ATTRIBUTES = new Set(["class", "href", "rel", "target", "start", "tabindex", "role", "children"]);

/** Every element of a tree, and its text. */
function walk(node, found = { elements: [], text: "" }) {
  if (node === null || node === undefined || typeof node === "boolean") return found;
  if (typeof node === "string" || typeof node === "number") found.text += node;
  else if (Array.isArray(node)) node.forEach((child) => walk(child, found));
  else {
    if (typeof node.type === "string") found.elements.push(node);
    walk(node.props.children, found);
  }
  return found;
}

const draw = (text) => walk(blocks(parse(text), {}));

const hostile = {
  script: "<script>alert(1)</script>\n\ntext <b onclick=alert(1)>bold</b>",
  image: "![x](https://tracker.example/a.png) <img src=x onerror=alert(1)>",
  svg: '<svg onload="alert(1)"><foreignObject><math><mtext></mtext></math></foreignObject></svg>',
  links: "[a](javascript:alert(1)) [b](JAVASCRIPT:alert(1)) [c](data:text/html,x) [d](vbscript:x) [e](  javascript:x) [f](&#106;avascript:alert(1)) <javascript:alert(1)>",
  relative: "[a](/admin/keys) [b](//evil.example) [c](#x) [d](?x)",
  controls: "a\u0000b\u202Ec\uD800d \uFFFD &#0; &#x110000; &nbsp;",
  table: "| <b>a</b> | b |\n|---|---|\n| [x](javascript:1) | `<i>` |",
  code: "```html\n<script>alert(1)</script>\n```\n\n```\"><img src=x>\nx\n```",
  half: "<scr",
  reference: "[x]: javascript:alert(1)\n\n[x] [y][x]",
};
for (const [name, text] of Object.entries(hostile)) {
  const { elements } = draw(text);
  for (const { type, props } of elements) {
    assert.ok(ELEMENTS.has(type), `${name}: <${type}>`);
    for (const attribute of Object.keys(props)) assert.ok(ATTRIBUTES.has(attribute), `${name}: ${type} ${attribute}`);
    if (type !== "a") continue;
    assert.match(props.href, /^(https?|mailto):/, name);
    assert.equal(props.rel, "noopener noreferrer", name);
  }
  console.log(`ok markdown: ${name}`);
}

assert.ok(draw(hostile.script).text.includes("<script>alert(1)</script>"));
assert.deepEqual(draw(hostile.links).elements.filter(({ type }) => type === "a"), []);
assert.equal(draw(hostile.image).elements.filter(({ type }) => type === "a").length, 1);
assert.equal(draw("a &amp; b &lt;c&gt; &eacute;").text, "a & b <c> &eacute;");
assert.ok(draw("[x](https://example.org)").elements.some(({ type, props }) => type === "a" && props.href === "https://example.org"));
console.log("ok markdown: raw HTML is text, images are links, entities are characters");

const limits = { quotes: `${">".repeat(10_000)} x`, lists: Array.from({ length: 2000 }, (_, index) => `${"  ".repeat(index)}- x`).join("\n"), brackets: "[".repeat(10_000), stars: "*a ".repeat(10_000), line: "x".repeat(1_000_000) };
for (const [name, text] of Object.entries(limits)) {
  // Time of the processor: other programs of the machine do not count. A lexer that grows too fast takes minutes.
  const before = process.cpuUsage();
  const found = draw(text);
  const { user, system } = process.cpuUsage(before);
  const passed = (user + system) / 1000;
  assert.ok(found.text.length > 0 && passed < 10_000, `${name}: ${passed} ms`);
  console.log(`ok markdown: ${name} in ${Math.round(passed)} ms of the processor`);
}

for (const file of ["start", "errors"]) assert.ok(draw(readFileSync(join(assets, "guide", `${file}.md`), "utf8")).elements.length > 10);
