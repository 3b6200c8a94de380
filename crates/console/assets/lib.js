// The libraries of every page, under names that do not change with their versions.
import { useRef, useState } from "./vendor/preact.f2849d24.js";

export {
  Component, Fragment, batch, effect, h, html, render, signal, useEffect, useId, useLayoutEffect, useRef, useState,
} from "./vendor/preact.f2849d24.js";

/** A place for an element of the page. @returns {{ current: HTMLElement | null }} */
export const useElement = () => useRef(null);

/** A state of any shape, null at first. */
export const useMaybe = () => useState(/** @type {any} */ (null));
