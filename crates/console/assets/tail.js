// Requests as they begin and end: the events of `GET /admin/tail`, while the page is looked at.
import { useEffect, useRef, useState } from "./lib.js";
import { eventsOf } from "./answers.js";
import { faultOf, send } from "./calls.js";
import { expired } from "./session.js";

/** How long a tail that ended waits before it is opened again. */
const PAUSE_MS = 10_000;

/**
 * @param {string} path with its filters
 * @param {{ isOn: boolean, onEvent: (name: string, data: any) => void }} options
 * @returns {"live" | "off" | "missing"} `missing`: this server has no tail
 */
export function useTail(path, { isOn, onEvent }) {
  const [state, setState] = useState(/** @type {"live" | "off" | "missing"} */ ("off"));
  const listener = useRef(onEvent);
  listener.current = onEvent;
  useEffect(() => {
    if (!isOn || expired.value) return;
    /** @type {AbortController | null} */
    let stop = null;
    let timer = 0;
    const open = async () => {
      clearTimeout(timer);
      if (document.hidden || stop) return;
      const own = (stop = new AbortController());
      let isMissing = false;
      try {
        const response = await send("GET", path, { signal: own.signal });
        if (!response.ok || !response.body) {
          isMissing = response.status === 404 || response.status === 409;
          throw await faultOf(response);
        }
        setState("live");
        for await (const { name, data } of eventsOf(response.body)) listener.current(name, JSON.parse(data));
      } catch {
        // The page reads its list every ten seconds, and says there what is wrong.
      }
      if (own.signal.aborted) return;
      stop = null;
      setState(isMissing ? "missing" : "off");
      if (!isMissing) timer = setTimeout(open, PAUSE_MS);
    };
    const close = () => {
      clearTimeout(timer);
      stop?.abort();
      stop = null;
      setState("off");
    };
    const turn = () => (document.hidden ? close() : open());
    document.addEventListener("visibilitychange", turn);
    open();
    return () => {
      document.removeEventListener("visibilitychange", turn);
      close();
    };
  }, [path, isOn, expired.value]);
  return state;
}
