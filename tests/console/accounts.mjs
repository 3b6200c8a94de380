// Accounts in the browser: login, invitation, sign-up, what a member sees and may do, passwords, sessions, roles.
// `node accounts.mjs BASE_URL FOLDER`; the server has the owner that first_run.mjs makes.
import { PASSWORD, api, checks, run, watch } from "./browser.mjs";

const [base, folder] = process.argv.slice(2);
const check = checks("accounts");

await run("accounts", folder, async ({ browser, context, page }) => {
  const faults = watch(page, base, ["status of 401", "status of 409", "status of 429"]);
  const untouched = [];
  page.on("console", (message) => message.type() === "error" && untouched.push(message.text()));
  const open = async (path = "", other = page) => {
    await other.goto(`${base}/console/${path}`);
    await other.locator("h1").first().waitFor();
  };
  const logIn = async (other, name, password = PASSWORD) => {
    // A page whose session has ended waits below the login, with fields of its own.
    const gate = other.locator(".gate");
    await gate.getByLabel("Name", { exact: true }).fill(name);
    await gate.getByLabel("Password", { exact: true }).fill(password);
    await gate.getByRole("button", { name: "Log in", exact: true }).click();
  };
  const visitor = async () => {
    const other = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
    other.setDefaultTimeout(60_000);
    return { page: other, faults: watch(other, base, ["status of 401", "status of 400"]) };
  };

  await open("keys");
  check("a visitor is asked to log in, without an error in the browser's log", await page.getByRole("heading", { name: /^Log in to/ }).isVisible());
  check("and without one refused call", untouched.length === 0, untouched.join("\n"));
  await logIn(page, "nobody");
  await page.getByText("Name and password do not match.").waitFor();
  await logIn(page, "olga", "wrong password!");
  await page.getByText("Name and password do not match.").waitFor();
  check("an unknown name and a wrong password get the same words", true);
  await logIn(page, "olga");
  await page.getByRole("heading", { name: "API keys" }).waitFor();
  check("after the login, the page that was asked for is shown", page.url() === `${base}/console/keys`);

  // An invitation.
  await open("users");
  const signup = page.locator(".card", { hasText: "Signing up" });
  check("the page says who may sign up", /Invitations only.*default.*Who signs up gets/s.test(await signup.innerText()), await signup.innerText());
  check("the last admin can be neither demoted nor disabled", (await page.getByLabel("Role of olga").count()) === 0 && (await page.getByText("the last admin").isVisible()));
  await page.getByRole("button", { name: "More for olga" }).click();
  check("and its menu says nothing of it", (await page.getByRole("menuitem", { name: "Disable" }).count()) === 0);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Invite" }).click();
  const dialog = page.locator("dialog");
  await dialog.getByLabel("Budget").fill("1,5");
  check("a budget of 1,5 is refused at its field", (await dialog.getByLabel("Budget").getAttribute("aria-invalid")) === "true");
  await dialog.getByLabel("Budget").fill("5");
  await dialog.getByLabel("Name", { exact: true }).fill("olga");
  await dialog.getByRole("button", { name: "Create invitation" }).click();
  await dialog.getByText("there is a user `olga` already").waitFor();
  await dialog.getByLabel("Name", { exact: true }).fill("bob");
  await dialog.getByRole("button", { name: "Create invitation" }).click();
  const invitation = await dialog.locator(".once code").innerText();
  check("a link is shown", invitation.startsWith(`${base}/console/#invitation=`), invitation);
  await dialog.getByRole("button", { name: "I have copied it" }).click();

  // Signing up.
  const bob = await visitor();
  await bob.page.goto(invitation);
  await bob.page.getByRole("heading", { name: /^Create your account at/ }).waitFor();
  await bob.page.getByLabel("Password").fill("short");
  check("a short password cannot be sent", await bob.page.getByRole("button", { name: "Create account" }).isDisabled());
  await bob.page.getByLabel("Password").fill(PASSWORD);
  await bob.page.getByLabel("Your name").fill("eve");
  await bob.page.getByRole("button", { name: "Create account" }).click();
  await bob.page.getByText("This invitation is for another name").waitFor();
  await bob.page.getByLabel("Your name").fill("bob");
  await bob.page.getByRole("button", { name: "Create account" }).click();
  await bob.page.getByRole("heading", { name: "Overview" }).waitFor();
  check("the invited name gets the account", await bob.page.getByText("bob", { exact: true }).first().isVisible());
  const again = await visitor();
  await again.page.goto(invitation);
  await again.page.getByLabel("Your name").fill("bob");
  await again.page.getByLabel("Password").fill(PASSWORD);
  await again.page.getByRole("button", { name: "Create account" }).click();
  await again.page.getByText("This invitation has been used").waitFor();
  check("an invitation works once", true);

  // What a member sees, and may do.
  const pages = await bob.page.locator("nav.nav a").allInnerTexts();
  const isMissing = (name) => !pages.includes(name);
  check("a member sees the pages of members", !["Overview", "API guide", "API keys", "Requests", "Models"].some(isMissing) && ["Providers", "Users", "Settings"].every(isMissing), pages.join());
  await open("users", bob.page);
  check("and no other", await bob.page.getByRole("heading", { name: "No such page" }).first().isVisible());
  await open("keys", bob.page);
  await bob.page.getByRole("button", { name: "Create key" }).first().click();
  const bobs = bob.page.locator("dialog");
  await bobs.getByLabel("Name", { exact: true }).fill("bob's laptop");
  check("a key of a member is in a project of the member", (await bobs.getByLabel("Project").locator("option").allInnerTexts()).join() === "default");
  for (const budget of ["", "5.01"]) {
    await bobs.getByLabel("Budget").fill(budget);
    await bobs.getByRole("button", { name: "Create key" }).click();
    await bobs.getByText("Your keys may have $5").waitFor();
    await bobs.getByLabel("Budget").fill("1");
  }
  check("a budget beyond the member's is refused at its field, in the server's words", true);
  await bobs.getByRole("button", { name: "Create key" }).click();
  await bobs.getByRole("button", { name: "I have copied it" }).click();
  await bob.page.getByRole("row").filter({ hasText: "bob's laptop" }).waitFor();
  check("a member sees their own keys only", (await bob.page.locator("tbody tr").count()) === 1);
  await open("requests", bob.page);
  await bob.page.getByRole("heading", { name: "No requests yet" }).waitFor();
  await open("guide", bob.page);
  await bob.page.getByRole("button", { name: "Run it here" }).first().click();
  await bob.page.locator(".measure").first().getByText("req_").waitFor();
  await open("requests", bob.page);
  await bob.page.getByRole("row").filter({ hasText: "bob's laptop" }).waitFor();
  check("what a member runs is a request of their own key", (await bob.page.locator("tbody tr").count()) === 1);
  await open("models", bob.page);
  await bob.page.getByRole("row").filter({ hasText: "deepseek-chat" }).waitFor();

  // Passwords and sessions.
  const second = await visitor();
  await open("", second.page);
  await logIn(second.page, "bob");
  await second.page.getByRole("heading", { name: "Overview" }).waitFor();
  await open("account", bob.page);
  await bob.page.getByRole("button", { name: "End", exact: true }).waitFor();
  check("both sessions are listed", (await bob.page.locator("main li").count()) === 2);
  const change = async (old, password) => {
    await bob.page.getByLabel("Old password").fill(old);
    await bob.page.getByLabel("New password").fill(password);
    await bob.page.getByRole("button", { name: "Change password" }).click();
  };
  await change("wrong password!", `${PASSWORD} 2`);
  await bob.page.getByText("The old password is wrong.").waitFor();
  await change(PASSWORD, `${PASSWORD} 2`);
  await bob.page.getByText("your other sessions have ended").waitFor();
  await bob.page.getByText("this one").waitFor();
  await second.page.getByRole("link", { name: "API keys" }).first().click();
  await second.page.getByText("Your session has ended.").waitFor();
  check("a new password ends the other sessions, whose page asks for a login", true);

  // A role that is taken away, while something is being typed.
  await open("keys", bob.page);
  await bob.page.getByRole("button", { name: "Create key" }).first().click();
  await bobs.getByLabel("Name", { exact: true }).fill("half a na");
  await open("users");
  await page.getByLabel("Role of bob").selectOption("viewer");
  await page.getByText("bob is now viewer").waitFor();
  await bob.page.getByText("Your session has ended.").waitFor({ timeout: 15_000 });
  await logIn(bob.page, "bob", `${PASSWORD} 2`);
  await bobs.getByLabel("Name", { exact: true }).waitFor();
  check("after the login, the page goes on with what was typed", (await bobs.getByLabel("Name", { exact: true }).inputValue()) === "half a na");
  await bobs.getByRole("button", { name: "Cancel" }).click();
  await bob.page.getByRole("link", { name: "Users" }).waitFor();
  check("a viewer sees more pages", true);
  await open("users", bob.page);
  check("and changes nothing", (await bob.page.getByLabel("Role of bob").count()) === 0 && (await bob.page.getByRole("button", { name: "Invite" }).count()) === 0);

  // The members of a project.
  await open("keys");
  await page.getByRole("button", { name: "More for default" }).click();
  await page.getByRole("menuitem", { name: "Members" }).click();
  check("bob is a member of the project of his invitation", await dialog.getByLabel("bob").isChecked());
  await dialog.getByLabel("olga").check();
  await dialog.getByRole("button", { name: "Save members" }).click();
  await page.getByText("The members of default are changed").waitFor();
  await open("users");
  await page.getByRole("row").filter({ hasText: "olga" }).getByText("default").waitFor();
  check("the members of a project can be changed", true);

  // A link that sets a password.
  await page.getByRole("button", { name: "More for bob" }).click();
  await page.getByRole("menuitem", { name: "Link to set a password" }).click();
  const link = await dialog.locator(".once code").innerText();
  await dialog.getByRole("button", { name: "I have copied it" }).click();
  const third = await visitor();
  await third.page.goto(link);
  await third.page.getByLabel("Password").fill(`${PASSWORD} 3`);
  await third.page.getByRole("button", { name: "Set the password" }).click();
  await third.page.getByRole("heading", { name: "Overview" }).waitFor();
  check("a link of an admin sets a password", true);
  await page.getByRole("button", { name: "More for bob" }).click();
  await page.getByRole("menuitem", { name: "Disable" }).click();
  await dialog.getByRole("button", { name: "Disable" }).click();
  await page.getByText("bob is disabled").waitFor();
  await third.page.getByText("Your session has ended.").waitFor();
  await logIn(third.page, "bob", `${PASSWORD} 3`);
  await third.page.getByText("Name and password do not match.").waitFor();
  check("a disabled user is out, and cannot come back", true);
  const refused = await context.request.fetch(`${base}/admin/users/olga`, { method: "PATCH", data: { disabled: true }, headers: { "x-cachalot-console": "1" } });
  check("the server keeps the last admin too", refused.status() === 409);

  // Logging out, and too many wrong passwords.
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("heading", { name: /^Log in to/ }).waitFor();
  for (let index = 0; index < 5; index++) {
    await logIn(page, "mallory");
    await page.getByText("Name and password do not match.").waitFor();
  }
  await logIn(page, "mallory");
  await page.getByText(/Too many tries. Wait 15 minutes/).waitFor();
  check("the sixth wrong password has to wait", true);
  check("nothing else went wrong", [faults, bob.faults, again.faults, second.faults, third.faults].flat().length === 0, JSON.stringify([faults, bob.faults, again.faults, second.faults, third.faults]));
});
