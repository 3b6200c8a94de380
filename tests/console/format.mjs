// How the console writes money, prices and words of commands. `node format.mjs`
import assert from "node:assert/strict";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const assets = resolve(process.env.ASSETS ?? join(import.meta.dirname, "../../crates/console/assets"));
const { axisDollars, dollars, exactDollars, priceName, shellWord } = await import(pathToFileURL(join(assets, "format.js")).href);

for (const [write, values] of [
  [exactDollars, { "0.000000000": "$0.00", "2.000000000": "$2.00", "0.500000000": "$0.50", "0.028000000": "$0.028", "12.345678901": "$12.345678901", "-0.012300000": "−$0.0123", "-2.000000000": "−$2.00" }],
  [(amount) => dollars(Number(amount)), { 0: "$0.00", 0.5: "$0.50", 2: "$2.00", 0.0012: "$0.0012", 1234.5: "$1,234.50" }],
  [(amount) => axisDollars(Number(amount)), { 0: "$0.00", 0.25: "$0.25", 1: "$1.00", 2500: "$2.5K" }],
  [priceName, {
    "local/*@2025-09-29": "price of all models on this machine, 2025-09-29", "openai/gpt-5@2026-01-02": "price of gpt-5 at openai, 2026-01-02",
    "acme/org/m@1@2026-01-02": "price of org/m@1 at acme, 2026-01-02", "": "",
  }],
  [shellWord, { "openai/gpt-5": "openai/gpt-5", "acme/a; rm -rf": "'acme/a; rm -rf'", "it's": "'it'\\''s'" }],
]) for (const [given, written] of Object.entries(values)) assert.equal(write(given), written);
console.log("ok money, prices and words of commands");
