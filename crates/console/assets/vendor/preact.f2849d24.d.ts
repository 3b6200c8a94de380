// preact with its hooks, htm and the signals, as one module.

export { Component, Fragment, h, render } from "preact";
export { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
export { batch, effect, signal } from "@preact/signals";
export declare const html: (strings: TemplateStringsArray, ...values: any[]) => import("preact").ComponentChildren;
