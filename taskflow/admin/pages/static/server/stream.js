/**
 * The stream of changes.
 *
 * Not an `EventSource`: that one neither notices a connection that died without a word, nor tells why
 * it was refused, nor waits longer each time.
 *
 * @module stream
 */

import { BASE, failure } from "./api.js";
import { parser } from "./sse.js";

const SILENCE = 45_000; // milliseconds without even a heartbeat (one comes every 15 s): the connection is dead
const HIDDEN = 60_000; // milliseconds out of sight until the connection is given back
const FIRST_WAIT = 500; // milliseconds
const LONGEST_WAIT = 15_000;

/**
 * A stream that reconnects by itself and continues where it was.
 *
 * @param {string} query e.g. `task_id=…`; empty for all changes.
 * @param {Object<string, function>} handlers by event name: each gets the message's data. `reset` must
 *   read everything: it comes with each start from nowhere, the first one too, as what happened before is
 *   not told. `state` is told `connecting`, `live` or `lost` (with the error).
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
    document.addEventListener("visibilitychange", () => this.#look(), { signal });
    addEventListener("online", () => this.hurry(), { signal });
    this.#connect();
    this.#look(); // the page may have been opened in the background
  }

  /** End it for good. */
  close() {
    this.#ended.abort();
    clearTimeout(this.#hiding);
    this.#hangUp();
  }

  /** Try again now instead of after the wait. */
  hurry() {
    if (this.#connection === null) this.#connect();
  }

  #hangUp() {
    clearTimeout(this.#timer);
    this.#connection?.abort();
    this.#connection = null;
  }

  // A browser has six connections to a server, for all of its tabs together.
  #look() {
    clearTimeout(this.#hiding);
    if (document.hidden) this.#hiding = setTimeout(() => this.#hangUp(), HIDDEN);
    else this.hurry();
  }

  #connect() {
    this.#hangUp();
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
    // From its first words on the server keeps what happens for us; its headers come before that.
    for (
      let part = await reader.read(), first = true;
      !part.done;
      part = await reader.read(), first = false
    ) {
      watch();
      if (first) this.#begin(resumes);
      parse(part.value);
    }
    throw new Error("the server ended the stream");
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
    this.#hangUp();
    this.#handlers.state?.("lost", error);
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
    this.#failures += 1;
    // Spread out, so that a server that comes back is not met by everybody at once.
    this.#timer = setTimeout(() => this.#connect(), wait * (0.5 + Math.random() / 2));
  }
}
