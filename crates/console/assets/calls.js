// The calls of the console: the admin API with the session of this browser.

/** What went wrong with a call. */
export class Fault extends Error {
  /** @param {{ status: number, message: string, code?: string, param?: string, requestId?: string, retryAfter?: number }} fault */
  constructor({ status, message, code, param, requestId, retryAfter }) {
    super(message);
    /** The HTTP status; 0 if the server could not be reached. */
    this.status = status;
    this.code = code;
    /** The field that is not valid, if the server names one. */
    this.param = param;
    this.requestId = requestId;
    /** Seconds. */
    this.retryAfter = retryAfter;
  }
}

/** Called when a session is not valid any more. @type {{ listener: () => void }} */
export const loggedOut = { listener() {} };

/**
 * Sends a request and returns its answer, whatever its status.
 * @param {string} method @param {string} path @param {{ body?: unknown, headers?: Record<string, string>, signal?: AbortSignal }} [options]
 * @throws {Fault} if the server cannot be reached, or does not answer in the time that the signal gives it
 */
export async function send(method, path, { body, headers, signal } = {}) {
  /** @type {RequestInit} */
  const request = { method, headers: { "x-cachalot-console": "1", ...headers }, signal, cache: "no-store" };
  if (body !== undefined) {
    request.headers = { ...request.headers, "content-type": "application/json" };
    request.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, request);
  } catch (error) {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    throw new Fault({ status: 0, message: "unreachable" });
  }
}

/**
 * Calls the admin API.
 * @param {string} method @param {string} path @param {unknown} [body] @param {AbortSignal} [signal]
 * @returns {Promise<any>} the JSON of the answer; null where it has no body
 * @throws {Fault}
 */
export async function call(method, path, body, signal) {
  const response = await send(method, path, { body, signal });
  if (!response.ok) {
    const fault = await faultOf(response);
    if (fault.status === 401 && !path.startsWith("/admin/session") && !path.startsWith("/admin/me/")) loggedOut.listener();
    throw fault;
  }
  return response.status === 204 ? null : response.json();
}

/** The fault that an answer describes. @param {Response} response */
export async function faultOf(response) {
  const text = await response.text();
  /** @type {{ message?: string, code?: string, param?: string | null }} */
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // An answer of something between this page and the server.
  }
  return new Fault({
    status: response.status,
    message: error.message ?? `${response.status} ${response.statusText}`.trim(),
    code: error.code,
    param: error.param ?? undefined,
    requestId: response.headers.get("x-request-id") ?? undefined,
    retryAfter: Number(response.headers.get("retry-after")) || undefined,
  });
}
