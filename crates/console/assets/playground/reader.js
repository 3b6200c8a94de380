// Reads a growing text of Markdown: of what has come, only the last block is read again.
import { html } from "../lib.js";
import { blocks, parse } from "../markdown.js";

/** Characters of a block from which on it is shown as plain text: no page waits for a block of a megabyte. */
const PLAIN_FROM = 24_000;
/** Characters that are read at a time. */
const WINDOW = 6_000;
/** Characters of a piece of plain text. */
const PIECE = 4_000;
/** Blocks of a group; a group that is out of sight is not laid out. */
const GROUP = 12;
/** Milliseconds after which reading pauses, so that the page can answer. */
const BUDGET = 12;

export class BlockReader {
  text = "";
  /** Characters that are read for good. */
  settled = 0;
  /** Groups of blocks that are drawn for good. @type {any[]} */
  groups = [];
  /** The blocks of the group that is not full. @type {any[]} */
  open = [];
  /** The block that may still change. @type {any} */
  last = null;
  /** Where plain text ends: after a line of this fence, or after an empty line; null outside of plain text. @type {string | null} */
  plainUntil = null;
  isComplete = true;

  /** @param {import("../markdown.js").Options} options */
  constructor(options) {
    this.options = options;
  }

  reset() {
    Object.assign(this, new BlockReader(this.options));
  }

  /**
   * Reads on, for some milliseconds at most; `isComplete` tells whether all was read.
   * @param {string} source the whole text so far @returns {any[]} what to draw
   */
  update(source) {
    const text = source.includes("\r") ? source.replace(/\r\n?/g, "\n") : source;
    if (text.length < this.text.length || !text.startsWith(this.text.slice(0, 64)) || text.slice(0, this.text.length).slice(-64) !== this.text.slice(-64)) this.reset();
    this.text = text;
    const until = performance.now() + BUDGET;
    this.isComplete = false;
    while (!this.isComplete && performance.now() < until) this.step();
    const drawn = [...this.groups, ...this.open];
    return this.last === null ? drawn : [...drawn, this.last];
  }

  step() {
    const rest = this.text.length - this.settled;
    if (this.plainUntil !== null) return this.readPlain();
    for (let size = WINDOW; ; size *= 2) {
      const isAll = size >= rest;
      if (!isAll && size > PLAIN_FROM) return this.beginPlain();
      const part = this.text.slice(this.settled, this.settled + size);
      const tokens = parse(part);
      // A text that the reader changed has other lengths: it is one block.
      const isExact = tokens.reduce((sum, token) => sum + token.raw.length, 0) === part.length;
      const last = isExact ? tokens.findLastIndex((token) => token.type !== "space") : 0;
      if (last > 0) {
        this.settle(tokens.slice(0, last));
        if (!isAll) return;
        tokens.splice(0, last);
      }
      if (isAll) {
        if (rest > PLAIN_FROM && tokens.length > 0 && tokens[0].raw.length > PLAIN_FROM) return this.beginPlain();
        this.last = html`<div class="part" key="last">${blocks(tokens, this.options)}</div>`;
        this.isComplete = true;
        return;
      }
    }
  }

  /** @param {any[]} tokens */
  settle(tokens) {
    for (const token of tokens) this.settled += token.raw.length;
    this.add(html`<div class="part" key=${this.settled}>${blocks(tokens, this.options)}</div>`);
    this.last = null;
  }

  /** @param {any} block */
  add(block) {
    this.open.push(block);
    if (this.open.length < GROUP) return;
    this.groups.push(html`<div class="part group" key=${`g${this.groups.length}`}>${this.open}</div>`);
    this.open = [];
  }

  beginPlain() {
    const fence = /^ {0,3}(`{3,}|~{3,})/.exec(this.text.slice(this.settled, this.settled + 200));
    this.plainUntil = fence ? fence[1] : "";
    this.last = null;
  }

  readPlain() {
    const from = this.settled;
    const isFence = this.plainUntil !== "";
    const end = this.endOfPlain(from, Math.min(this.text.length, from + PIECE));
    const to = end ?? pieceEnd(this.text, from);
    const piece = html`<div class=${`part piece ${isFence ? "mono" : ""}`} key=${from}>${this.text.slice(from, to).replace(/\n$/, "")}</div>`;
    if (end === null && to === this.text.length) {
      this.last = piece;
      this.isComplete = true;
      return;
    }
    this.add(piece);
    this.settled = to;
    this.last = null;
    if (end !== null) this.plainUntil = null;
  }

  /** Where the block of plain text ends, if it does before `to`. @param {number} from @param {number} to */
  endOfPlain(from, to) {
    const part = this.text.slice(from, to);
    if (this.plainUntil === "") {
      const at = part.indexOf("\n\n");
      return at < 0 ? null : from + at + 2;
    }
    // The first line is the fence that opens the block.
    const opening = this.groups.length + this.open.length === 0 || this.text.startsWith(/** @type {string} */ (this.plainUntil), from) ? part.indexOf("\n") + 1 : 0;
    const close = new RegExp(`^ {0,3}${this.plainUntil?.[0] === "~" ? "~" : "`"}{${this.plainUntil?.length},}[ \\t]*$`, "m").exec(part.slice(opening));
    if (!close) return null;
    const end = from + opening + close.index + close[0].length;
    return this.text[end] === "\n" ? end + 1 : end;
  }
}

/** Where a piece of plain text ends that begins at `from`: after a line, where there is one. @param {string} text @param {number} from */
function pieceEnd(text, from) {
  const to = from + PIECE;
  if (to >= text.length) return text.length;
  const line = text.lastIndexOf("\n", to - 1) + 1;
  if (line > from + PIECE / 2) return line;
  // A pair of surrogates stays together.
  return /[\uD800-\uDBFF]/.test(text[to - 1]) ? to - 1 : to;
}

/** A text as pieces that are laid out only where they are seen. @param {string} text @returns {any[]} */
export function pieces(text) {
  const drawn = [];
  for (let from = 0, to = 0; from < text.length; from = to) {
    to = pieceEnd(text, from);
    drawn.push(html`<div class="piece" key=${from}>${text.slice(from, to).replace(/\n$/, "")}</div>`);
  }
  return drawn;
}
