// What pages show of the sums of `GET /admin/series`.
import { words } from "./words.js";

/** @typedef {import("../types/api.d.ts").Series} Series */

/** The classes of outcomes that are failures and refusals, and their colours. @type {[string, number][]} */
const FAILURES = [["rate_limited", 2], ["failed", 5], ["refused", 3], ["invalid", 4]];

/** Failed and refused requests of a series by outcome, as layers of a chart. @param {Series} series @returns {import("./chart.js").Line[]} */
export const failuresOf = ({ groups }) => FAILURES.flatMap(([outcome, color]) => {
  const group = groups.find(({ of }) => of === outcome);
  return group ? [{ name: words.filters.outcomes[outcome], color, values: group.requests }] : [];
});

/** A group's name on the page. @param {string | null} of @param {string | null} by */
export const groupName = (of, by) => (of === null ? words.usage.rest : (by === "outcome" ? words.filters.outcomes[of] : of) || words.usage.unnamed[by ?? ""]);

/** A share in percent, with as many digits as tell something. @param {number} part @param {number} whole */
export function shareOf(part, whole) {
  if (whole === 0) return "0";
  const share = (part / whole) * 100;
  return share === 0 || share === 100 ? String(share) : share > 99 || share < 1 ? share.toFixed(2) : share.toFixed(share > 90 || share < 10 ? 1 : 0);
}
