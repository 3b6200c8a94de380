// The time that a test takes, and the part of it in which the machine worked for others: a test that has a time limit runs on machines
// that build or test something else at the same time.
import { readFileSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";

/** The unit of the times below: ticks of 10 ms. */
const TICKS_PER_SECOND = 100;

/** @typedef {{ machine: number, own: number, at: number }} Times all but `at` in ticks of all cores, `at` in milliseconds */

/** The fields of a `stat` file of a process after its name: state, parent, ... @param {string} process */
function statOf(process) {
  try {
    return readFileSync(`/proc/${process}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
  } catch {
    return null; // It has ended.
  }
}

/** What the machine and this test have worked so far: the processes that the parent of this one has started, and those that these have. @returns {Times} */
function times() {
  const [user, nice, system, , , irq, softirq, steal] = readFileSync("/proc/stat", "utf8").split("\n")[0].trim().split(/ +/).slice(1).map(Number);
  const processes = new Map(readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map((name) => [name, statOf(name)]));
  const isOwn = (/** @type {string} */ name) => {
    for (let one = name; one && one !== "0"; one = processes.get(one)?.[1] ?? "0") if (one === String(process.ppid)) return true;
    return false;
  };
  let own = 0;
  for (const [name, stat] of processes) {
    // Its own time, and that of its children that have ended.
    if (stat && isOwn(name)) own += stat.slice(11, 15).map(Number).reduce((sum, ticks) => sum + ticks);
  }
  return { machine: user + nice + system + irq + softirq + steal, own, at: Date.now() };
}

/** Starts a clock. @returns {() => { total: number, others: number }} seconds since the start, and how long all cores would have been busy with the work of others */
export function startClock() {
  const before = times();
  return () => {
    const now = times();
    const total = (now.at - before.at) / 1000;
    const ticks = now.machine - before.machine - (now.own - before.own);
    return { total, others: Math.min(total, Math.max(0, ticks / TICKS_PER_SECOND / availableParallelism())) };
  };
}
