// The keys of the user, and the models that each may use.
import { useEffect, useRef, useState } from "../lib.js";
import { catalog } from "../answers.js";
import { call, faultOf, send } from "../calls.js";
import { keyState } from "../pages/keys.js";
import { usePolling } from "../read.js";
import { me } from "../session.js";
import { words } from "../words.js";
import { headersOf } from "./stream.js";

/**
 * A key of the user. `isUsable`: neither revoked nor expired, and its budget is not spent.
 * @typedef {{ id: string, name: string, project: string, budget: string | null, spent: string, isUsable: boolean }} KeyChoice
 *
 * A model. `local`: this machine answers; `provider` is who does otherwise.
 * @typedef {{ id: string, provider: string, local: boolean, context: number | null }} ModelChoice
 */

/** The keys with which this user may ask models. Empty, and not needed, on a server without sessions. @returns {Promise<KeyChoice[]>} */
async function readKeys() {
  if (!me.value?.session) return [];
  const own = new Set(me.value.keys ?? []);
  const { data } = await call("GET", "/admin/keys");
  return data.filter((/** @type {any} */ key) => own.has(key.id)).map((/** @type {any} */ key) => (
    { id: key.id, name: key.name, project: key.project, budget: key.budget, spent: key.spent, isUsable: ["good", "warn"].includes(keyState(key)[0]) }
  ));
}

/** The chat models that a key may use. @param {string} key @returns {Promise<ModelChoice[]>} */
async function readModels(key) {
  const [response, entries, routes] = await Promise.all([
    send("GET", "/v1/models", { headers: headersOf(key) }), catalog().catch(() => []), call("GET", "/admin/models").catch(() => ({ data: [] })),
  ]);
  if (!response.ok) throw await faultOf(response);
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  const local = new Set(routes.data.filter((/** @type {any} */ { targets }) => targets?.some((/** @type {any} */ target) => target.provider === "local")).map((/** @type {any} */ { id }) => id));
  const { data } = await response.json();
  return data.filter((/** @type {any} */ { id }) => (byId.get(id)?.model_type ?? "text") === "text").map((/** @type {any} */ { id, owned_by: owner }) => (
    { id, provider: owner, local: local.has(id), context: byId.get(id)?.context_length ?? null }
  ));
}

/** The models for a select; one that is chosen but cannot be had is among them. @param {ModelChoice[]} models @param {string} chosen @returns {[string, string][]} */
export function modelChoices(models, chosen) {
  /** @type {[string, string][]} */
  const choices = models.map(({ id, provider, local }) => [id, local ? words.playground.onThisMachine(id) : provider ? `${id} · ${provider}` : id]);
  if (chosen && !models.some(({ id }) => id === chosen)) choices.unshift([chosen, chosen]);
  return choices;
}

/** @typedef {{ keys: KeyChoice[], key: string, models: ModelChoice[], needsKey: boolean }} Sources */

/**
 * Keys and models, and every 10 s how the keys are. What was read stays when the server does not answer.
 * @param {string} wanted id of the chosen key; empty: the first usable
 * @returns {{ sources: Sources | null, fault: any, at: number, reload: () => Promise<boolean> }}
 */
export function useSources(wanted) {
  const [state, setState] = useState(/** @type {{ sources: Sources | null, fault: any, at: number }} */ ({ sources: null, fault: null, at: 0 }));
  const current = useRef(state);
  current.current = state;
  const guarded = async (/** @type {() => Promise<Sources>} */ read) => {
    try {
      setState({ sources: await read(), fault: null, at: Date.now() });
      return true;
    } catch (fault) {
      setState((before) => ({ ...before, fault }));
      return false;
    }
  };
  const reload = () => guarded(async () => {
    const keys = await readKeys();
    const needsKey = !!me.value?.session;
    const key = (keys.find(({ id }) => id === wanted) ?? keys.find(({ isUsable }) => isUsable) ?? keys[0])?.id ?? "";
    return { keys, key, needsKey, models: needsKey && !key ? [] : await readModels(key) };
  });
  useEffect(() => {
    reload();
  }, [wanted, me.value?.name, me.value?.keys?.length]);
  usePolling(() => {
    const { sources, fault } = current.current;
    if (!sources || fault || (sources.needsKey && !sources.key)) return reload();
    return guarded(async () => {
      if (sources.needsKey) {
        const keys = await readKeys();
        // All may have been read again.
        return { ...(current.current.sources ?? sources), keys };
      }
      const response = await send("GET", "/readyz");
      if (!response.ok) throw await faultOf(response);
      return sources;
    });
  });
  return { ...state, reload };
}
