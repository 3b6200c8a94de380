// Numbers, money and times as the console writes them.
import { words } from "./words.js";

const integer = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });
const prices = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 4 });
/** Formats of money, by their most decimals. @type {Intl.NumberFormat[]} */
const money = [];

/** @param {Intl.DateTimeFormatOptions} parts */
const utc = (parts) => new Intl.DateTimeFormat("en-GB", { ...parts, timeZone: "UTC" });
const days = utc({ day: "numeric", month: "short", year: "numeric" });
const shortDays = utc({ day: "numeric", month: "short" });
const minutes = utc({ hour: "2-digit", minute: "2-digit" });
const seconds24 = utc({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const moments = utc({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });

/** @param {number} value */
export const count = (value) => integer.format(value);

/** Tokens of a context: "128K". @param {number} tokens */
export const contextSize = (tokens) => (tokens >= 1024 ? `${Math.round(tokens / 1024)}K` : String(tokens));

/** With three digits and a unit: "1.1B", "29.9M". @param {number} value */
export const compact = (value) => short.format(value);

/**
 * US dollars: two decimals, or as many as it takes to show two digits that are not zero.
 * @param {string | number} amount
 */
export function dollars(amount) {
  const value = Number(amount);
  const size = Math.abs(value);
  const decimals = size === 0 || size >= 0.1 ? 2 : Math.min(9, 1 - Math.floor(Math.log10(size)));
  money[decimals] ??= new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: decimals });
  return (value < 0 ? "−$" : "$") + money[decimals].format(size);
}

/** US dollars with every digit that they have. @param {string} amount exact, as the server writes it */
export function exactDollars(amount) {
  const digits = amount.replace(/0+$/, "");
  return /\.\d{3}/.test(digits) ? digits.replace(/^-?/, (sign) => (sign ? "−$" : "$")) : dollars(amount);
}

/** US dollars beside an axis: "$0.50", "$1.2K". @param {number} value */
export const axisDollars = (value) => (value < 1000 ? dollars(value) : `$${compact(value)}`);

/** The row of the price file that was applied, `PROVIDER/MODEL@DATE`, in words. @param {string} source */
export function priceName(source) {
  const [, provider, model, date] = /^([^/]*)\/(.*)@(.*)$/.exec(source) ?? [];
  return date ? words.models.priceOf(model, provider, date) : source;
}

/** A text as one argument of a shell. @param {string} text */
export const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The same, without quotes where it needs none. @param {string} text */
export const shellWord = (text) => (/^[\w./:@+-]+$/.test(text) ? text : quoted(text));

/** A price of a million tokens. @param {number | null | undefined} value */
export const price = (value) => (value == null ? "–" : prices.format(value));

/** Seconds with two or three digits. @param {number} micros */
export function seconds(micros) {
  const value = micros / 1e6;
  return value < 0.1 ? value.toFixed(3) : value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : count(value);
}

/** The time that has passed since then. @param {number} at seconds since 1970 @param {number} [now] milliseconds since 1970 */
export function ago(at, now = Date.now()) {
  const passed = Math.max(0, now / 1000 - at);
  if (passed < 5) return words.time.now;
  if (passed < 60) return words.time.seconds(Math.floor(passed));
  if (passed < 3600) return words.time.minutes(Math.floor(passed / 60));
  if (passed < 86400) return words.time.hours(Math.floor(passed / 3600));
  return words.time.days(Math.floor(passed / 86400));
}

/** A day, UTC: "12 Dec 2026". @param {number} at seconds since 1970 */
export const day = (at) => days.format(at * 1000);

/** A day of this year or the last, UTC: "12 Dec". @param {number} at seconds since 1970 */
export const shortDay = (at) => shortDays.format(at * 1000);

/** A time of a day, UTC: "14:05". @param {number} at seconds since 1970 */
export const timeOfDay = (at) => minutes.format(at * 1000);

/** A time of a day with its seconds, UTC: "14:05:31". @param {number} at seconds since 1970 */
export const clock = (at) => seconds24.format(at * 1000);

/** A day and its time, UTC: "12 Dec 2026, 14:05". @param {number} at seconds since 1970 */
export const dateTime = (at) => moments.format(at * 1000);
