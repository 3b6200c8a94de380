// Before Prism starts: it is not to look for code in the page by itself.
globalThis.Prism = { manual: true, disableWorkerMessageHandler: true };
