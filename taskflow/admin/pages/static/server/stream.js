/**
 * The live stream.
 *
 * It does not use `EventSource`, which does not notice a connection that broke silently, does not tell why
 * the server refused one, and does not wait longer after each failure.
 *
 * @module stream
 */

import { BASE, failure } from "./api.js";
import { parser } from "./sse.js";

const SILENCE = 45_000; // milliseconds without data (a comment comes every 15 s) until it counts as broken
const HIDDEN = 60_000; // milliseconds in the background until the connection is closed
const STEADY = 30_000; // milliseconds; the server ends a stream after a minute at the earliest
const FIRST_WAIT = 500; // milliseconds
const LONGEST_WAIT = 15_000;

/**
 * A stream that reconnects by itself and continues after the last message it got.
 *
 * @param {string} query e.g. `task_id=…`; empty for all changes.
 * @param {Object<string, function>} handlers by event name: each gets the message's data. `reset` must
 *   read everything: it is called when messages were missed, and at the first start. `state` gets
 *   `connecting`, `live` or `lost` (with the error).
 */
export class Stream {
  #address;
  #handlers;
  #position = null;
  #failures = 0;
  #connection = null;
  #timer = null;
  #hiding = null;
  #ended = new AbortController();

  constructor(query, handlers) {
    this.#address = `${BASE}/stream${query ? `?${query}` : ""}`;
    this.#handlers = handlers;
    const { signal } = this.#ended;
    document.addEventListener("visibilitychange", () => this.#visibilityChanged(), { signal });
    addEventListener("online", () => this.reconnect(), { signal });
    this.#connect();
    this.#visibilityChanged(); // the page may have been opened in the background
  }

  /** End the stream. */
  close() {
    this.#ended.abort();
    clearTimeout(this.#hiding);
    this.#disconnect();
  }

  /** Reconnect now, if the stream waits to do so. */
  reconnect() {
    if (this.#connection === null) this.#connect();
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#connection?.abort();
    this.#connection = null;
  }

  // A browser has six connections to a server for all tabs together: one in the background gives its own up.
  #visibilityChanged() {
    clearTimeout(this.#hiding);
    if (document.hidden) this.#hiding = setTimeout(() => this.#disconnect(), HIDDEN);
    else this.reconnect();
  }

  #connect() {
    this.#disconnect();
    const connection = (this.#connection = new AbortController());
    this.#handlers.state?.("connecting");
    this.#read(connection).catch((error) => {
      if (this.#connection === connection) this.#lost(error);
    });
  }

  async #read(connection) {
    const headers = { Accept: "text/event-stream" };
    if (this.#position !== null) headers["Last-Event-ID"] = this.#position;
    const watch = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => connection.abort(new Error("silence")), SILENCE);
    };
    watch();
    const response = await fetch(this.#address, { headers, cache: "no-store", signal: connection.signal });
    if (!response.ok) throw await failure(response);
    const parse = parser((message) => this.#receive(message));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const resumes = this.#position !== null;
    const started = performance.now();
    // The server keeps messages for this client from the first data on, not from the headers on.
    for (
      let part = await reader.read(), first = true;
      !part.done;
      part = await reader.read(), first = false
    ) {
      watch();
      if (first) this.#begin(resumes);
      parse(part.value);
    }
    if (performance.now() - started < STEADY) throw new Error("the server ended the stream");
    if (this.#connection === connection) this.#connect(); // nothing is lost: it goes on with the next message
  }

  #begin(resumes) {
    this.#failures = 0;
    this.#handlers.state?.("live");
    if (!resumes) this.#handlers.reset();
  }

  #receive({ id, event, data }) {
    if (id !== null) this.#position = id;
    if (data !== null) this.#handlers[event]?.(JSON.parse(data));
  }

  #lost(error) {
    this.#disconnect();
    this.#handlers.state?.("lost", error);
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
    this.#failures += 1;
    // A random part of the wait, so that not all clients reconnect to a restarted server at once.
    this.#timer = setTimeout(() => this.#connect(), wait * (0.5 + Math.random() / 2));
  }
}
