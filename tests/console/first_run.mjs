// The first minute of a new server: the printed link, an owner, a key that is shown once, the guide's Python snippet in a real Python,
// the request in the list with its cost, and no trace of the key or the password in the browser or in the log.
// `PYTHON=... node first_run.mjs BASE_URL LINK LOG_FILE FOLDER`; the server must be new.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { PASSWORD, api, checks, run, watch } from "./browser.mjs";
import { startClock } from "./own_time.mjs";

const [base, link, logFile, folder] = process.argv.slice(2);
const elapsed = startClock();
const check = checks("first run");

await run("first-run", folder, async ({ page }) => {
  // The dialog is told about wrong fields by the server.
  const faults = watch(page, base, ["status of 400"]);
  await page.goto(base);
  await page.getByRole("heading", { name: "First steps" }).waitFor();
  check("a browser is sent to the console, which needs no login on this machine", page.url() === `${base}/console/`);

  await page.getByRole("button", { name: "Make your account" }).click();
  await page.getByRole("heading", { name: "Make your account" }).waitFor();
  await page.getByRole("button", { name: "Go on without an account" }).click();
  await page.getByRole("heading", { name: "First steps" }).waitFor();
  check("whoever is on this machine is offered an account, and may go on without", true);

  await page.goto(link);
  await page.getByLabel("Your name").fill("olga");
  check("the link is not in the address any more", page.url() === `${base}/console/`);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Create the owner’s account" }).click();
  await page.getByRole("heading", { name: "First steps" }).waitFor();
  check("the printed link makes the owner", await page.getByText("olga").isVisible());
  const [cookie] = await page.context().cookies();
  check("the cookie is not for scripts and not for other sites", cookie.httpOnly && cookie.sameSite === "Strict" && cookie.path === "/" && (await page.evaluate("document.cookie")) === "");

  await page.goto(link);
  await page.getByRole("heading", { name: "This server has an owner" }).waitFor();
  check("a link that was used says what to do", (await page.locator("main").innerText()).includes("cachalot user link NAME") && !(await page.getByLabel("Your name").isVisible()));
  await page.getByRole("button", { name: "Log in" }).click();

  // Before there is a key.
  const refused = [];
  page.on("response", (response) => response.status() >= 400 && refused.push(response.url()));
  await page.goto(`${base}/console/playground`);
  await page.getByRole("heading", { name: "A key is needed" }).waitFor();
  check("the playground without a key offers to make one, and no empty list of models", (await page.locator(".play-bar select").count()) === 0);
  await page.goto(`${base}/console/guide`);
  await page.locator(".docs-body .code").first().waitFor();
  await page.locator(".choices select").nth(1).waitFor();
  check("nor does the guide ask in vain", refused.length === 0, refused.join(" "));
  await page.goto(base);

  await page.getByRole("button", { name: "Create an API key" }).click();
  const dialog = page.locator("dialog");
  const submit = dialog.getByRole("button", { name: "Create key" });
  /** Leaves a field with a value, and tells whether it is refused there, and in which words. */
  const refusal = async (label) => {
    const field = dialog.getByLabel(label, { exact: true });
    if ((await field.getAttribute("aria-invalid")) !== "true") return null;
    return dialog.locator(`[id="${await field.getAttribute("aria-describedby")}"]`).innerText();
  };
  for (const budget of ["1,5", "minus five", "1e99", "1.5"]) {
    await dialog.getByLabel("Budget").fill(budget);
    await dialog.getByLabel("Budget").blur();
    check(`a budget of ${budget} is ${budget === "1.5" ? "taken" : "refused at its field"}`, ((await refusal("Budget")) === null) === (budget === "1.5"));
  }
  await dialog.getByLabel("Name", { exact: true }).fill("x".repeat(65));
  await submit.click();
  check("a name of 65 characters is refused at its field", (await refusal("Name"))?.includes("1 to 64"));
  const name = '<img src=x onerror="alert(1)">';
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await dialog.getByRole("button", { name: "Only these" }).click();
  await dialog.getByLabel("Add a model").fill("narwhal-9");
  await dialog.getByLabel("Add a model").press("Enter");
  await submit.click();
  await dialog.getByText("is not a model of this server").waitFor();
  check("an unknown model is refused at its field, in the server's words", true);
  await dialog.getByRole("button", { name: "All" }).click();
  await dialog.getByText("Limits", { exact: true }).click();
  await dialog.getByLabel("Allowed networks").fill("10.0.0.0/99");
  await submit.click();
  await dialog.getByText("`10.0.0.0/99` is not an address").waitFor();
  check("a range that is none is refused at its field, in the server's words", (await refusal("Allowed networks")) !== null);
  await dialog.getByLabel("Allowed networks").fill("");
  await dialog.getByLabel("Expires").selectOption("day");
  await dialog.getByLabel("Day", { exact: true }).fill("2020-01-01");
  await submit.click();
  await dialog.getByText("The time is in the past").waitFor();
  check("an expiry in the past is refused at its field, in the server's words", (await refusal("Expires")) !== null);
  await dialog.getByLabel("Expires").selectOption("30");
  await submit.click();
  const shown = page.locator(".once code");
  await shown.waitFor();
  const key = await shown.innerText();
  check("a key is shown", /^sk-[\w-]{30,}$/.test(key));
  check("its snippet is not cut off", await dialog.locator("pre").evaluate((pre) => pre.scrollWidth <= pre.clientWidth));

  for (let index = 0; index < 3; index++) await page.keyboard.press("Escape");
  await page.mouse.click(5, 5);
  check("only its button closes the dialog", await shown.isVisible());
  const asked = [];
  page.on("dialog", (question) => {
    asked.push(question.type());
    question.dismiss();
  });
  await page.evaluate(() => history.back());
  await page.waitForTimeout(300);
  check("leaving the page asks once", asked.length === 1 && (await shown.isVisible()), JSON.stringify(asked));
  await dialog.getByRole("button", { name: "Copy", exact: true }).first().click();
  check("the key is copied", (await page.evaluate(() => navigator.clipboard.readText())) === key);
  await page.getByRole("button", { name: "I have copied it" }).click();

  // The snippet of the guide, as the page shows it.
  await page.getByRole("link", { name: "API guide" }).first().click();
  const aside = page.locator(".aside").first();
  await aside.getByRole("tab", { name: "Python", exact: true }).click();
  const snippet = await aside.locator("pre").first().innerText();
  await aside.getByRole("button", { name: "Copy" }).first().click();
  check("what is copied is what is shown", (await page.evaluate(() => navigator.clipboard.readText())) === snippet && snippet.includes(key));
  const said = execFileSync(process.env.PYTHON ?? "python3", ["-c", snippet], { env: { ...process.env, NO_PROXY: "127.0.0.1" }, encoding: "utf8" });
  check("it runs in Python", said.trim().length > 0);

  await page.getByRole("link", { name: "Requests" }).first().click();
  const row = page.getByRole("row").filter({ hasText: name });
  await row.waitFor();
  check("the request is listed with its cost", /\$\d/.test(await row.innerText()), await row.innerText());
  await page.getByRole("link", { name: "Overview" }).first().click();
  await page.getByRole("heading", { name: "Latest requests" }).waitFor();
  check("the overview has turned over", !(await page.getByRole("heading", { name: "First steps" }).isVisible()));

  const hint = page.getByText("Programs now need a key.");
  check("with a key, nothing says that one is needed", !(await hint.isVisible()));
  const call = (method, path, body) => api(page.context(), base, method, path, body);
  for (const { id } of (await call("GET", "/admin/keys")).data) await call("DELETE", `/admin/keys/${id}`);
  await page.reload();
  await hint.waitFor();
  await page.getByRole("button", { name: "Create one" }).click();
  await dialog.getByLabel("Name", { exact: true }).fill("the next");
  await submit.click();
  await page.getByRole("button", { name: "I have copied it" }).click();
  await hint.waitFor({ state: "detached" });
  check("without a key, the overview offers to make one, until there is one", true);

  const stored = await page.evaluate(async () => JSON.stringify([
    { ...localStorage }, { ...sessionStorage }, await indexedDB.databases(), document.cookie, location.href, history.state,
  ]));
  check("the browser stores no key", !stored.includes(key) && JSON.parse(stored)[2].length === 0);
  check("no image was made of a name", (await page.locator("img").count()) === 0);
  const log = readFileSync(logFile, "utf8");
  check("the log has no secret", ![key, PASSWORD, link.split("=").pop(), cookie.value].some((secret) => log.includes(secret)));
  check("no error in the browser", faults.length === 0, faults.join("\n"));
  const { total, others } = elapsed();
  check(`under a minute (${Math.round(total)} s, of which the machine worked ${Math.round(others)} s for others)`, total - others < 60);
});
