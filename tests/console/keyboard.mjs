// The console by keyboard alone: log in, make a key, revoke it, log out. Focus is visible wherever it is, dialogs hold it and give it
// back. `node keyboard.mjs BASE_URL FOLDER`; the server has the owner that first_run.mjs makes.
import { PASSWORD, checks, run, watch } from "./browser.mjs";

const [base, folder] = process.argv.slice(2);
const check = checks("keyboard");
const name = "made by keyboard";

await run("keyboard", folder, async ({ page }) => {
  const faults = watch(page, base);
  const unseen = [];
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  /** What has the focus: its tag, its name, whether it lies in a dialog, and whether one sees that it has the focus. */
  const focus = () =>
    page.evaluate(() => {
      const element = document.activeElement;
      const label = element.labels?.[0]?.innerText ?? element.getAttribute("aria-label") ?? element.innerText ?? "";
      const { top, bottom, width } = element.getBoundingClientRect();
      const shown = (style) => style.outlineStyle !== "none" && style.outlineWidth !== "0px";
      // A field shows its focus by the outline of its frame.
      const framed = [element, element.parentElement].some((one) => one && shown(getComputedStyle(one)));
      const isSeen = element === document.body || (framed && bottom > 0 && top < innerHeight && width > 0);
      return { tag: element.tagName, label: label.trim(), inDialog: !!element.closest("dialog"), isSeen };
    });
  /** Tabs to the element of this name. */
  const tabTo = async (label) => {
    for (let step = 0; step < 60; step++) {
      await press("Tab");
      const at = await focus();
      if (!at.isSeen) unseen.push(at.label || at.tag);
      if (at.label === label) return;
    }
    throw new Error(`Tab does not lead to ${label}`);
  };
  const waitForFocus = async (label) => {
    for (let step = 0; step < 40 && (await focus()).label !== label; step++) await page.waitForTimeout(50);
    return (await focus()).label === label;
  };

  await page.goto(`${base}/console/`);
  check("the first field of the login has the focus", await waitForFocus("Name"));
  await tabTo("Log in with an API key or the admin token");
  await press("Enter");
  check("and so has that of a key, once it is chosen", await waitForFocus("API key or admin token"));
  await tabTo("Log in with name and password");
  await press("Enter");
  await waitForFocus("Name");
  await page.keyboard.type("olga");
  await tabTo("Password");
  await page.keyboard.type(PASSWORD);
  await press("Enter");
  await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
  await tabTo("API keys");
  await press("Enter");
  check("a page that opens has the focus on its heading", await waitForFocus("API keys"));
  await tabTo("Create key");
  await press("Enter");
  check("a dialog that opens has the focus on its first field", await waitForFocus("Name"));
  let outside = 0;
  for (let step = 0; step < 30; step++) {
    await press("Tab");
    const at = await focus();
    if (!at.inDialog && at.tag !== "BODY") outside += 1;
    if (!at.isSeen) unseen.push(at.label || at.tag);
  }
  check("a dialog holds the focus", outside === 0);
  await press("Escape");
  check("and gives it back", await waitForFocus("Create key"));
  await press("Enter");
  await waitForFocus("Name");
  await page.keyboard.type(name);
  await press("Enter");
  await page.locator(".once").waitFor();
  await tabTo("I have copied it");
  await press("Enter");
  check("the dialog of a new key gives it back too", await waitForFocus("Create key"));

  await page.getByRole("row").filter({ hasText: name }).waitFor();
  await tabTo(`More for ${name}`);
  await press("Enter");
  check("a menu that opens has the focus on its first action", await waitForFocus("Change limits"));
  await press("ArrowDown");
  check("arrows move in it", await waitForFocus("Revoke"));
  await press("Escape");
  check("Escape leaves it", await waitForFocus(`More for ${name}`));
  await press("Enter");
  await waitForFocus("Change limits");
  await press("ArrowDown", "Enter");
  check("what cannot be undone asks first, and offers to cancel", await waitForFocus("Cancel"));
  await press("Escape");
  check("and nothing is done", (await waitForFocus(`More for ${name}`)) && (await page.getByRole("row").filter({ hasText: name }).isVisible()));
  await press("Enter");
  await waitForFocus("Change limits");
  await press("ArrowDown", "Enter");
  await waitForFocus("Cancel");
  await tabTo("Revoke the key");
  await press("Enter");
  check("where its opener is gone, the heading has the focus", await waitForFocus("API keys"));
  check("the key is revoked", (await page.getByRole("row").filter({ hasText: name }).count()) === 0);

  await tabTo("Log out");
  await press("Enter");
  check("after logging out, the login has the focus", await waitForFocus("Name"));
  check("focus was visible all the way", unseen.length === 0, unseen.join(", "));
  check("no error in the browser", faults.length === 0, faults.join("\n"));
});
