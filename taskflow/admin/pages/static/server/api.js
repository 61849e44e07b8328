/**
 * Requests to Taskflow's API.
 * @module api
 */

/** The admin's path as the browser sees it, with any prefix of a proxy: this page is `{BASE}/dashboard`. */
export const BASE = location.pathname.replace(/\/dashboard\/?$/, "");

const TIMEOUT = 30_000; // milliseconds

/** A request that failed. `status` is that of the answer, 0 without an answer. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** One page of records: `{records, cursor}`; the cursor of the next page is null if there is none. */
export async function page(query, signal) {
  const response = await request(`?${query}`, { signal });
  const next = response.headers.get("Link")?.match(/<([^>]*)>;\s*rel="next"/)?.[1];
  const cursor = next ? new URL(next, location.href).searchParams.get("cursor") : null;
  return { records: await response.json(), cursor };
}

export const overview = async () => (await request("/overview")).json();
export const task = async (id, signal) => (await request(`/${encodeURIComponent(id)}`, { signal })).json();
export const retry = (id) => post(`/${encodeURIComponent(id)}/retry`);
export const cancel = (id) => post(`/${encodeURIComponent(id)}/cancel`);

/** Go to the login page, which leads back here. */
export function logIn() {
  const next = `dashboard${location.search}`;
  location.assign(`${BASE}/auth/login?next=${encodeURIComponent(next)}`);
}

/** Whether this page has a login. */
export const hasLogin = document.documentElement.dataset.auth === "true";

/** The error for an answer. If the session has ended, the login page opens. */
export async function failure(response) {
  if (response.status === 401 && hasLogin) logIn();
  return new ApiError(response.status, await reason(response));
}

async function post(path) {
  return (await request(path, { method: "POST" })).json();
}

async function request(path, { signal, ...options } = {}) {
  const deadline = AbortSignal.timeout(TIMEOUT);
  const response = await fetch(BASE + path, {
    ...options,
    cache: "no-store",
    headers: { Accept: "application/json" },
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
  }).catch((error) => {
    if (signal?.aborted) throw error;
    throw new ApiError(
      0,
      error.name === "TimeoutError" ? "The server did not answer in time." : "The server cannot be reached.",
    );
  });
  if (!response.ok) throw await failure(response);
  return response;
}

async function reason(response) {
  const body = await response.json().catch(() => null);
  const detail = body?.detail;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map((each) => `${each.loc?.at(-1) ?? ""}: ${each.msg}`).join("; ");
  return `The server answered ${response.status}.`;
}
