// Conversations of this browser, in IndexedDB: the last fifty of each user.
import { words } from "../words.js";
import { toast } from "../ui.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

export const MOST = 50;

/** Whether it was said that conversations are not kept. */
let isSaid = false;

/** @type {Promise<IDBDatabase> | null} */
let opened = null;

/** @returns {Promise<IDBDatabase>} */
function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("cachalot", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("conversations", { keyPath: "id" }).createIndex("owner", ["owner", "at"]);
    };
    request.onsuccess = () => {
      // Another tab with a newer page may want to change it.
      request.result.onversionchange = () => {
        request.result.close();
        opened = null;
      };
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
  opened.catch(() => {
    opened = null;
  });
  return opened;
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const result = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/**
 * The result of some work on the store; `otherwise` where the browser forbids it, which is said once.
 * @template T @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => Promise<T>} work @param {T} otherwise @returns {Promise<T>}
 */
async function withStore(mode, work, otherwise) {
  try {
    const transaction = (await database()).transaction("conversations", mode);
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(undefined);
      transaction.onabort = () => reject(transaction.error);
    });
    ended.catch(() => {});
    const value = await work(transaction.objectStore("conversations"));
    if (mode === "readwrite") await ended;
    return value;
  } catch (fault) {
    if (!isSaid) toast(words.playground.notStored(/** @type {any} */ (fault)?.name ?? String(fault)), "bad");
    isSaid = true;
    return otherwise;
  }
}

/** @param {string} owner */
const rangeOf = (owner) => IDBKeyRange.bound([owner, 0], [owner, Infinity]);

/** Keeps a conversation, and removes the oldest above fifty. @param {Conversation} conversation */
export const save = (conversation) => withStore("readwrite", async (store) => {
  await result(store.put(conversation));
  const keys = await result(store.index("owner").getAllKeys(rangeOf(conversation.owner)));
  for (const key of keys.slice(0, Math.max(0, keys.length - MOST))) store.delete(key);
  return true;
}, false);

/** The conversations of a user, latest first. @param {string} owner @returns {Promise<Conversation[]>} */
export const list = (owner) => withStore("readonly", async (store) => (await result(store.index("owner").getAll(rangeOf(owner)))).reverse().map(ended), []);

/** An answer that was being written when its page was closed is one that was stopped. @param {Conversation} conversation @returns {Conversation} */
const ended = (conversation) => ({
  ...conversation,
  turns: conversation.turns.map((turn) => (turn.role === "assistant" && !turn.finish && !turn.fault ? { ...turn, stopped: true, calls: [] } : turn)),
});

/** @param {string} id */
export const remove = (id) => withStore("readwrite", async (store) => {
  await result(store.delete(id));
  return true;
}, false);
