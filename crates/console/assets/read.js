// What pages read from the server: all of it at first, then one call every ten seconds, the one that was asked longest ago, while the page is
// looked at and its session holds. What was read stays when a later call fails.
import { html, signal, useEffect, useRef, useState } from "./lib.js";
import { Fault, call, send } from "./calls.js";
import { expired } from "./session.js";
import { ErrorNote, Skeleton } from "./ui.js";

/**
 * `once`: read again only if it failed. `seldom`: what changes less often waits longer than others.
 * @typedef {{ asked: number, failed: boolean, once?: boolean, seldom?: boolean, read: () => Promise<void> }} Reader
 */

const PAUSE_MS = 10_000;
/** A server that does not answer for so long cannot be reached. */
const TIMEOUT_MS = 20_000;

/** The readers of what is shown. @type {Set<Reader>} */
const readers = new Set();
let isBusy = false;
let lastRead = 0;

/** When a page that reads nothing found the server gone, in milliseconds since 1970; 0 while it is there. */
export const goneSince = signal(0);

/** Asks for a sign of life where nothing else is asked. @type {Reader} */
const heartbeat = { asked: 0, failed: false, async read() {
  heartbeat.failed = await send("GET", "/readyz", { signal: AbortSignal.timeout(TIMEOUT_MS) }).then(() => false, () => true);
  goneSince.value = heartbeat.failed ? goneSince.value || Date.now() : 0;
} };

async function readNext() {
  const waiting = [...readers].filter(({ failed, once }) => failed || !once);
  if (isBusy || document.hidden || expired.value || Date.now() - lastRead < PAUSE_MS / 2) return;
  if (waiting.length === 0 || heartbeat.failed) waiting.push(heartbeat);
  isBusy = true;
  lastRead = Date.now();
  const age = (/** @type {Reader} */ { asked, failed, seldom }) => (failed ? Infinity : (Date.now() - asked) / (seldom ? 6 : 1));
  const next = waiting.reduce((first, other) => (age(other) > age(first) ? other : first));
  const hadFailed = next.failed;
  await next.read();
  isBusy = false;
  // The server is back.
  if (hadFailed && !next.failed) for (const reader of readers) if (reader.failed) reader.read();
}
setInterval(readNext, PAUSE_MS);
document.addEventListener("visibilitychange", readNext);

/**
 * Has something read every ten seconds, as all that is read here. @param {() => Promise<boolean>} read tells whether it could be read
 */
export function usePolling(read) {
  const latest = useRef(read);
  latest.current = read;
  useEffect(() => {
    /** @type {Reader} */
    const reader = { asked: Date.now(), failed: false, async read() {
      reader.asked = Date.now();
      reader.failed = !(await latest.current());
    } };
    readers.add(reader);
    return () => void readers.delete(reader);
  }, []);
}

/** @typedef {{ data: any[] | null, fault: any, at: number, reload: () => Promise<void> }} Read `at`: when all of it was there, in milliseconds since 1970 */

/**
 * The results of several readings. Where `key` changes, what was read before stays until all of the new is there.
 * @param {string} key @param {(() => Promise<any>)[]} loads @param {{ once?: boolean, seldom?: boolean }} options
 * @returns {Read}
 */
function useReaders(key, loads, options) {
  const [state, setState] = useState(/** @type {{ data: any[] | null, fault: any, at: number }} */ ({ data: null, fault: null, at: 0 }));
  /** @type {{ current: Reader[] }} */
  const own = useRef([]);
  useEffect(() => {
    if (expired.value) return;
    let isShown = true;
    /** @type {any[]} */
    const results = loads.map(() => undefined);
    /** @type {any[]} */
    const faults = loads.map(() => null);
    own.current = loads.map((load, index) => {
      /** @type {Reader} */
      const reader = { asked: 0, failed: false, ...options, async read() {
        reader.asked = Date.now();
        try {
          results[index] = await load();
          faults[index] = null;
        } catch (fault) {
          faults[index] = fault;
        }
        reader.failed = faults[index] !== null;
        if (!isShown) return;
        const isWhole = results.every((result) => result !== undefined);
        const fault = faults.find((found) => found !== null) ?? null;
        setState((before) => ({ data: isWhole ? [...results] : before.data, fault, at: isWhole && !fault ? Date.now() : before.at }));
      } };
      return reader;
    });
    for (const reader of own.current) {
      readers.add(reader);
      reader.read();
    }
    lastRead = Date.now();
    return () => {
      isShown = false;
      for (const reader of own.current) readers.delete(reader);
    };
    // After a session has ended, nothing is asked until its user is back.
  }, [key, expired.value]);
  return { ...state, reload: async () => void (await Promise.all(own.current.map((reader) => reader.read()))) };
}

/**
 * The answers of calls. With `optional`, what this server does not have, a store or a route, is `{ missing: why, data: [] }`. `resolve` makes of a
 * path the one that is asked now.
 * @param {string[]} paths @param {{ optional?: boolean, seldom?: boolean, resolve?: (path: string) => string }} [options]
 */
export const useRead = (paths, { optional, seldom, resolve } = {}) => useReaders(paths.join(" "), paths.map((path) => async () => {
  try {
    return await call("GET", resolve?.(path) ?? path, undefined, AbortSignal.timeout(TIMEOUT_MS));
  } catch (fault) {
    if (optional && fault instanceof Fault && (fault.status === 404 || fault.status === 409)) return { missing: fault.message, data: [] };
    throw fault;
  }
}), { seldom });

/** The answers of calls that are read once. @param {string[]} paths */
export const useOnce = (paths) => useReaders(paths.join(" "), paths.map((path) => () => call("GET", path, undefined, AbortSignal.timeout(TIMEOUT_MS))), { once: true });

/** The text of a file of the console, read once. @param {string} path @returns {Read} */
export function useFile(path) {
  const read = useReaders(path, [async () => {
    const response = await send("GET", path, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Fault({ status: response.status, message: `${path}: ${response.status}` });
    return { path, text: await response.text() };
  }], { once: true });
  const file = read.data?.[0];
  return { ...read, data: file?.path === path ? [file.text] : null };
}

/**
 * The part of a page that shows what was read: a skeleton before, the fault in its place.
 * @param {{ read: Read, what: string, children: (...data: any[]) => any }} props
 */
export function Loaded({ read, what, children }) {
  const note = read.fault && html`<${ErrorNote} what=${what} fault=${read.fault} at=${read.at} retry=${read.reload} />`;
  if (!read.data) return note || html`<section class="card"><${Skeleton} /></section>`;
  return html`${note && html`<div class="above">${note}</div>`}${children(...read.data)}`;
}
