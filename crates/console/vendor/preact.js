// preact with its hooks, htm and the signals, as one module.
import { h } from "preact";
import htm from "htm";

export { Component, Fragment, h, render } from "preact";
export { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
export { batch, effect, signal } from "@preact/signals";
export const html = htm.bind(h);
