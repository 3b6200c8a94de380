// The address: which page is shown, and its parameters.
import { batch, signal } from "./lib.js";
import { words } from "./words.js";

const BASE = "/console/";

/** The path below `/console/`, without slashes at its ends: `keys`, `guide/chat`; empty for the first page. */
export const path = signal(current());

/** The parameters of the address. */
export const query = signal(new URLSearchParams(location.search));

/** Whether leaving the page would lose something that cannot be had again. */
export const holdsSecret = signal(false);

/** @param {string} page */
export const href = (page) => BASE + page;

/** The parameters that the pages about requests share: what is looked at, and when. */
const SHARED = ["span", "from", "to", "key", "project", "model", "provider", "outcome"];
const SHARERS = ["usage", "requests"];

/** The parameters that each page was left with. @type {Map<string, URLSearchParams>} */
const left = new Map();

/** The shared parameters that were chosen last. */
let shared = new URLSearchParams();

/** The address of a page as it was left: with its filters, its span and its sorting. @param {string} page without parameters */
export function returnTo(page) {
  // Links follow the address.
  void query.value;
  const parameters = new URLSearchParams(left.get(page));
  if (SHARERS.includes(page)) {
    for (const name of SHARED) parameters.delete(name);
    for (const [name, value] of shared) parameters.append(name, value);
  }
  const text = parameters.toString();
  return href(page) + (text && `?${text}`);
}

function current() {
  return location.pathname.replace(/^\/console\/*/, "").replace(/\/+$/, "");
}

function follow() {
  batch(() => {
    path.value = current();
    query.value = new URLSearchParams(location.search);
  });
  remember();
}

function remember() {
  left.set(path.value, query.value);
  if (SHARERS.includes(path.value)) shared = new URLSearchParams([...query.value].filter(([name]) => SHARED.includes(name)));
}

/** Shows another page. @param {string} page below `/console/`, with its parameters */
export function go(page) {
  history.pushState(null, "", href(page));
  follow();
  scrollTo(0, 0);
}

/** Changes parameters of the address; null removes one, a list repeats one. @param {Record<string, string | string[] | null>} changes */
export function setQueries(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    url.searchParams.delete(name);
    for (const one of [value].flat()) if (one !== null) url.searchParams.append(name, one);
  }
  history.replaceState(null, "", url);
  follow();
}

/** Changes one parameter of the address; null removes it. @param {string} name @param {string | null} value */
export const setQuery = (name, value) => setQueries({ [name]: value });

/** Follows links and the browser's buttons without loading the page anew. */
export function start() {
  remember();
  let returning = false;
  addEventListener("popstate", () => {
    if (returning) returning = false;
    else if (holdsSecret.value && !confirm(words.keys.leave)) {
      // The browser has gone back already.
      returning = true;
      history.forward();
    } else follow();
  });
  addEventListener("beforeunload", (event) => {
    if (holdsSecret.value) event.preventDefault();
  });
  addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const isPage = link.origin === location.origin && link.pathname.startsWith(BASE) && !link.pathname.includes(".");
    if (!isPage || link.target || link.hasAttribute("download") || (link.pathname === location.pathname && link.hash)) return;
    event.preventDefault();
    go(link.pathname.slice(BASE.length) + link.search);
  });
}
