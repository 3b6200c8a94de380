// What the browser tests share: a browser, pages whose faults are collected, and named checks.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

/** The password of every account of the tests. */
export const PASSWORD = "correct horse battery";

/** Starts the browser. */
export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });

/** Checks of one test, each printed with its name. */
export const checks = (test) => (name, passed, detail = "") => {
  assert.ok(passed, `${name} ${detail}`);
  console.log(`ok ${test}: ${name}`);
};

/**
 * Collects what goes wrong on a page: errors in its log, reports of its Content-Security-Policy among them, and requests to other
 * hosts. `expected` are texts of errors that belong to the test, such as the status of a refused request.
 */
export function watch(page, base, expected = []) {
  const faults = [];
  const add = (text) => expected.some((known) => text.includes(known)) || faults.push(text);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && add(message.text()));
  page.on("pageerror", (error) => add(error.stack ?? error.message));
  page.on("request", (request) => !request.url().startsWith(base) && !/^(data|blob):/.test(request.url()) && add(`asks ${request.url()}`));
  return faults;
}

/** The admin API with a cookie, as a page calls it. */
export async function api(context, base, method, path, body) {
  const data = body === undefined ? undefined : JSON.stringify(body);
  const headers = { "x-cachalot-console": "1", "content-type": "application/json" };
  const response = await context.request.fetch(base + path, { method, data, headers });
  const text = await response.text();
  assert.ok(response.ok(), `${method} ${path}: ${response.status()} ${text}`);
  return text && JSON.parse(text);
}

/** Runs a test on a page of its own; keeps its trace and pictures of every page if it fails. */
export async function run(test, folder, act) {
  const browser = await launch();
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"], viewport: { width: 1280, height: 800 } });
  context.setDefaultTimeout(60_000);
  await context.tracing.start({ screenshots: true, snapshots: true });
  const page = await context.newPage();
  try {
    await act({ browser, context, page });
  } catch (error) {
    await context.tracing.stop({ path: `${folder}/${test}-trace.zip` });
    const pages = browser.contexts().flatMap((one) => one.pages());
    for (const [index, shown] of pages.entries()) await shown.screenshot({ path: `${folder}/${test}-failed-${index + 1}.png` });
    throw error;
  } finally {
    await browser.close();
  }
}
