// What happened on the server: usage, the log of requests and one request; filters and spans that stay in the address; what pages ask for while
// they are looked at, while they are not, and while the server is gone. `node requests.mjs BASE_URL FOLDER`; the server has the owner that
// first_run.mjs makes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { PASSWORD, api, checks, run, watch } from "./browser.mjs";

const [base, folder] = process.argv.slice(2);
const check = checks("requests");
const KEY = "of the log";
// Long, so that the key is among the most expensive ones, which are shown by name.
const PROMPT = "How deep? ".repeat(300);
const PAGES = ["", "usage", "requests", "keys", "models", "providers", "users", "settings", "account", "guide/chat", "playground"];

await run("requests", folder, async ({ context, page }) => {
  const faults = watch(page, base, ["ERR_INTERNET_DISCONNECTED", "status of 404"]);
  await api(context, base, "POST", "/admin/session", { name: "olga", password: PASSWORD });
  const call = (method, path, body) => api(context, base, method, path, body);
  const key = await call("POST", "/admin/keys", { name: KEY, user: "olga" });
  const ask = (model, max_tokens = 8) => context.request.post(`${base}/v1/chat/completions`, {
    headers: { "x-cachalot-console": "1", "x-cachalot-key": key.id }, data: { model, max_tokens, messages: [{ role: "user", content: PROMPT }] },
  });
  const answered = await ask("deepseek-chat");
  assert.equal(answered.status(), 200);
  assert.equal((await ask("deepseek-reasoner")).status(), 200);
  await page.clock.install();
  const main = page.locator("main");
  const open = async (path) => {
    await page.goto(`${base}/console/${path}`);
    await page.locator("h1").first().waitFor();
  };
  /** Waits for a moment that depends on the server: what is booked appears within a second or so. */
  const until = async (passed, what) => {
    for (let wait = 0; wait < 100; wait++) {
      if (await passed()) return;
      await page.waitForTimeout(100);
    }
    assert.fail(what);
  };
  const own = async () => (await call("GET", `/admin/records?limit=100&key=${encodeURIComponent(KEY)}`)).data;
  await until(async () => (await own()).length === 2, "the requests are not booked");

  // Usage.
  await open("usage?by=key&of=requests");
  const rows = main.locator("tbody tr").filter({ has: page.locator(".key") });
  await rows.filter({ hasText: KEY }).waitFor();
  const numbers = async (locator) => Promise.all((await locator.all()).map(async (row) => Number((await row.locator("td").nth(1).innerText()).replace(/\D/g, ""))));
  const sum = (await numbers(rows)).reduce((total, requests) => total + requests, 0);
  const [total = sum] = await numbers(main.locator("tfoot tr"));
  check("the rows add up to the total, and to the figure", sum === total && (await main.locator(".figure").nth(1).locator("dd").first().innerText()).replace(/\D/g, "") === String(total));
  const chart = main.locator(".chart-box").first();
  await chart.focus();
  await page.keyboard.press("t");
  const cells = await chart.locator("tbody td:not(:first-child)").allInnerTexts();
  check("the chart as a table has the same numbers", cells.reduce((all, cell) => all + Number(cell.replace(/\D/g, "")), 0) === total, cells.join(" "));
  await page.keyboard.press("t");
  await page.keyboard.press("ArrowLeft");
  check("an arrow key reads the values of a time", (await chart.getByRole("status").innerText()).includes(KEY));
  await page.keyboard.press("Escape");

  const savedTable = async () => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "CSV" }).click()]);
    return readFileSync(await download.path(), "utf8");
  };
  check("the table is saved", (await savedTable()).includes(KEY));

  await rows.getByRole("button", { name: KEY }).click();
  const filter = `key=${encodeURIComponent(KEY).replaceAll("%20", "+")}`;
  await page.getByRole("button", { name: "7 d" }).click();
  check("filter, span and grouping stand in the address", [filter, "span=7d", "by=key", "of=requests"].every((part) => page.url().includes(part)), page.url());
  await page.getByRole("link", { name: "API keys" }).first().click();
  await page.getByRole("link", { name: "Usage" }).first().click();
  check("and are there after another page", [filter, "span=7d", "by=key", "of=requests"].every((part) => page.url().includes(part)), page.url());
  await page.getByRole("link", { name: "Requests" }).first().click();
  await main.locator("tbody tr").first().waitFor();
  check("the log shows the same requests", page.url().includes(filter) && page.url().includes("span=7d") && (await main.locator("tbody tr").count()) === 2, page.url());
  await page.goBack();
  const box = await chart.locator("svg").boundingBox();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width - 6, box.y + 60, { steps: 4 });
  await page.mouse.up();
  await until(() => /from=\d+&to=\d+/.test(page.url()), `drawing over a chart shows that span: ${page.url()}`);
  await page.reload();
  await rows.first().waitFor();
  check("a span that was drawn stays in the address", /from=\d+&to=\d+/.test(page.url()) && !page.url().includes("span="), page.url());

  // The log, and one request.
  await open(`requests?${filter}`);
  await main.locator("tbody tr").first().waitFor();
  await main.getByText("live", { exact: true }).waitFor();
  await ask("deepseek-chat");
  await main.locator("tbody tr").nth(2).waitFor({ timeout: 10_000 });
  check("a request appears by itself", (await main.locator("tbody tr").count()) === 3);
  await page.getByRole("button", { name: "Hold" }).click();
  await ask("deepseek-chat");
  await until(async () => (await own()).length === 4, "the request is not booked");
  await page.waitForTimeout(500);
  check("a log that is held stays as it is", (await main.locator("tbody tr").count()) === 3);
  await page.getByRole("button", { name: "Resume" }).click();
  await page.clock.fastForward(11_000);
  await main.locator("tbody tr").nth(3).waitFor();
  check("and goes on", true);
  const saved = (await savedTable()).trim().split("\r\n");
  check("the log is saved with its filters", saved[0].startsWith("request_id,time,key,") && saved.length === 5 && saved.slice(1).every((row) => row.includes(KEY)), saved.join("\n"));

  const clicked = await main.locator("tbody tr").last().locator("a").getAttribute("href");
  await main.locator("tbody tr").last().locator("td").nth(2).click();
  await main.getByText("How the cost comes about").waitFor();
  check("the whole row of a request opens it", page.url() === base + clicked, `${page.url()} ${clicked}`);
  check("its price is told in words", (await main.innerText()).includes("price of all models on this machine"));
  await page.goBack();

  await page.getByLabel("Request id").fill(answered.headers()["x-request-id"]);
  await page.keyboard.press("Enter");
  await main.getByText("How the cost comes about").waitFor();
  const [record] = (await own()).slice(-1);
  const costs = await main.locator("section", { hasText: "How the cost comes about" }).locator("td.right").allInnerTexts();
  const nano = (text) => Math.round(Number(text.replace(/[$−]/g, "")) * 1e9);
  check("the id that a caller got opens the request, whose lines add up to its cost", costs.length >= 2 && costs.slice(0, -1).reduce((all, cost) => all + nano(cost), 0) === nano(costs.at(-1)) && nano(record.cost) === nano(costs.at(-1)), costs.join(" "));
  await open("requests/req_00000000000000000000000000000000");
  await main.getByText("No such request").waitFor();
  check("an unknown id is said", true);

  // A refused request is no failure.
  assert.equal((await ask("no-such-model")).status(), 400);
  await until(async () => (await own()).some(({ outcome }) => outcome === "model_not_found"), "the refusal is not booked");
  await open(`usage?${filter}&of=requests`);
  await rows.filter({ hasText: "no such model" }).waitFor();
  const note = main.locator(".figure").nth(1);
  check("refused requests are counted, and not as failures", (await note.innerText()).includes("0% failed, 1 refused"), await note.innerText());
  const axis = await main.locator(".chart-box").first().locator("svg text[text-anchor=end]").allTextContents();
  check("the axis of whole numbers has whole numbers", axis.every((label) => !label.includes(".")), axis.join(" "));
  await open(`requests?${filter}&outcome=refused`);
  await main.locator("tbody tr", { hasText: "no such model" }).click();
  await main.getByText("This server has no model of that name.").waitFor();
  const refusal = await main.innerText();
  check("its page says why, and that no provider was asked", refusal.includes("refused before any provider was asked") && !refusal.includes("the first provider answered"));
  const money = /\$\d*\.(?!\d)|\$\d+\.\d(?!\d)|\$\d+(?![\d.,])/;
  check("money has two digits after its point at least", !money.test(refusal) && /\$0\.00/.test(refusal), refusal);

  // What is missing is named with what helps.
  const provider = (name, change) => call("PUT", `/admin/providers/${name}`, { base_url: "http://127.0.0.1:9/v1", dialect: "openai", private: true, ...change });
  await provider("away", {});
  await provider("plain", { models: ["m-1"] });
  await until(async () => (await call("GET", "/admin/providers")).data.some(({ last_error: error }) => error), "the provider has no last error");
  await open("");
  const attention = main.locator("section", { hasText: "Needs attention" }).last();
  await attention.getByText("away is not in use").waitFor();
  check("the overview names a provider that does not answer, why, and how a price is set", /cannot be reached/.test(await attention.innerText())
    && (await attention.innerText()).includes("cachalot price set plain/m-1 --input USD --output USD"), await attention.innerText());
  await open("models");
  const models = main.locator("tbody tr");
  await models.filter({ hasText: "cachalot price set plain/m-1" }).first().waitFor();
  check("so do the models, and other names of the local one say so", (await models.filter({ has: page.getByText("deepseek-v3.2-exp", { exact: true }) }).innerText()).includes("alias of fixture")
    && !(await models.filter({ has: page.getByText("fixture", { exact: true }) }).innerText()).includes("alias of"));
  await open("providers?show=away");
  const away = models.filter({ hasText: "away" });
  await away.waitFor();
  check("the row of the provider has the error", /not in use[\s\S]*cannot be reached/.test(await away.innerText()), await away.innerText());
  check("and what removes it", (await main.innerText()).includes("cachalot provider remove away") && (await main.innerText()).includes("cachalot provider add NAME"));
  for (const name of ["away", "plain"]) await call("DELETE", `/admin/providers/${name}`);
  await open("settings");
  await main.locator(".set").first().waitFor();
  const names = await main.locator(".set > div:first-child > .medium").allInnerTexts();
  check("settings have words, and what the server chose is shown", names.every((name) => !/^[a-z]+(_[a-z]+)*$/.test(name))
    && (await main.locator("section", { hasText: "Engine" }).locator(".set").first().innerText()).includes("fixture"), names.join(", "));

  // Pages of a log with more requests than fit.
  while ((await own()).length < 55) {
    await Promise.all(Array.from({ length: 8 }, () => ask("deepseek-chat", 1)));
    await page.waitForTimeout(1000);
  }
  await open(`requests?${filter}`);
  await page.getByRole("link", { name: "Older" }).click();
  await page.getByRole("button", { name: "Newest" }).waitFor();
  await until(async () => (await main.locator("tbody tr").count()) < 50, "the older requests are not shown");
  check("older requests have an address", page.url().includes("cursor="));
  await page.goBack();
  await until(async () => (await main.locator("tbody tr").count()) >= 50, "the newest requests are not shown");

  // What pages ask for.
  let asked = [];
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (!pathname.startsWith("/console/") && pathname !== "/admin/tail") asked.push(pathname);
  });
  for (const path of ["", "usage", "requests", "providers"]) {
    await open(path);
    await page.waitForLoadState("networkidle").catch(() => {});
    await page.waitForTimeout(300);
    for (let round = 0; round < 3; round++) {
      asked = [];
      await page.clock.fastForward(10_000);
      await page.waitForTimeout(200);
      assert.equal(asked.length, 1, `${path || "overview"} asks ${asked}`);
    }
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { value: true, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    asked = [];
    await page.clock.fastForward(60_000);
    await page.waitForTimeout(200);
    assert.deepEqual(asked, [], `${path || "overview"}, which is not looked at`);
  }
  check("a page asks once in ten seconds, and not while nobody looks at it", true);

  // The server is gone.
  for (const path of PAGES) {
    await open(path);
    await page.waitForTimeout(500);
    const before = await page.locator("h1").first().innerText();
    await context.setOffline(true);
    await page.clock.fastForward(11_000);
    const note = page.locator(".note.bad", { hasText: "cannot be reached" }).first();
    await note.waitFor({ timeout: 10_000 });
    assert.ok(/from .*(ago|now)/.test(await note.innerText()), `${path}: ${await note.innerText()}`);
    assert.equal(await page.locator("h1").first().innerText(), before, path);
    await context.setOffline(false);
    for (let round = 0; round < 5 && (await note.count()) > 0; round++) {
      await page.clock.fastForward(11_000);
      await page.waitForTimeout(200);
    }
    assert.equal(await page.locator(".note.bad").count(), 0, `${path || "overview"} does not go on`);
  }
  check("every page says that the server is gone, keeps what it showed, and goes on by itself", true);
  check("no error in the browser", faults.length === 0, faults.join("\n"));
});
