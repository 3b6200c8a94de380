// Who uses the console, the settings that hold before a login, and the key that this tab knows.
import { signal } from "./lib.js";
import { call, faultOf, loggedOut, send } from "./calls.js";
import { holdsSecret } from "./router.js";

/** @typedef {{ name: string, role: string, session?: any, projects?: string[], keys?: string[], features?: any }} Me */

/** Who it is: undefined until known, null if nobody is logged in. */
export const me = signal(/** @type {Me | null | undefined} */ (undefined));

/** Whether a session ended while a page was open; the page waits below the login. */
export const expired = signal(false);

/** Why the server did not say who it is. */
export const bootFault = signal(/** @type {any} */ (null));

/** What the server says to everybody. */
export const site = signal(/** @type {{ version: string, guide: string, signup: string, signed_in: boolean, has_owner: boolean | null }} */ ({
  version: "", guide: "login", signup: "closed", signed_in: false, has_owner: null,
}));

/** The key that was made in this tab, if it may be filled into snippets. It is nowhere else. */
export const tabKey = signal(/** @type {{ id: string, name: string, secret: string } | null} */ (null));

/** The one-time link that was opened: its kind and its token; an open sign-up has none. */
export const oneTimeLink = signal(takeToken());

/** Reads `#setup=TOKEN` and its like, and takes it out of the address. @returns {{ kind: string, token?: string } | null} */
function takeToken() {
  const found = /^#(setup|invitation|password)=([\w-]+)$/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return { kind: found[1], token: found[2] };
}

/** The name of the last user of this tab. @type {string | null} */
let lastName = null;

/** Asks who it is: first the settings, which everybody may read, so that a visitor is not refused anything. */
export async function identify() {
  try {
    const settings = await send("GET", "/console/settings.json");
    if (!settings.ok) throw await faultOf(settings);
    site.value = await settings.json();
    const found = site.value.signed_in ? await call("GET", "/admin/me") : null;
    // What the last user typed, read and made in this tab is not for another one.
    if (found && lastName !== null && found.name !== lastName) return location.reload();
    lastName = found?.name ?? lastName;
    me.value = found;
    if (found) expired.value = false;
    bootFault.value = null;
  } catch (fault) {
    const status = /** @type {any} */ (fault).status;
    if (status === 401 || status === 403) me.value = null;
    else bootFault.value = fault;
  }
}

export async function start() {
  loggedOut.listener = () => {
    // A key that is shown only once is not taken away; the login follows when its dialog is closed.
    if (me.value && !holdsSecret.value) expired.value = true;
  };
  addEventListener("hashchange", () => {
    // A link that is opened in a tab of the console does not load the page anew.
    oneTimeLink.value = takeToken() ?? oneTimeLink.value;
  });
  await identify();
}

/** Ends the session. @param {boolean} [everywhere] */
export async function logOut(everywhere) {
  await call("DELETE", `/admin/session${everywhere ? "?all=true" : ""}`);
  tabKey.value = null;
  expired.value = false;
  await identify();
}
