// The playground and the comparison in Chromium, against `cachalot serve --model fixture` and a provider of this file that records what it gets.
// `CACHALOT=... [PYTHON=... MODULES=...] node playground.mjs HOSTILE_FOLDER`: with PYTHON and MODULES (a folder `node_modules`), the snippets of "View
// code" also run with the clients of OpenAI. `ONLY=name,name` runs some parts.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const hostileFolder = process.argv[2];
const only = process.env.ONLY?.split(",");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "playground-"));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const MARKUP = '<img src=x onerror="globalThis.ran=1">';
const KEY = "sk-any";

const provider = await startProvider();
const gateway = await startGateway();
const { base } = gateway;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"], viewport: { width: 1440, height: 900 }, acceptDownloads: true });
let page = await newPage();
/** Errors of the browser that nothing in this test expects. */
const faults = [];
/** Errors that the running part of the test causes itself. */
let expected = /^$/;

function check(name, passed, detail = "") {
  assert.ok(passed, `${name} ${detail}`);
  console.log(`ok playground: ${name}`);
}

async function newPage() {
  const made = await context.newPage();
  made.setDefaultTimeout(60_000);
  made.on("console", (message) => message.type() === "error" && !expected.test(message.text()) && faults.push(message.text()));
  made.on("pageerror", (error) => faults.push(error.stack));
  made.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  made.on("request", (request) => !request.url().startsWith(base) && !/^(data|blob):/.test(request.url()) && faults.push(`asks ${request.url()}`));
  return made;
}

/** A new conversation with a model of the provider. */
async function open(model = "echo", path = "playground") {
  await page.goto(`${base}/console/${path}`);
  await page.getByLabel("Message").waitFor();
  await page.getByLabel("Model").first().waitFor();
  if (path === "playground") await page.getByLabel("Model").selectOption(model);
}

async function send(text) {
  await page.getByLabel("Message").last().fill(text);
  await page.keyboard.press("Enter");
}

/** Waits until nothing runs. */
async function ended() {
  await page.getByRole("button", { name: "Send", exact: true }).waitFor();
}

const answers = () => page.locator(".turn:not(.user)");
/** The last text of an answer that has these words. */
const shown = (words) => page.locator(".said-text", { hasText: words }).last();
const lastText = () => answers().last().locator(".said-text").last().innerText();

async function streaming() {
  await open("thinker");
  await send("slow: one two three four five six seven eight");
  const state = page.locator(".state.live");
  await state.waitFor();
  check("the state of a running answer is shown", /waiting|writing/.test(await state.innerText()));
  await ended();
  await open("thinker");
  await send("say: The **whale** dives. | Then it rests.");
  await ended();
  check("an answer of Markdown", (await lastText()) === "The whale dives. Then it rests." && (await answers().locator("strong").innerText()) === "whale");
  const fold = page.getByRole("button", { name: /Thought for/ });
  check("reasoning is folded, with its time and tokens", /Thought for [\d.]+ s\s*·\s*7 tokens/.test(await fold.innerText()) && (await page.getByText("I think of whales.").count()) === 0);
  await fold.click();
  check("and opens", await page.getByText("I think of whales.").isVisible());
  const measures = (await answers().locator(".measure").innerText()).replaceAll("\n", " ");
  check("measures from the usage", /[\d.]+ s to first token/.test(measures) && /\d tokens\/s/.test(measures) && measures.includes("1,204 in, 1,152 cached") && measures.includes("398 out, 7 for reasoning") && /req_\w+/.test(measures) && !measures.includes("~"), measures);
  check("its end is announced once", (await page.locator("main > [role=status]").innerText()).startsWith("The **whale**"));
  await open("deepseek-chat");
  await send("Hello");
  await ended();
  const local = await answers().locator(".measure").innerText();
  check("the local model answers, with the cost by its prices", /\$0\.0000\d+/.test(local), local);
  check("the context that is used", /^[1-9]\d* tokens/.test(await page.locator(".depth").textContent()) && (await page.locator(".depth").textContent()).includes("8K"));
}

async function parameters() {
  const panel = page.locator("#playground-panel");
  await panel.getByLabel("Max tokens").fill("0");
  check("a wrong number is said at its field", await panel.getByText("A whole number from 1").isVisible());
  await page.getByLabel("Message").fill("x");
  check("and nothing can be sent", await page.getByRole("button", { name: "Send", exact: true }).isDisabled());
  await panel.getByLabel("Max tokens").fill("64");
  await panel.getByLabel("Seed").fill("7");
  await panel.getByLabel("System").fill("Be brief.");
  await panel.getByLabel("Temperature", { exact: true }).fill("0.5");
  await panel.getByLabel("Top p", { exact: true }).fill("0.9");
  await panel.getByRole("group", { name: "Thinking" }).getByRole("button", { name: "off" }).click();
  await panel.getByText("More parameters").click();
  await panel.getByLabel("Stop sequences").fill("END\\n\nSTOP");
  await panel.getByLabel("Frequency penalty", { exact: true }).fill("0.25");
  await panel.getByLabel("Presence penalty", { exact: true }).fill("-0.5");
  await panel.getByLabel("Top log-probabilities").fill("2");
  await send("say: one two");
  await ended();
  const { messages, model, stream, ...body } = JSON.parse(provider.last());
  assert.deepEqual(body, {
    temperature: 0.5, top_p: 0.9, max_tokens: 64, seed: 7, stop: ["END\n", "STOP"], frequency_penalty: 0.25, presence_penalty: -0.5, logprobs: true, top_logprobs: 2,
    thinking: { type: "disabled" }, stream_options: { include_usage: true },
  });
  check("every parameter is sent", model === "echo" && stream === true && messages[0].content === "Be brief." && messages[0].role === "system");
  await page.getByRole("button", { name: "Tokens", exact: true }).click();
  await page.locator(".token").first().hover();
  check("alternatives of a token show on hover", /other\s*13\.5 %/.test(await page.getByRole("tooltip").innerText()), await page.getByRole("tooltip").innerText());
  await panel.getByRole("button", { name: "Temperature: back to the default" }).click();
  await send("say: again");
  await ended();
  check("a default is left out", !("temperature" in JSON.parse(provider.last())));
}

async function stopping() {
  await send("slow: one two three four five six seven eight nine ten eleven twelve");
  await shown("one two").waitFor();
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await ended();
  const text = await lastText();
  check("what came before a stop stays", text.startsWith("one two") && !text.includes("twelve") && (await page.getByText("Stopped", { exact: true }).isVisible()));
  for (let wait = 0; wait < 100 && provider.aborted === 0; wait++) await sleep(100);
  check("the provider's connection is closed", provider.aborted > 0);
  await page.getByRole("button", { name: "Continue", exact: true }).click();
  await ended();
  const { messages } = JSON.parse(provider.last());
  check("Continue sends what came, and goes on", messages[1].role === "assistant" && messages[1].content.startsWith("one two") && messages[2].content.includes("Continue"));
}

async function branches() {
  await send("count");
  await ended();
  const first = await lastText();
  await page.getByRole("button", { name: "Regenerate" }).click();
  await ended();
  check("Regenerate makes a second answer", (await page.locator(".branches .tag").innerText()) === "2 of 2" && (await lastText()) !== first);
  await page.getByRole("button", { name: "Previous branch" }).click();
  check("buttons walk the branches", (await page.locator(".branches .tag").innerText()) === "1 of 2" && (await lastText()) === first);
  await send("second");
  await ended();
  await page.locator(".turn.user").first().hover();
  await page.getByRole("button", { name: "Edit" }).first().click();
  await page.locator("form.edit textarea").fill("say: edited");
  await page.getByRole("button", { name: "Save and send" }).click();
  await ended();
  check("an edited turn is a branch of its own", (await page.locator(".turn.user").count()) === 1 && (await page.locator(".turn.user .branches .tag").innerText()) === "2 of 2" && (await lastText()) === "edited");
  check("and is sent without what followed", JSON.parse(provider.last()).messages.length === 1);
  await page.locator(".turn.user").getByRole("button", { name: "Previous branch" }).click();
  check("the other branch is whole", (await page.locator(".turn.user").count()) === 2);
  await page.getByRole("button", { name: "Branch here" }).first().click();
  check("a branch begins at an answer", (await page.getByText("starts a new branch").isVisible()) && (await page.locator(".turn.user").count()) === 1);
  await page.getByRole("button", { name: "Back to the other branch" }).click();
  check("and can be left", (await page.locator(".turn.user").count()) === 2);
  await page.getByRole("button", { name: "Branch here" }).first().click();
  await send("say: third");
  await ended();
  check("the next message is the branch", (await page.locator(".turn.user .branches .tag").last().innerText()) === "2 of 2");
}

async function addTool(fields) {
  await page.getByRole("button", { name: "Add", exact: true }).click();
  const dialog = page.locator("dialog");
  for (const [label, value] of Object.entries(fields)) await dialog.getByLabel(label, { exact: true }).fill(value);
  await dialog.getByRole("button", { name: "Save" }).click();
}

async function tools() {
  await addTool({ Name: "bad name", "Parameters, a JSON Schema": "{" });
  const dialog = page.locator("dialog");
  check("a tool that is none is refused at its fields", (await dialog.getByText("1 to 64 letters").isVisible()) && (await dialog.getByText("This is no JSON").isVisible()));
  await dialog.getByLabel("Name", { exact: true }).fill("depth");
  await dialog.getByLabel("Parameters, a JSON Schema").fill('{"type": "object", "properties": {"species": {"type": "string"}}}');
  await dialog.getByRole("button", { name: "JSON", exact: true }).click();
  check("a tool as JSON", JSON.parse(await dialog.getByLabel("The tool as JSON").inputValue()).function.name === "depth");
  await dialog.getByRole("button", { name: "Save" }).click();
  await send("call: depth twice");
  await page.getByLabel("Result of depth", { exact: true }).first().waitFor();
  await ended();
  const calls = page.locator(".call");
  check("calls are shown with their arguments", (await calls.count()) === 2 && (await calls.first().locator("pre").first().innerText()) === '{"species": "Physeter"}');
  await page.getByLabel("Result of depth", { exact: true }).first().fill('{"depth_m": 2035');
  check("it is said whether a result is JSON", await page.getByText(/Sent as text: no JSON/).isVisible());
  await page.getByLabel("Result of depth", { exact: true }).first().fill('{"depth_m": 2035}');
  const before = provider.requests.length;
  await page.getByRole("button", { name: "Send result" }).first().click();
  await page.waitForTimeout(200);
  check("the model waits for the other result", provider.requests.length === before && (await page.getByLabel("Result of depth", { exact: true }).count()) === 1);
  await page.getByLabel("Result of depth", { exact: true }).fill("plain text");
  await page.getByRole("button", { name: "Send result" }).click();
  await shown("Results came").waitFor();
  const { messages, tools: sent } = JSON.parse(provider.last());
  assert.deepEqual(messages.slice(1).map(({ role }) => role), ["assistant", "tool", "tool"]);
  assert.deepEqual(messages.slice(2).map(({ content, tool_call_id: id }) => [id, content]), [["call_0", '{"depth_m": 2035}'], ["call_1", "plain text"]]);
  check("results are sent one for each call", messages[1].tool_calls.length === 2 && sent[0].function.parameters.properties.species.type === "string");
  await page.getByRole("button", { name: "Edit depth" }).click();
  await dialog.getByLabel("Canned result").fill("42");
  await dialog.getByRole("button", { name: "Save" }).click();
  await send("call: depth once");
  await page.locator(".said-text", { hasText: "Results came" }).nth(1).waitFor();
  await ended();
  check("a canned result is given by itself", JSON.parse(provider.last()).messages.at(-1).content === "42");
}

async function formats() {
  const panel = page.locator("#playground-panel");
  await panel.getByRole("button", { name: "JSON", exact: true }).click();
  await send("say: {}");
  await ended();
  assert.deepEqual(JSON.parse(provider.last()).response_format, { type: "json_object" });
  await panel.getByRole("button", { name: "Schema" }).click();
  for (const [schema, fault] of [
    ["", "This is no JSON"], ["[]", "The schema has to be an object"], ['{"type": "whale"}', 'The schema has the unknown type "whale"'],
    ['{"properties": {"a": {"required": [1]}}}', "properties.a.required has to be a list of names"], ['{"anyOf": {}}', "anyOf has to be a list"],
  ]) {
    await panel.getByLabel("JSON Schema").fill(schema);
    check(`no schema: ${schema || "nothing"}`, (await panel.locator(".error").innerText()).includes(fault), await panel.locator(".error").innerText());
  }
  const schema = { type: "object", properties: { depth_m: { type: "number" } }, required: ["depth_m"] };
  await panel.getByLabel("JSON Schema").fill(JSON.stringify(schema));
  await send("say: {}");
  await ended();
  assert.deepEqual(JSON.parse(provider.last()).response_format.json_schema.schema, schema);
  await page.getByLabel("Model").selectOption("deepseek-chat");
  await panel.getByLabel("Max tokens").fill("60");
  await send("How deep?");
  await ended();
  check("the local model keeps to a schema", (await lastText()).startsWith("{"), await lastText());
}

const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

async function images() {
  const input = page.locator(".composer input[type=file]");
  const file = (name, mimeType, buffer) => ({ name, mimeType, buffer });
  await input.setInputFiles([file("whale.png", "image/png", PNG), file("notes.pdf", "application/pdf", Buffer.from("%PDF")), file("fake.png", "image/png", Buffer.from("not an image"))]);
  await page.evaluate(() => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(11 << 20)], "huge.png", { type: "image/png" }));
    document.querySelector(".composer textarea").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  });
  await page.locator(".composer .pictures .error").nth(2).waitFor();
  const said = await page.locator(".composer .pictures").innerText();
  check("what is no image is said at the file", /notes\.pdf is no PNG/.test(said) && /fake\.png is not the image/.test(said) && /huge\.png has 11\.0 MB/.test(said), said);
  await page.evaluate((bytes) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
    document.querySelector(".composer textarea").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    const dropped = new DataTransfer();
    dropped.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
    document.querySelector(".composer").dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
  }, [...PNG]);
  await page.getByAltText("dropped.png").waitFor();
  await send("say: I see three");
  await ended();
  const { content } = JSON.parse(provider.last()).messages[0];
  check("images are sent by file, paste and drop", content.length === 4 && content.slice(1).every((part) => part.image_url.url === `data:image/png;base64,${PNG.toString("base64")}`));
  check("and stay in the conversation", (await page.locator(".turn.user img").count()) === 3);
  await input.setInputFiles(Array.from({ length: 9 }, (_, index) => file(`${index}.png`, "image/png", PNG)));
  check("the ninth image is one too many", /8\.png is one too many/.test(await page.locator(".composer .error").innerText()));
}

/** Settings, each with the fields that its request has. */
const SETTINGS = {
  defaults: async () => {},
  system: (panel) => panel.getByLabel("System").fill("Don't say 'no', say \"yes\" \\ `x` $HOME !! é 🐋\nnext line"),
  sampling: async (panel) => {
    await panel.getByLabel("Temperature", { exact: true }).fill("0.7");
    await panel.getByLabel("Top p", { exact: true }).fill("0.5");
  },
  length: async (panel) => {
    await panel.getByLabel("Max tokens").fill("20");
    await panel.getByLabel("Seed").fill("-3");
  },
  stop: async (panel) => {
    await panel.getByText("More parameters").click();
    await panel.getByLabel("Stop sequences").fill("'\n\\n");
  },
  penalties: async (panel) => {
    await panel.getByText("More parameters").click();
    await panel.getByLabel("Frequency penalty", { exact: true }).fill("1");
    await panel.getByLabel("Presence penalty", { exact: true }).fill("-1");
  },
  logprobs: async (panel) => {
    await panel.getByText("More parameters").click();
    await panel.getByLabel("Top log-probabilities").fill("3");
  },
  thinking: (panel) => panel.getByRole("group", { name: "Thinking" }).getByRole("button", { name: "on", exact: true }).click(),
  schema: async (panel) => {
    await panel.getByRole("button", { name: "Schema" }).click();
    await panel.getByLabel("JSON Schema").fill('{"type": "object", "properties": {"it\'s": {"type": "string"}}}');
  },
  tools: () => addTool({ Name: "depth", Description: "How deep? It's $5" }),
};

async function viewCode() {
  for (const [name, set] of Object.entries(SETTINGS)) {
    await open();
    await set(page.locator("#playground-panel"));
    await send(name === "tools" ? "say: it's a tool" : "say: it's \"fine\" \\ $(x)\nand more");
    await ended();
    const sent = provider.last();
    await page.getByRole("button", { name: "View code" }).click();
    const code = async (tab) => {
      await page.getByRole("tab", { name: tab }).click();
      await page.locator("dialog .code").getByRole("button", { name: /Copy|Copied/ }).click();
      return page.evaluate(() => navigator.clipboard.readText());
    };
    const environment = { ...process.env, CACHALOT_KEY: KEY, NO_PROXY: "127.0.0.1", no_proxy: "127.0.0.1" };
    assert.equal(await code("Raw JSON"), sent, `${name}: raw`);
    const curl = await code("curl");
    writeFileSync(join(folder, "snippet.sh"), curl);
    // The provider of this process answers meanwhile.
    const run = async (program, ...args) => (await promisify(execFile)(program, args, { cwd: folder, env: environment, timeout: 60_000 })).stdout;
    const streamed = await run("bash", join(folder, "snippet.sh"));
    assert.ok(streamed.includes("data: [DONE]"), streamed);
    check(`View code, ${name}: curl sends the bytes that were sent`, provider.last() === sent && provider.requests.length > 0);
    for (const [tab, program, file] of [["Python", process.env.PYTHON, "snippet.py"], ["Node", process.env.MODULES && process.execPath, "snippet.mjs"]]) {
      const snippet = await code(tab);
      if (!program) continue;
      writeFileSync(join(folder, file), snippet);
      await run(program, join(folder, file));
      assert.deepEqual(JSON.parse(provider.last()), JSON.parse(sent), `${name}: ${tab}`);
    }
    await page.keyboard.press("Escape");
  }
  await open("deepseek-chat");
  await page.locator("#playground-panel").getByRole("button", { name: "dense" }).click();
  const [request] = await Promise.all([page.waitForRequest((request) => request.url().endsWith("/chat/completions")), send("Hi")]);
  await ended();
  await page.getByRole("button", { name: "View code" }).click();
  await page.getByRole("tab", { name: "Raw JSON" }).click();
  await page.locator("dialog .code").getByRole("button", { name: "Copy" }).click();
  const shown = await page.evaluate(() => navigator.clipboard.readText());
  check("dense attention is asked of the local model", shown === request.postData() && JSON.parse(shown).cachalot.attention === "dense" && (await answers().locator(".fault").count()) === 0);
}

async function sharing() {
  await page.locator("#playground-panel").getByLabel("System").fill("Be brief. 🐋");
  await send("say: a **b** <c>");
  await ended();
  await page.getByRole("button", { name: "Regenerate" }).click();
  await ended();
  await page.getByRole("button", { name: "Share or export" }).click();
  const link = await page.getByLabel("Copy link").inputValue();
  const save = async (name) => {
    const [download] = await Promise.all([page.waitForEvent("download", { timeout: 60_000 }), page.getByRole("button", { name }).click()]);
    return readFileSync(await download.path(), "utf8");
  };
  const json = await save("Export as JSON");
  const markdown = await save("Export as Markdown");
  check("export as JSON and Markdown", JSON.parse(json).turns.length === 3 && markdown.includes("a **b** <c>") && markdown.includes("Be brief. 🐋"));
  await page.keyboard.press("Escape");

  const before = provider.requests.length;
  const other = await newPage();
  const here = page;
  page = other;
  await page.goto(link);
  await page.getByText("Opened from a link.").waitFor();
  check("a link shows the conversation, with its branches and settings", (await lastText()) === "a b <c>" && (await page.locator(".branches .tag").innerText()) === "2 of 2" && (await page.getByLabel("System").inputValue()) === "Be brief. 🐋");
  await sleep(500);
  check("and sends nothing", provider.requests.length === before && !page.url().includes("#"));
  await page.goto(link.slice(0, -40));
  await page.getByText("The link holds no conversation").waitFor();
  check("a link that was cut off is said", await page.getByText("The link holds no conversation").isVisible());
  await page.getByRole("button", { name: "Share or export" }).click();
  const input = page.locator("dialog input[type=file]");
  const importing = (text) => input.setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from(text) });
  const changed = (change) => JSON.stringify(change(JSON.parse(json)));
  for (const [text, fault] of [
    ["{", "no JSON"], ["[]", "no conversation of the playground"], [changed((value) => ({ ...value, version: 2 })), "newer version"],
    [changed((value) => ({ ...value, turns: [{ ...value.turns[0], text: 1 }] })), "turns[0].text"],
    [changed((value) => ({ ...value, turns: [{ ...value.turns[1] }] })), "turns[0].parent"],
    [changed((value) => ({ ...value, turns: [{ ...value.turns[0], images: [{ name: "x", url: "https://evil.example/x.png" }] }] })), "turns[0].images[0].url"],
    [changed((value) => ({ ...value, settings: { ...value.settings, format: "x" } })), "settings.format"],
  ]) {
    await importing(text);
    await page.locator("dialog .note.bad").getByText(fault).waitFor();
  }
  check("a bad file is refused, and says what is wrong", await page.getByText("nothing is lost").isVisible());
  await importing(json);
  await page.getByText("Imported. Nothing has been sent.").waitFor();
  check("a good one is shown", (await lastText()) === "a b <c>" && provider.requests.length === before);
  await other.close();
  page = here;
  // A conversation that is too long for a link: text that gzip cannot make small.
  await open();
  await send(`say: ${Array.from({ length: 9000 }, () => Math.random().toString(36)).join(" ")}`);
  await ended();
  await page.getByRole("button", { name: "Share or export" }).click();
  await page.getByText("too long for a link").waitFor();
  check("a conversation above 64 KB is a file", (await page.getByLabel("Copy link").count()) === 0);
}

async function comparison() {
  expected = /429/;
  await open("", "playground/compare");
  await page.getByRole("button", { name: "Add a column" }).click();
  const models = page.getByLabel("Model");
  await models.nth(0).selectOption("thinker");
  await models.nth(1).selectOption("echo");
  await models.nth(2).selectOption("fails");
  const before = provider.requests.length;
  await send("slow: compared in four words");
  await page.locator(".fault").waitFor();
  await ended();
  const asked = provider.requests.slice(before);
  const ends = asked.flatMap(({ ended }) => ended ?? []);
  check("three columns start together: the last before one has ended", asked.length === 3 && ends.length === 2 && Math.max(...asked.map(({ at }) => at)) < Math.min(...ends));
  const column = (index) => page.locator(".compare > section").nth(index);
  check("one fails alone, in words, with its request id", (await column(0).innerText()).includes("compared") && (await column(1).innerText()).includes("compared")
    && /Too many requests[\s\S]*req_/.test(await column(2).innerText()));
  check("with two answers none is best", (await page.locator(".stats .best").count()) === 0);
  await models.nth(2).selectOption("echo-2");
  await column(2).getByRole("button", { name: "Try again" }).click({ timeout: 10_000 });
  await column(2).locator(".said-text", { hasText: "compared" }).waitFor();
  await ended();
  check("it is retried alone", provider.requests.length === before + 4);
  const best = (measure) => page.locator(".stats > div", { hasText: measure }).locator(".best").count();
  check("of three, the best of each measure is marked", (await best("First token")) > 0 && (await best("Tokens/s")) > 0 && (await best("Cost")) === 1
    && (await column(1).locator(".stats > div", { hasText: "Cost" }).locator(".best").count()) === 1, await page.locator(".compare").innerText());
  await column(0).getByRole("button", { name: /Parameters of/ }).click();
  await page.locator("dialog").getByLabel("Max tokens").fill("5");
  await page.keyboard.press("Escape");
  await send("slow: one two three four five six seven");
  await column(1).locator(".said-text", { hasText: "one two" }).waitFor();
  await column(1).getByRole("button", { name: "Stop this one" }).click();
  await ended();
  const bodies = provider.requests.slice(-3).map(({ raw }) => JSON.parse(raw));
  check("each column has parameters of its own", bodies.filter((body) => body.max_tokens === 5).length === 1 && bodies.find((body) => body.max_tokens === 5).model === "thinker");
  check("one is stopped alone", (await column(1).getByText("Stopped").isVisible()) && (await column(0).innerText()).includes("seven") && (await column(2).innerText()).includes("seven"));
  await page.getByRole("button", { name: "More", exact: true }).click();
  const [download] = await Promise.all([page.waitForEvent("download", { timeout: 60_000 }), page.getByRole("menuitem", { name: "Export as JSON" }).click()]);
  check("the comparison is exported", JSON.parse(readFileSync(await download.path(), "utf8")).columns.length === 3);
}

/** Elements of the thread that neither the page nor the walker over Markdown makes, and what they must not have. */
const strange = () => page.evaluate(() => {
  const known = new Set("A ARTICLE B BLOCKQUOTE BR BUTTON CIRCLE CODE DEL DIV EM FORM H2 H3 HEADER H4 H5 H6 HR LI OL P PATH PRE RECT SPAN STRONG SVG TABLE TBODY TD TEXTAREA TH THEAD TR UL".split(" "));
  const found = [];
  for (const element of document.querySelectorAll(".thread .inner *")) {
    const isIcon = element.closest("svg.icon") !== null || element.closest(".empty") !== null;
    if (!known.has(element.tagName.toUpperCase()) || (element.namespaceURI !== "http://www.w3.org/1999/xhtml" && !isIcon)) found.push(element.tagName);
    for (const { name, value } of element.attributes) if (/^on|^style$|^src|^srcdoc$|^action$/i.test(name)) found.push(`${element.tagName} ${name}=${value}`);
    if (element.tagName === "A" && !(/^(https?|mailto):/.test(element.getAttribute("href")) && element.rel === "noopener noreferrer") && !element.classList.contains("btn")) found.push(element.outerHTML);
  }
  return [...found, ...(globalThis.ran === undefined ? [] : [`ran: ${globalThis.ran}`])];
});

async function hostile() {
  for (const file of readdirSync(hostileFolder).sort()) {
    await open();
    provider.pieces = file.endsWith(".json") ? JSON.parse(readFileSync(join(hostileFolder, file), "utf8")) : readFileSync(join(hostileFolder, file), "utf8").match(/[\s\S]{1,7}/gu);
    await send(`pieces: ${MARKUP}`);
    await ended();
    assert.deepEqual(await strange(), [], file);
    await page.locator("#playground-panel").getByLabel("System").fill("still here");
    check(`hostile ${file}: nothing runs, no element but those of the walker`, (await lastText()).length > 20);
  }
  const large = { quotes: `${">".repeat(10_000)} x`, lists: Array.from({ length: 600 }, (_, index) => `${"  ".repeat(index)}- x`).join("\n"), brackets: "[".repeat(10_000), fences: "```\n".repeat(2000) };
  for (const [name, text] of Object.entries(large)) {
    await open();
    provider.pieces = text.match(/[\s\S]{1,4096}/g);
    await send("pieces: x");
    await ended();
    assert.deepEqual(await strange(), [], name);
    check(`hostile ${name}: the page goes on`, (await lastText()).length > 0);
  }
  for (const [name, raw] of Object.entries({
    utf8: Buffer.concat([Buffer.from('data: {"choices":[{"index":0,"delta":{"content":"before '), Buffer.from([0xff, 0xfe, 0xc3, 0x28, 0xf0, 0x9f]), Buffer.from(' after"}}]}\n\ndata: [DONE]\n\n')]),
    events: Buffer.from('data: {"choices":[{"index":0,"delta":{"content":"came"}}]}\n\ndata: {no json\n\ndata: 7\n\ndata: [DONE]\n\n'),
    shapes: Buffer.from('data: {"choices":[{"index":0,"delta":{"content":{"x":1},"tool_calls":{"a":1},"reasoning_content":7},"logprobs":{"content":[{}]}}]}\n\ndata: {"choices":{}}\n\ndata: {"usage":{"prompt_tokens":"<b>"}}\n\ndata: [DONE]\n\n'),
  })) {
    await open();
    provider.raw = raw;
    await send("raw: x");
    await ended();
    assert.deepEqual(await strange(), [], name);
    provider.pieces = ["it goes on"];
    await send("pieces: y");
    await shown("it goes on").waitFor();
    check(`hostile ${name}: what came stays, and the page goes on`, true);
  }
  await open(MARKUP);
  await send("say: by a model with markup in its name");
  await ended();
  assert.deepEqual(await strange(), []);
  check("the name of a model is text", (await answers().locator(".by .name").innerText()) === MARKUP && (await page.locator("main img").count()) === 0);
}

async function faultsInWords() {
  expected = /429|401|402|500|ERR_|Failed to load/;
  await send("break: one two three");
  await page.locator(".fault").waitFor();
  check("of a stream that breaks, what came stays, with the request id and buttons", (await lastText()).startsWith("one two") && /broke off[\s\S]*req_/i.test(await page.locator(".fault").innerText())
    && (await page.locator(".fault").getByRole("button", { name: "Continue" }).isVisible()) && (await page.locator(".fault").getByRole("button", { name: "Try again" }).isVisible()));
  await send("limit: x");
  await page.getByText("Too many requests.").waitFor();
  check("429 counts the seconds down", /Try again in \d s/.test(await page.locator(".fault").last().innerText()));
  await send("error: x");
  await page.getByText("The server failed.").waitFor();
  check("a failure of the provider has words and a request id", /req_/.test(await page.locator(".fault").last().innerText()));
  await page.locator("#playground-panel").getByText("More parameters").click();
  await page.locator("#playground-panel").getByLabel("Stop sequences").fill("x".repeat(257));
  await page.getByLabel("Model").selectOption("deepseek-chat");
  await send("Hello");
  await page.getByText("The request was refused.").waitFor();
  await page.locator(".fault").last().getByRole("button", { name: "Check the parameters" }).click();
  const again = page.locator(".fault").last().getByRole("button", { name: "Try again" });
  check("what would be refused again is not tried again", (await again.count()) === 0);
  check("a refusal leads to the parameters", (await page.locator(".fault").last().innerText()).includes("Invalid stop value") && (await page.locator("#playground-panel input:focus").count()) === 1);
  await page.locator("#playground-panel").getByLabel("Stop sequences").fill("");
  await again.waitFor();
  check("but with other parameters", true);

  await open();
  await send("slow: one two three four five six seven eight nine ten eleven twelve");
  await shown("one two").waitFor();
  await page.locator("#playground-panel").getByLabel("System").fill("typed meanwhile");
  await gateway.kill();
  await page.locator(".fault").waitFor();
  check("the server goes: what came stays, with words", (await lastText()).startsWith("one two") && /broke off/.test(await page.locator(".fault").innerText()));
  await page.locator(".note.bad", { hasText: "The models could not be read" }).waitFor({ timeout: 15_000 });
  check("the page says so, with the age of what is shown", /from .*(ago|now)/.test(await page.locator(".note.bad", { hasText: "could not be read" }).innerText()), await page.locator(".note.bad").first().innerText());
  await gateway.start();
  await page.locator(".note.bad", { hasText: "could not be read" }).waitFor({ state: "detached", timeout: 25_000 });
  check("it goes on by itself, with what was typed", (await page.getByLabel("System").inputValue()) === "typed meanwhile");
  await page.locator(".fault").getByRole("button", { name: "Try again" }).click();
  await ended();
  check("and the answer can be had again", (await lastText()).includes("twelve"));
}

/** The frames a second while the thread scrolls. */
const smoothness = () => page.evaluate(async () => {
  const thread = document.querySelector(".thread");
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  thread.scrollTop = 0;
  await frame();
  let frames = 0;
  for (const began = performance.now(); performance.now() - began < 1500; frames++) {
    thread.scrollTop += 240;
    await frame();
  }
  return frames / 1.5;
});

/** The median of the milliseconds from a key to the next frame. */
async function typing(field = page.getByLabel("Message")) {
  await field.focus();
  await page.evaluate(() => {
    const isKnown = globalThis.delays !== undefined;
    globalThis.delays = [];
    if (isKnown) return;
    let at = 0;
    addEventListener("keydown", () => {
      at = performance.now();
    }, true);
    addEventListener("input", () => requestAnimationFrame(() => setTimeout(() => globalThis.delays.push(performance.now() - at))), true);
  });
  for (let index = 0; index < 15; index++) {
    await page.keyboard.press("a");
    await sleep(40);
  }
  await sleep(200);
  const delays = (await page.evaluate(() => globalThis.delays)).sort((a, b) => a - b);
  return delays[Math.floor(delays.length / 2)];
}

/**
 * Long answers, beside a short one: how many frames and how long a key takes depends on the machine and on what else it does, so that only what is
 * many times worse than with the short answer is a fault.
 */
async function largeContent() {
  await open();
  await send("say: short");
  await ended();
  const short = { frames: await smoothness(), key: await typing() };
  console.log(`   short: ${Math.round(short.frames)} frames a second, a key takes ${Math.round(short.key)} ms`);
  const isQuick = (frames, ...keys) => frames > short.frames / 6 && Math.max(...keys) < 10 * short.key + 200;
  /** The best of some measurements: other work on the machine makes each of them worse, and none better. */
  const measured = async () => {
    let [frames, key] = [0, Infinity];
    for (let attempt = 0; attempt < 8 && !isQuick(frames, key); attempt++) {
      frames = Math.max(frames, await smoothness());
      key = Math.min(key, await typing());
    }
    return [frames, key];
  };
  const lines = Array.from({ length: 15_000 }, (_, index) => (index % 30 === 0 ? `## Part ${index}` : index % 7 === 0 ? "- a point with **bold** text and `code`" : `Line ${index} of a long answer, with some words in it.${index % 3 ? "" : "\n"}`)).join("\n");
  const paragraphs = (lines + lines).slice(0, 1_000_000);
  const cases = { "1,000,000 characters": paragraphs, "one line of 1,000,000": "depth ".repeat(170_000).slice(0, 1_000_000), "code of 1,000,000": `\`\`\`js\n${"const depth = 2035; // metres\n".repeat(33_000)}\`\`\`\n\nend` };
  for (const [name, text] of Object.entries(cases)) {
    await open();
    provider.pieces = text.match(/[\s\S]{1,5000}/g);
    await send("pieces: x");
    const during = await typing();
    await page.getByRole("button", { name: "Send", exact: true }).waitFor({ timeout: 60_000 });
    await page.waitForFunction((length) => document.querySelector(".turn:not(.user) .said-text").textContent.length > length, text.length * 0.8, { timeout: 30_000 });
    const [frames, after] = await measured();
    check(`${name}: ${Math.round(frames)} frames a second, a key takes ${Math.round(during)} ms while it comes, ${Math.round(after)} ms then`, isQuick(frames, during, after));
  }
  const turns = [];
  for (let index = 0; index < 500; index++) {
    const parent = index === 0 ? null : String(index - 1);
    turns.push(index % 2 === 0 ? { id: String(index), parent, role: "user", text: `Question ${index}`, images: [] } : {
      id: String(index), parent, role: "assistant", model: "echo", text: `Answer ${index} with **bold**\n\n- one\n- two\n\n\`\`\`js\nconst x = ${index};\n\`\`\``, reasoning: null, calls: [], logprobs: [], finish: "stop", stopped: false, fault: null,
      measures: { first: 10, thought: null, total: 100, usage: { input: 1, cached: 0, output: 2, thought: 0 }, cost: null },
    });
  }
  await open();
  await page.getByRole("button", { name: "Share or export" }).click();
  const settings = { system: "", temperature: null, topP: null, maxTokens: "", seed: "", stop: "", frequencyPenalty: null, presencePenalty: null, topLogprobs: "", thinking: "", format: "text", schema: "", tools: [], attention: "" };
  await page.locator("dialog input[type=file]").setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify({ format: "cachalot conversation", version: 1, title: "long", model: "echo", settings, turns, leaf: "499", shown: {} })) });
  await shown("Answer 499").waitFor();
  const [frames, key] = await measured();
  check(`500 turns: ${Math.round(frames)} frames a second, a key takes ${Math.round(key)} ms`, isQuick(frames, key));
  await open();
  const pasted = Array.from({ length: 20_000 }, (_, index) => `line ${index} of what was pasted`).join("\n");
  await page.evaluate((text) => navigator.clipboard.writeText(text), pasted);
  await page.getByLabel("Message").focus();
  await page.keyboard.press("Control+V");
  const inComposer = await typing();
  // The browser's own field takes long for so many lines.
  await page.evaluate((text) => {
    const plain = document.createElement("textarea");
    plain.id = "plain";
    plain.value = text;
    document.body.append(plain);
  }, pasted);
  const inPlain = await typing(page.locator("#plain"));
  await page.evaluate(() => document.querySelector("#plain").remove());
  await page.getByLabel("Message").focus();
  provider.pieces = ["short"];
  await page.keyboard.press("Enter");
  await ended();
  check(`20,000 pasted lines: a key takes ${Math.round(inComposer)} ms, ${Math.round(inPlain)} in a plain field; folded when they are sent`, inComposer < 5 * inPlain + 200 && (await page.getByRole("button", { name: /Show all 20,000 lines/ }).isVisible()));
  await page.getByRole("button", { name: /Show all/ }).click();
  const [open20] = await measured();
  check(`opened: ${Math.round(open20)} frames a second`, isQuick(open20, short.key));
}

async function store() {
  await send("say: kept");
  await ended();
  const isStored = () => page.evaluate(async () => {
    if (!(await indexedDB.databases()).some(({ name }) => name === "cachalot")) return false;
    const result = (request) => new Promise((done) => (request.onsuccess = () => done(request.result)));
    const database = await result(indexedDB.open("cachalot"));
    const stored = await result(database.transaction("conversations").objectStore("conversations").getAll());
    database.close();
    return stored.some(({ turns }) => turns.at(-1).text === "kept");
  });
  for (let wait = 0; wait < 100 && !(await isStored()); wait++) await sleep(100);
  await page.reload();
  await shown("kept").waitFor();
  check("a conversation survives a reload", (await lastText()) === "kept");
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByRole("button", { name: "History" }).click();
  await page.locator("dialog").getByRole("button", { name: "say: kept", exact: true }).click();
  check("the history opens it", (await lastText()) === "kept");
  const forbidden = await newPage();
  const here = page;
  page = forbidden;
  await page.addInitScript(() => Object.defineProperty(IDBFactory.prototype, "open", { value: () => { throw new DOMException("no", "SecurityError"); } }));
  await open();
  await send("say: goes on");
  await ended();
  await page.getByText("does not keep conversations").waitFor();
  await send("say: and on");
  await ended();
  check("a forbidden store is said once, and chatting goes on", (await lastText()) === "and on" && (await page.getByText("does not keep conversations").count()) === 1);
  await forbidden.close();
  page = here;
}

async function keyboard() {
  await addTool({ Name: "depth" });
  await page.evaluate(() => document.activeElement?.blur());
  /** Moves the focus on with Tab until an element has it. */
  const tabTo = async (locator) => {
    const target = await locator.elementHandle();
    for (let index = 0; index < 80; index++) {
      await page.keyboard.press("Tab");
      const [isThere, isSeen] = await page.evaluate((element) => [document.activeElement === element, document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none" || document.activeElement.closest(".box") !== null], target);
      assert.ok(isSeen, `the focus is not visible: ${await page.evaluate(() => document.activeElement.outerHTML.slice(0, 200))}`);
      if (isThere) return;
    }
    assert.fail("the element is not reached with Tab");
  };
  await tabTo(page.getByLabel("Message"));
  await page.keyboard.type("call: depth once");
  await page.keyboard.press("Enter");
  await page.getByLabel("Result of depth", { exact: true }).waitFor();
  await ended();
  await page.evaluate(() => document.querySelector("h1").focus());
  await tabTo(page.getByLabel("Result of depth", { exact: true }));
  await page.keyboard.type("2035");
  await tabTo(page.getByRole("button", { name: "Send result" }));
  await page.keyboard.press("Enter");
  await shown("Results came").waitFor();
  await ended();
  await page.evaluate(() => document.querySelector("h1").focus());
  await tabTo(page.getByRole("button", { name: "View code" }));
  await page.keyboard.press("Enter");
  await page.locator("dialog").waitFor();
  await page.keyboard.press("Tab");
  check("a dialog holds the focus", await page.evaluate(() => document.querySelector("dialog").contains(document.activeElement)));
  await page.keyboard.press("Escape");
  check("and returns it", await page.evaluate(() => document.activeElement.getAttribute("aria-label") === "View code"));
  await page.evaluate(() => document.querySelector("h1").focus());
  await tabTo(page.getByRole("link", { name: "Compare" }));
  // Frames come late: the heading of the new page must not take the focus while somebody types.
  await page.evaluate(() => {
    const frame = requestAnimationFrame;
    globalThis.requestAnimationFrame = (act) => frame(() => setTimeout(act, 1_000));
    globalThis.usualFrame = frame;
  });
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Add a column" }).waitFor();
  await page.evaluate(() => document.querySelector("h1").focus());
  await tabTo(page.getByLabel("Message"));
  await page.keyboard.type("say: by keys", { delay: 120 });
  await page.evaluate(() => {
    globalThis.requestAnimationFrame = globalThis.usualFrame;
  });
  await page.keyboard.press("Enter");
  await shown("by keys").waitFor();
  await ended();
  check("a chat with a tool, its code and a comparison by the keyboard alone", true);
}

/** Every state in both themes at three widths: no sideways scrolling, and nothing that axe-core finds. */
async function looks() {
  expected = /429/;
  for (const [theme, width, height] of [["light", 1440, 900], ["dark", 1440, 900], ["light", 390, 844], ["dark", 390, 844], ["light", 320, 640]]) {
    const here = await browser.newContext({ viewport: { width, height }, colorScheme: theme, bypassCSP: true, reducedMotion: "reduce" });
    const before = page;
    page = await here.newPage();
    page.setDefaultTimeout(60_000);
    const look = async (name) => {
      await page.waitForTimeout(150);
      const scroll = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(scroll <= 0, `${name}-${width}-${theme} scrolls sideways by ${scroll} px`);
      // At the least width, only what must not scroll is looked at.
      if (width === 320) return;
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      assert.deepEqual(violations.map(({ id, nodes }) => `${name}-${width}-${theme} ${id}: ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary}`), []);
      if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, `playground-${name}-${width}-${theme}.png`) });
    };
    await open("thinker");
    await look("empty");
    await page.getByLabel("Model").selectOption("thinker");
    await send("say: Most dives go to **400 to 1,200 m**. | | | | Dive | Metres | | |---|--:| | | usual | 400 | | | record | 2,035 | | | - muscle holds `myoglobin`; | - the heart slows.");
    await ended();
    await send("call: depth once");
    await ended();
    await send("break: The answer breaks off here");
    await page.locator(".fault").waitFor();
    await look("chat");
    if (width < 1100) {
      await page.getByRole("button", { name: "Parameters", exact: true }).click();
      await look("parameters");
      await page.keyboard.press("Escape");
    }
    await page.getByRole("button", { name: "View code" }).click();
    await look("code");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Share or export" }).click();
    await look("share");
    await page.keyboard.press("Escape");
    await page.getByRole("link", { name: "Compare" }).click();
    await page.getByRole("button", { name: "Add a column" }).click();
    for (const [index, model] of ["thinker", "echo", "fails"].entries()) await page.getByLabel("Model").nth(index).selectOption(model);
    await send("say: Compared");
    await page.locator(".fault").waitFor();
    await ended();
    await look("compare");
    page = before;
    await here.close();
  }
  check("every state in both themes at 1440, 390 and 320: axe-core finds nothing, nothing scrolls sideways", true);
}

/** On a server with accounts, requests belong to a key of the user. */
async function sessions() {
  expected = /40[0-9]|Failed to load/;
  await page.goto(gateway.setup());
  await page.getByLabel("Your name").fill("olga");
  await page.getByLabel("Password").fill("a long password");
  await page.getByRole("button", { name: "Create the owner’s account" }).click();
  await page.getByRole("navigation").getByRole("link", { name: "Playground" }).click();
  await page.getByText("A key is needed").waitFor();
  check("without a key, the playground offers to create one", true);
  await page.getByRole("main").getByRole("button", { name: "Create key" }).first().click();
  await page.getByRole("textbox", { name: "Name", exact: true }).fill(MARKUP);
  await page.getByLabel("Budget").fill("5");
  await page.locator("dialog button[type=submit]").click();
  await page.getByRole("button", { name: "I have copied it" }).click();
  await page.getByLabel("Model").selectOption("deepseek-chat");
  const [request] = await Promise.all([page.waitForRequest((request) => request.url().endsWith("/chat/completions")), send("Hello")]);
  await ended();
  const id = request.headers()["x-cachalot-key"];
  check("a chat belongs to the key, whose text no request has", id && !request.headers().authorization && (await answers().locator(".fault").count()) === 0, await answers().innerText());
  check("the budget of the key is shown, and its name is text", (await page.getByText(/of \$5\.00 left/).isVisible()) && (await page.locator(".key-choice option").innerText()).includes(MARKUP) && (await page.evaluate(() => globalThis.ran)) === undefined);
  const admin = (method, path, body) => page.evaluate(async ([method, path, body]) => (await fetch(path, { method, body: body && JSON.stringify(body), headers: { "x-cachalot-console": "1", "content-type": "application/json" } })).status, [method, path, body]);
  assert.equal(await admin("PATCH", `/admin/keys/${id}`, { budget: "0.000000001" }), 200);
  await sleep(1500);
  await send("Hello again");
  await page.getByText("The budget is spent.").waitFor();
  check("402 says what to do", (await page.getByRole("link", { name: "Change the budget" }).isVisible()) && /req_/.test(await page.locator(".fault").last().innerText()));
  assert.equal(await admin("DELETE", `/admin/keys/${id}`), 200);
  await sleep(1500);
  await send("And again");
  await page.getByText("This key cannot be used.").waitFor();
  await page.getByRole("button", { name: "Choose another key" }).last().click();
  check("a revoked key leads to the choice of another", (await page.evaluate(() => document.activeElement.tagName)) === "SELECT");
  await page.getByLabel("Message").fill("typed before the session ended");
  assert.equal(await admin("DELETE", "/admin/session"), 204);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: /^Log in to/ }).waitFor({ timeout: 15_000 });
  await page.getByLabel("Name", { exact: true }).fill("olga");
  await page.getByLabel("Password").fill("a long password");
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await page.locator(".turn.user").last().waitFor();
  check("an ended session leads to the login, and back to the conversation", (await page.locator(".turn.user").count()) === 4 && (await page.locator(".turn.user").last().innerText()).includes("typed before the session ended"));
}

/** A provider of OpenAI's API that does what the last message says, and records every body. */
async function startProvider() {
  const self = { requests: [], pieces: [], raw: Buffer.alloc(0), aborted: 0, last: () => self.requests.at(-1).raw, stop: () => {} };
  let counted = 0;
  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => answer(Buffer.concat(chunks).toString(), response).catch(() => response.destroy()));
  });
  async function answer(raw, response) {
    const received = { raw, at: Date.now() };
    self.requests.push(received);
    const body = JSON.parse(raw);
    const last = body.messages.at(-1);
    const prompt = typeof last.content === "string" ? last.content : (last.content.find((part) => part.type === "text")?.text ?? "");
    const [, verb, rest] = /^(\w+):? ?([\s\S]*)$/.exec(prompt) ?? [, "say", ""];
    const refuse = (status, message, headers) => {
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify({ error: { message } }));
    };
    if (body.model === "fails" || verb === "limit") return refuse(429, "slow down", { "retry-after": "2" });
    if (verb === "error") return refuse(500, "the whale is asleep");
    response.on("close", () => {
      if (!response.writableFinished) self.aborted += 1;
    });
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (verb === "raw") return response.end(self.raw);
    const event = (choice) => response.write(`data: ${JSON.stringify({ id: "x", object: "chat.completion.chunk", created: 1, model: body.model, choices: [{ index: 0, delta: {}, finish_reason: null, ...choice }] })}\n\n`);
    event({ delta: { role: "assistant", content: "" } });
    if (body.model === "thinker") {
      for (const word of ["I think", " of", " whales."]) {
        event({ delta: { reasoning_content: word } });
        await sleep(60);
      }
    }
    if (last.role === "tool") event({ delta: { content: "Results came" } });
    else if (verb === "call") {
      const calls = rest.includes("twice") ? 2 : 1;
      for (let index = 0; index < calls; index++) {
        event({ delta: { tool_calls: [{ index, id: `call_${index}`, type: "function", function: { name: "depth", arguments: "" } }] } });
        for (const part of ['{"species": "Phy', 'seter"}']) event({ delta: { tool_calls: [{ index, function: { arguments: part } }] } });
      }
      event({ finish_reason: "tool_calls" });
    } else {
      const words = verb === "pieces" ? self.pieces : verb === "count" ? [`answer ${++counted}`] : (verb === "say" || verb === "slow" || verb === "break" ? rest.replaceAll(" | ", "\n") : "plain").split(/(?<=[ \n])/);
      for (const word of words) {
        const logprobs = body.logprobs ? { logprobs: { content: [{ token: word, logprob: -0.1, top_logprobs: [{ token: word, logprob: -0.1 }, { token: " other", logprob: -2 }] }] } } : {};
        const isReady = event({ delta: { content: word }, ...logprobs });
        await (verb === "slow" ? sleep(250) : isReady ? sleep(verb === "pieces" ? 1 : 0) : new Promise((done) => response.once("drain", done)));
        if (response.destroyed) return;
        if (verb === "break" && word.startsWith("two") || (verb === "break" && word.startsWith("breaks"))) return response.destroy();
      }
    }
    if (last.role === "tool" || verb !== "call") event({ finish_reason: "stop" });
    response.write(`data: ${JSON.stringify({ id: "x", object: "chat.completion.chunk", created: 1, model: body.model, choices: [], usage: { prompt_tokens: 1204, completion_tokens: 398, total_tokens: 1602, prompt_tokens_details: { cached_tokens: 1152 }, completion_tokens_details: { reasoning_tokens: body.model === "thinker" ? 7 : 0 } } })}\n\n`);
    response.end("data: [DONE]\n\n");
    received.ended = Date.now();
  }
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  self.url = `http://127.0.0.1:${server.address().port}/v1`;
  self.stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return self;
}

/** A gateway with the fixture model and the provider, which can be killed and started again at the same address. */
async function startGateway() {
  const port = await new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });
  const config = join(folder, "config.toml");
  const price = ([model, dollars]) => `[[price]]\nprovider = "whales"\nmodel = "${model}"\nsource = "this test"\ndate = "2026-11-01"\ninput = ${dollars}\noutput = ${dollars}\n`;
  writeFileSync(join(folder, "prices.toml"), Object.entries({ echo: 1, "echo-2": 2, thinker: 3 }).map(price).join("\n"));
  writeFileSync(config, `[gateway]\nprices = "${join(folder, "prices.toml")}"\n\n[[providers]]\nname = "whales"\nbase_url = "${provider.url}"\ndialect = "openai"\nprivate = true\nmodels = ["echo", "echo-2", "thinker", "fails", '${MARKUP}']\n`);
  if (process.env.MODULES) symlinkSync(resolve(process.env.MODULES), join(folder, "node_modules"));
  const self = { base: `http://127.0.0.1:${port}` };
  let child;
  let log = "";
  self.start = async () => {
    child = spawn(process.env.CACHALOT, ["serve", "--model", "fixture", "--seed", "1", "--listen", `127.0.0.1:${port}`, "--config", config], {
      cwd: folder, env: { ...process.env, XDG_DATA_HOME: folder, XDG_CACHE_HOME: folder, XDG_CONFIG_HOME: folder },
    });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => {
      log += data;
    });
    for (let index = 0; index < 300; index++) {
      if (await fetch(`${self.base}/readyz`).then(({ ok }) => ok, () => false)) return;
      if (child.exitCode !== null) throw new Error(log);
      await sleep(200);
    }
    throw new Error(`no gateway: ${log}`);
  };
  self.kill = () => new Promise((done) => {
    child.once("exit", done);
    child.kill("SIGKILL");
  });
  self.stop = () => child.kill();
  self.setup = () => /http:\S+#setup=[\w-]+/.exec(log.slice(log.lastIndexOf("#setup=") - 60))[0];
  await self.start();
  return self;
}

const parts = { streaming, parameters, stopping, branches, tools, formats, images, viewCode, sharing, comparison, hostile, faultsInWords, largeContent, store, keyboard, looks, sessions };
const began = Date.now();
for (const [name, part] of Object.entries(parts)) {
  if (only && !only.includes(name)) continue;
  expected = /^$/;
  const start = Date.now();
  try {
    await open();
    await part();
    assert.deepEqual(faults, [], "no error in the browser");
  } catch (fault) {
    console.log(`not ok playground: ${name}`);
    if (process.env.PICTURES) await page.screenshot({ path: join(process.env.PICTURES, `failed-${name}.png`) }).catch(() => {});
    throw fault;
  }
  console.log(`   ${name}: ${Date.now() - start} ms`);
}
assert.deepEqual(faults, [], "no error in the browser");
console.log(`ok playground in ${Math.round((Date.now() - began) / 1000)} s`);
await browser.close();
gateway.stop();
provider.stop();
rmSync(folder, { recursive: true });
process.exit(0);
