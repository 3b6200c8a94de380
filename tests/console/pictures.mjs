// Pictures of every page in both themes and at three widths, and what an automatic check can find on them: console errors,
// reports of the Content-Security-Policy, requests to other hosts, sideways scrolling, and axe-core's findings.
// `node pictures.mjs BASE_URL FOLDER [PAGE ...]`; the server has the owner that first_run.mjs makes.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { PASSWORD, api, launch, watch } from "./browser.mjs";

const [base, folder, ...only] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const press = (name) => (page) => page.getByRole("button", { name }).first().click();

/** The pages by who sees them: path, and what is done there before the picture. */
const pages = {
  visitor: {
    login: [""], "login-key": ["", press("Log in with an API key or the admin token")], welcome: ["#setup=none"], "sign-up": ["#invitation=none"],
    "new-password": ["#password=none"],
  },
  olga: {
    overview: [""], guide: ["guide"], "guide-chat": ["guide/chat"], "guide-models": ["guide/models"], "guide-limits": ["guide/limits"], keys: ["keys"],
    "keys-create": ["keys", async (page) => {
      await press("Create key")(page);
      await page.locator("summary").click();
      await page.getByLabel("Budget").fill("1,5");
      await page.getByLabel("Budget").blur();
    }],
    "project-members": ["keys", async (page) => {
      await press("More for default")(page);
      await page.getByRole("menuitem", { name: "Members" }).click();
      await page.locator("dialog .check").first().waitFor();
    }],
    usage: ["usage"], "usage-table": ["usage?span=24h", press("As a table")],
    requests: ["requests"], request: ["requests", async (page) => {
      await page.locator("main tbody a").first().click();
      await page.getByText("How the cost comes about").waitFor();
    }], models: ["models"], providers: ["providers"], users: ["users"], invite: ["users", press("Invite")],
    "user-menu": ["users", press("More for mia")], settings: ["settings"], account: ["account"], missing: ["no/such/page"],
  },
  mia: { "member-overview": [""], "member-keys": ["keys"], "member-create": ["keys", press("Create key")], "member-usage": ["usage"], "member-requests": ["requests"] },
};

mkdirSync(folder, { recursive: true });
const browser = await launch();
let faults = 0;
const fault = (name, text) => {
  faults += 1;
  console.log(`${name}: ${text}`);
};

const owner = await browser.newContext();
await api(owner, base, "POST", "/admin/session", { name: "olga", password: PASSWORD });
const { data: users } = await api(owner, base, "GET", "/admin/users");
if (!users.some(({ name }) => name === "mia")) {
  const { link } = await api(owner, base, "POST", "/admin/invitations", { name: "mia", role: "member", project: "default", budget: "20", days: 1 });
  await api(await browser.newContext(), base, "POST", "/admin/signup", { token: link.split("#invitation=")[1], name: "mia", password: PASSWORD });
}

/** Opens the pages of somebody in one theme, at one width. */
async function look(who, theme, width, height) {
  // The page's policy forbids scripts from elsewhere, axe-core among them.
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, bypassCSP: true, reducedMotion: "reduce" });
  if (who !== "visitor") await api(context, base, "POST", "/admin/session", { name: who, password: PASSWORD });
  for (const [name, [path, act]] of Object.entries(pages[who])) {
    if (only.length > 0 && !only.includes(name)) continue;
    const label = `${name}-${width}-${theme}`;
    const page = await context.newPage();
    const found = watch(page, base);
    await page.goto(`${base}/console/${path}`);
    await page.waitForSelector("h1, .empty");
    // The log keeps a connection open.
    await page.waitForLoadState("networkidle", { timeout: 1000 }).catch(() => {});
    await act?.(page);
    await page.waitForTimeout(250);
    const scroll = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (scroll > 0) fault(label, `scrolls sideways by ${scroll} px`);
    // At the least width, only what must not scroll is looked at.
    if (width !== 320) {
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      for (const { id, impact, nodes } of violations) fault(label, `axe ${impact} ${id}: ${nodes.slice(0, 2).map((node) => node.html.slice(0, 160)).join(" | ")}`);
      await page.screenshot({ path: `${folder}/${label}.png`, fullPage: !act });
    }
    for (const text of found) fault(label, text);
    await page.close();
  }
  await context.close();
}

const sizes = [["light", 1440, 900], ["dark", 1440, 900], ["light", 390, 844], ["dark", 390, 844], ["light", 320, 640]];
const left = Object.keys(pages).flatMap((who) => sizes.map((size) => [who, ...size]));
// A page waits for the network more than it computes.
const worker = async () => {
  while (left.length > 0) await look(...left.shift());
};
await Promise.all([worker(), worker(), worker()]);
await browser.close();
console.log(`${faults} faults`);
process.exit(faults ? 1 : 0);
