// The frame of the console: navigation, theme, and which page is shown.
import { html, render, useEffect, useElement, useLayoutEffect, useMaybe, useRef, useState } from "./lib.js";
import { Icon, Whale } from "./icons.js";
import { ago } from "./format.js";
import { Boundary, Button, EmptyCard, Head, Note, Skeleton, Toasts, attempt, faultText } from "./ui.js";
import { goneSince } from "./read.js";
import * as router from "./router.js";
import { bootFault, expired, identify, logOut, me, oneTimeLink, site, start } from "./session.js";
import { words } from "./words.js";

const { nav } = words;

/** @typedef {{ path: string, icon: string, text: string, roles?: string[], load: () => Promise<any> }} Page */

/** The pages of the navigation, by groups. @type {{ title?: string, pages: Page[] }[]} */
const GROUPS = [
  {
    pages: [
      { path: "", icon: "home", text: nav.overview, load: () => import("./pages/overview.js") },
      { path: "playground", icon: "chat", text: nav.playground, load: () => import("./pages/playground.js") },
      { path: "guide", icon: "book", text: nav.guide, load: () => import("./pages/guide.js") },
    ],
  },
  {
    title: nav.work,
    pages: [
      { path: "keys", icon: "key", text: nav.keys, load: () => import("./pages/keys.js") },
      { path: "usage", icon: "chart", text: nav.usage, load: () => import("./pages/usage.js") },
      { path: "requests", icon: "list", text: nav.requests, load: () => import("./pages/requests.js") },
    ],
  },
  {
    title: nav.server,
    pages: [
      { path: "models", icon: "box", text: nav.models, load: () => import("./pages/models.js") },
      { path: "providers", icon: "plug", text: nav.providers, roles: ["viewer", "admin"], load: () => import("./pages/providers.js") },
      { path: "users", icon: "users", text: nav.users, roles: ["viewer", "admin"], load: () => import("./pages/users.js") },
      { path: "settings", icon: "gear", text: nav.settings, roles: ["viewer", "admin"], load: () => import("./pages/settings.js") },
    ],
  },
];

/** Pages that the navigation does not show. @type {Page[]} */
const OTHERS = [{ path: "account", icon: "users", text: nav.account, load: () => import("./pages/account.js") }];

/** The page of an address, if its visitor may see it. @param {string} path */
function pageOf(path) {
  const all = [...GROUPS.flatMap((group) => group.pages), ...OTHERS];
  return all.find((page) => isOpen(page) && (page.path === path || (page.path && path.startsWith(`${page.path}/`))));
}

/** Without a login only the guide is open, where it is public. @param {Page} page */
const isOpen = ({ path, roles }) => (me.value ? !roles || roles.includes(me.value.role) : path === "guide");

function changeTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // The choice lasts as long as the page.
  }
}

const ThemeButton = (/** @type {{ small?: boolean }} */ { small }) => html`
  <button class=${`btn ghost square ${small ? "small" : ""}`} type="button" aria-label=${words.theme} onClick=${changeTheme}><${Icon} name="moon" /></button>`;

function Navigation() {
  const shown = pageOf(router.path.value);
  return html`
    <nav class="nav" aria-label=${words.pages}>
      ${GROUPS.map(({ title, pages }) => {
        const open = pages.filter(isOpen);
        return open.length > 0 && html`
          ${title && html`<h2>${title}</h2>`}
          ${open.map((page) => html`
            <a href=${router.returnTo(page.path)} aria-current=${page === shown ? "page" : undefined}><${Icon} name=${page.icon} />${page.text}</a>`)}`;
      })}
    </nav>`;
}

function Who() {
  const mine = me.value;
  const out = () => attempt(async () => {
    await logOut();
    router.go("");
  });
  return html`
    <div class="side-foot">
      <div class="who">
        ${mine
          ? html`
            <span class="avatar" aria-hidden="true">${[...mine.name].slice(0, 2).join("").toUpperCase()}</span>
            <div class="grow"><div class="medium cut">${mine.name}</div><div class="tiny muted cut">${words.roles[mine.role] ?? mine.role}</div></div>`
          : html`<a class="btn grow" href=${router.href("")}>${nav.logIn}</a>`}
        <${ThemeButton} small />
      </div>
      ${mine && !mine.session && site.value.has_owner === false && html`
        <${Button} class="small" onClick=${() => {
          oneTimeLink.value = { kind: "setup" };
        }}>${words.welcome.own}<//>`}
      ${mine?.session && html`
        <div class="row between">
          <a class="btn ghost small" href=${router.href("account")}>${nav.account}</a>
          <${Button} class="ghost small" icon="out" onClick=${out}>${nav.logOut}<//>
        </div>`}
    </div>`;
}

/** The page that the address names, loaded when it is first shown. @param {{ page: Page }} props */
function PageView({ page }) {
  const [loaded, setLoaded] = useMaybe();
  useEffect(() => {
    let current = true;
    page.load().then(
      (module) => current && setLoaded({ page, view: module.default }),
      (fault) => current && setLoaded({ page, fault }),
    );
    return () => {
      current = false;
    };
  }, [page]);
  if (loaded?.page !== page) return html`<main id="main"><section class="card"><${Skeleton} /></section></main>`;
  if (loaded.fault) throw loaded.fault;
  return html`<${loaded.view} />`;
}

const NoPage = () => html`
  <main id="main"><${Head} title=${words.fault.noPage} /><${EmptyCard} title=${words.fault.noPage} text=${words.fault.noPageText}>
    <a class="btn main small" href=${router.href("")}>${words.fault.home}</a>
  <//></main>`;

/** The navigation beside the page, or behind a button where there is no room. */
function Frame() {
  const [drawer, setDrawer] = useState(false);
  const path = router.path.value;
  const page = pageOf(path);
  const content = useElement();
  const first = useRef(true);
  useEffect(() => {
    setDrawer(false);
    const before = document.activeElement;
    // What has got the focus when the frame comes keeps it.
    if (!first.current) requestAnimationFrame(() => document.activeElement === before && content.current?.querySelector("h1")?.focus());
    first.current = false;
  }, [path]);
  return html`
    <a class="skip" href="#main">${words.skip}</a>
    <div class="app">
      ${drawer && html`<div class="drawer-veil" onClick=${() => setDrawer(false)}></div>`}
      <aside class=${`side ${drawer ? "open" : ""}`} aria-label=${words.console} id="side">
        <a class="brand" href=${router.href("")}><${Whale} />${words.name}</a>
        <${Navigation} />
        <${Who} />
      </aside>
      <div ref=${content}>
        <header class="top">
          <a class="brand" href=${router.href("")}><${Whale} />${words.name}</a>
          <${ThemeButton} />
          <${Button} class="ghost square" icon=${drawer ? "x" : "menu"} aria-label=${words.menu} aria-expanded=${drawer} aria-controls="side"
            onClick=${() => setDrawer(!drawer)} />
        </header>
        ${goneSince.value > 0 && html`
          <${Note} kind="bad gone" role="alert">${words.fault.unreachable} ${words.fault.age(ago(goneSince.value / 1000))} ${words.retrySoon}.<//>`}
        <${Boundary} key=${page?.path}>${page ? html`<${PageView} page=${page} />` : html`<${NoPage} />`}<//>
      </div>
    </div>`;
}

/** Login, sign-up and the like: loaded when nobody is logged in. @param {{ name: string } & Record<string, unknown>} props */
function Gate({ name, ...props }) {
  const [gates, setGates] = useMaybe();
  useLayoutEffect(() => {
    import("./pages/gate.js").then(setGates);
  }, []);
  return gates && html`<${gates[name]} ...${props} />`;
}

function App() {
  const link = oneTimeLink.value;
  let shown;
  // A link that was used before is told from a good one by what the server says first.
  if (me.value === undefined && !bootFault.value) shown = null;
  else if (link) shown = html`<${Gate} key=${link.token} name=${{ setup: "Welcome", invitation: "SignUp", password: "NewPassword" }[link.kind]} token=${link.token} />`;
  else if (bootFault.value) shown = html`<${Unreachable} />`;
  else if (me.value === null && !(site.value.guide === "public" && router.path.value.startsWith("guide"))) shown = html`<${Gate} name="Login" />`;
  else {
    // A page whose session has ended stays, with what was typed on it, until its user is back.
    shown = html`
      <div hidden=${expired.value} inert=${expired.value}><${Frame} /></div>
      ${expired.value && html`<${Gate} name="Login" again />`}`;
  }
  return html`${shown}<${Toasts} />`;
}

function Unreachable() {
  useEffect(() => {
    const timer = setInterval(identify, 10_000);
    return () => clearInterval(timer);
  }, []);
  const text = faultText(bootFault.value);
  return html`
    <main id="main"><${EmptyCard} title=${text} text=${words.retrySoon}>
      <${Button} class="main small" onClick=${identify}>${words.retry}<//>
    <//></main>`;
}

router.start();
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("root")));
start();
