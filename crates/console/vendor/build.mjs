// Bundles the vendored libraries into ../assets/vendor, each named by the start of its SHA-256.
// `npm ci && node build.mjs`; the results are committed, so that building the program needs no Node.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const out = new URL("../assets/vendor/", import.meta.url);
const here = new URL(".", import.meta.url);
const types = {
  preact: readFileSync(new URL("preact.js", here), "utf8").replace(/^import htm.*\n|^import \{ h \}.*\n|^export const html.*\n/gm, "")
    + 'export declare const html: (strings: TemplateStringsArray, ...values: any[]) => import("preact").ComponentChildren;\n',
  marked: 'export declare const lex: (text: string) => import("marked").Token[];\n',
  prism: 'export type Token = string | { type: string, content: string | Token | Token[] };\n'
    + "export declare const tokenize: (code: string, language: string) => Token[];\n",
};

// What the console does not use: the loose grammar of marked, what Prism does to pages, and the commands that bash knows, which are not coloured.
const UNUSED = {
  "rules.ts": [
    /\/\*\*\s+\* Pedantic grammar[\s\S]*?(?=\/\*\*\s+\* Inline-Level Grammar)/, /\/\*\*\s+\* Pedantic Inline Grammar[\s\S]*?(?=\/\*\*\s+\* GFM Inline Grammar)/,
    /\/\*\*\s+\* GFM \+ Line Breaks[\s\S]*?(?=\/\*\*\s+\* exports)/, /  pedantic: blockPedantic,/, /  breaks: inlineBreaks,\s+pedantic: inlinePedantic,/,
  ],
  "prism-core.js": [
    /\/\*\*\s+\* This is the most high-level function[\s\S]*?(?=\/\*\*\s+\* Low-level function, only use if you know)/,
    /if \(!_self\.document\) \{[\s\S]*?(?=return _;\s+\}\(_self\)\);)/,
  ],
  "prism-bash.js": [/'function': \{\s+pattern: \/\(\^\|[\s\S]*?\},\s+(?='keyword')/],
};

/** The source of a file without what is not used. */
function used(name, source) {
  return (UNUSED[name] ?? []).reduce((text, part) => {
    if (!part.test(text)) throw new Error(`${name} has changed: ${part} is not in it`);
    return text.replace(part, "");
  }, source);
}

// marked is published as one module, whose parts cannot be left out. Its source map has the sources, so that only what the lexer imports is bundled.
const map = JSON.parse(readFileSync(new URL("node_modules/marked/lib/marked.esm.js.map", here), "utf8"));
const sources = new Map(map.sources.map((path, index) => [path.replace("../src/", ""), map.sourcesContent[index]]));
const usedParts = {
  name: "used-parts",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^marked\// }, ({ path }) => ({ path: path.slice(7), namespace: "marked" }));
    onResolve({ filter: /^\.\//, namespace: "marked" }, ({ path }) => ({ path: path.slice(2), namespace: "marked" }));
    onLoad({ filter: /./, namespace: "marked" }, ({ path }) => ({ contents: used(path, sources.get(path)), loader: "ts" }));
    onLoad({ filter: /prism-\w+\.js$/ }, ({ path }) => ({ contents: used(path.split("/").at(-1), readFileSync(path, "utf8")) }));
  },
};

for (const file of readdirSync(out)) if (/\.(js|d\.ts)$/.test(file)) rmSync(new URL(file, out));
const exported = [];
for (const name of ["preact", "marked", "prism"]) {
  const { outputFiles } = await build({
    entryPoints: [`${name}.js`], absWorkingDir: here.pathname, bundle: true, minify: true, format: "esm", target: "es2022",
    legalComments: "none", write: false, plugins: [usedParts],
  });
  const text = outputFiles[0].text;
  const sha256 = createHash("sha256").update(text).digest("hex");
  const file = `${name}.${sha256.slice(0, 8)}`;
  writeFileSync(new URL(`${file}.js`, out), text);
  writeFileSync(new URL(`${file}.d.ts`, out), types[name]);
  exported.push(`${name} ${file}.js ${text.length} bytes ${sha256}`);
}
console.log(exported.join("\n"));
