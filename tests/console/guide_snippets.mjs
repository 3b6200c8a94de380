// Runs every snippet of the API guide as its page fills it in: curl, Python and Node, against a server with the fixture model,
// and those of images and audio against a gateway to a provider of such models.
// `PYTHON=... CACHALOT=... node guide_snippets.mjs BASE_URL MODULES`: MODULES is a folder `node_modules` with the clients.
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [base, modules] = process.argv.slice(2);
const python = process.env.PYTHON ?? "python3";
const assets = resolve(process.env.ASSETS ?? join(import.meta.dirname, "../../crates/console/assets"));
const key = "sk-any";

// What the modules of the page expect of a browser.
globalThis.location = new URL(`${base}/console/guide`);
globalThis.localStorage = { getItem: () => null, setItem() {} };
const load = (file) => import(pathToFileURL(join(assets, file)).href);
const { parse } = await load("markdown.js");
const { fill, languageOf, parseCurl } = await load("snippet.js");

const folder = mkdtempSync(join(tmpdir(), "guide-"));
symlinkSync(resolve(modules), join(folder, "node_modules"));
const media = await startMedia();
let failed = 0;
let ran = 0;

for (const file of readdirSync(join(assets, "guide")).sort()) {
  const blocks = parse(readFileSync(join(assets, "guide", file), "utf8")).filter((token) => token.type === "code");
  const snippets = blocks.map(({ text, lang }) => ({ code: text, info: lang })).filter(({ info }) => ["bash", "python", "javascript"].includes(languageOf(info)));
  const isMedia = file === "images-audio-tasks.md";
  globalThis.location = new URL(isMedia ? media.url : base);
  for (const [index, snippet] of snippets.entries()) {
    await check(`${file} ${index + 1}, ${snippet.info}`, snippet, { key });
    // Where the tab knows no key, the snippet reads it from the environment.
    if (file === "start.md") await check(`${file} ${index + 1}, ${snippet.info}, key of the environment`, snippet, {});
  }
  if (!isMedia) {
    const curls = snippets.filter(({ info }) => info === "bash");
    const unread = curls.filter(({ code }) => parseCurl(code) === null);
    report(`${file}: the page can send its ${curls.length} requests`, unread.length === 0, unread.map(({ code }) => code).join("\n"));
  }
}
report("there are snippets", ran >= 40, `${ran} ran`);
media.stop();
rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);

function report(name, passed, detail) {
  if (!passed) failed += 1;
  console.log(passed ? `ok guide: ${name}` : `not ok guide: ${name}: ${detail.slice(0, 800).replaceAll("\n", " ⏎ ")}`);
}

/** Runs a snippet, and checks that it ends well and prints an answer. */
async function check(name, snippet, values) {
  ran += 1;
  const text = fill(snippet, { model: "deepseek-chat", ...values });
  const language = languageOf(snippet.info);
  const script = join(folder, { bash: "snippet.sh", python: "snippet.py", javascript: "snippet.mjs" }[language]);
  writeFileSync(script, text);
  const [program, ...args] = { bash: ["bash", script], python: [python, script], javascript: [process.execPath, script] }[language];
  const environment = { ...process.env, CACHALOT_KEY: key, NO_PROXY: "127.0.0.1" };
  const { code, out, error } = await new Promise((done) => {
    execFile(program, args, { cwd: folder, env: environment, timeout: 120_000 }, (fault, out, error) => done({ code: fault ? (fault.code ?? 1) : 0, out, error }));
  });
  const isFile = /-o hello|write_to_file|writeFile/.test(text);
  const isError = /^\s*\{\s*"(type"\s*:\s*"error|error)"/.test(out);
  const isUnfilled = text.includes("{{");
  report(name, code === 0 && !isError && !isUnfilled && (isFile || out.trim() !== ""), `${code} ${out} ${error}`);
}

/** A gateway to a provider of images and audio. */
async function startMedia() {
  const provider = createServer((request, response) => {
    request.resume();
    request.on("end", () => {
      const audio = request.url.endsWith("/audio/speech");
      const body = audio ? Buffer.from("ID3 whale") : JSON.stringify(
        request.url.endsWith("/images/generations") ? { created: 1, data: [{ url: "https://example.org/whale.png" }] } : { text: "Hello, whale." },
      );
      response.writeHead(200, { "content-type": audio ? "audio/mpeg" : "application/json", "content-length": Buffer.byteLength(body) });
      response.end(body);
    });
  });
  await new Promise((done) => provider.listen(0, "127.0.0.1", done));
  const config = join(folder, "media.toml");
  writeFileSync(config, `[[providers]]\nname = "media"\nbase_url = "http://127.0.0.1:${provider.address().port}/v1"\ndialect = "openai"\nprivate = true\nmodels = ["gpt-image-1", "tts-1", "whisper-1"]\n`);
  const gateway = spawn(process.env.CACHALOT, ["serve", "--model", "none", "--store", "off", "--listen", "127.0.0.1:0", "--config", config], {
    cwd: folder, env: { ...process.env, XDG_DATA_HOME: folder, XDG_CACHE_HOME: folder, XDG_CONFIG_HOME: folder },
  });
  let log = "";
  const url = await new Promise((found, fault) => {
    const read = (data) => {
      log += data;
      const match = /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(log);
      if (match) found(match[1]);
    };
    gateway.stdout.on("data", read);
    gateway.stderr.on("data", read);
    gateway.on("exit", () => fault(new Error(log)));
  });
  return { url, stop: () => {
    gateway.removeAllListeners("exit");
    gateway.kill();
    provider.closeAllConnections();
    provider.close();
  } };
}
