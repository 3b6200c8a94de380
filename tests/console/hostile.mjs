// Hostile names: keys, projects, users, models and browsers whose names are markup, scripts, links, long lines or other scripts.
// Every page shows them as text, makes no element of them, and does not scroll sideways.
// `node hostile.mjs BASE_URL FOLDER`; the server has the owner that first_run.mjs makes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PASSWORD, api, checks, run, watch } from "./browser.mjs";

const [base, folder] = process.argv.slice(2);
const check = checks("hostile names");
const names = readFileSync(join(import.meta.dirname, "hostile_names.txt"), "utf8").split("\n").filter(Boolean);

await run("hostile", folder, async ({ browser, context, page }) => {
  // A browser may call itself anything.
  const agent = names[0];
  const visitor = await browser.newContext({ userAgent: agent });
  await api(visitor, base, "POST", "/admin/session", { name: "olga", password: PASSWORD });
  await api(context, base, "POST", "/admin/session", { name: "olga", password: PASSWORD });
  const call = (method, path, body) => api(context, base, method, path, body);
  for (const name of names) {
    await call("POST", "/admin/projects", { name });
    await call("POST", "/admin/users", { name, role: "member" });
    await call("PUT", `/admin/projects/${encodeURIComponent(name)}/members`, { users: [name, "olga"] });
    await call("PUT", `/admin/aliases/${encodeURIComponent(name)}`, "deepseek-chat");
    const key = await call("POST", "/admin/keys", { name, project: name, user: "olga", models: [name, "deepseek-chat"] });
    const asked = await context.request.post(`${base}/v1/chat/completions`, {
      headers: { "x-cachalot-console": "1", "x-cachalot-key": key.id },
      data: { model: name, max_tokens: 1, messages: [{ role: "user", content: name }] },
    });
    assert.equal(asked.status(), 200, `${name}: ${await asked.text()}`);
  }
  for (let wait = 0; wait < 100; wait++) {
    const { data } = await call("GET", "/admin/records?limit=100");
    if (names.every((name) => data.some((record) => record.key === name))) break;
    await page.waitForTimeout(100);
  }

  const faults = watch(page, base);
  let questions = 0;
  page.on("dialog", (question) => {
    questions += 1;
    question.dismiss();
  });
  const shown = { "": "deepseek-chat", keys: null, "usage?by=key": null, requests: null, models: null, users: null, "guide/models": null, account: agent.slice(0, 40) };
  for (const [width, height] of [[1280, 800], [390, 844]]) {
    await page.setViewportSize({ width, height });
    for (const [path, text] of Object.entries(shown)) {
      await page.goto(`${base}/console/${path}`);
      await page.locator("h1").first().waitFor();
      await page.locator("main").getByText(text ?? names[0]).first().waitFor({ state: "attached" });
      if (path === "models") await page.getByPlaceholder("Find a model").fill("<");
      const found = await page.evaluate(() => ({
        elements: document.querySelectorAll("img, iframe, object, embed, math, foreignObject, form[action], base, meta[http-equiv], body script, body style, main b, main marquee").length,
        links: [...document.querySelectorAll("a")].map((link) => link.href).filter((href) => !href.startsWith(location.origin)),
        handlers: [...document.querySelectorAll("*")].filter((element) => [...element.attributes].some(({ name }) => name.startsWith("on"))).length,
        ran: "ran" in globalThis,
        sideways: document.documentElement.scrollWidth - innerWidth,
      }));
      const label = `${path || "overview"} at ${width}`;
      check(`${label} makes no element of a name`, found.elements === 0 && found.links.length === 0 && found.handlers === 0 && !found.ran, JSON.stringify(found));
      check(`${label} does not scroll sideways`, found.sideways <= 0, `${found.sideways} px`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.goto(`${base}/console/keys`);
  for (const name of names) await page.locator("main").getByText(name, { exact: true }).first().waitFor({ state: "attached" });
  check("names are shown as they are", true);
  await page.getByRole("button", { name: `More for ${names[0]}`, exact: true }).first().click();
  await page.getByRole("menuitem", { name: "Revoke" }).click();
  check("a question names what it is about", await page.getByRole("heading", { name: `Revoke ${names[0]}?` }).isVisible());
  check("nothing ran and nothing was reported", questions === 0 && faults.length === 0, faults.join("\n"));
});
