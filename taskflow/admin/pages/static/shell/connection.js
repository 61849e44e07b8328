/**
 * Shows whether the live stream is connected.
 * @module connection
 */

import { fill, h, setText } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { announce } from "../core/notices.js";

const TEXTS = { connecting: "Connecting", live: "Live", lost: "Disconnected" };

/** The light in the masthead and the banner below it. */
export class Connection {
  #light = document.getElementById("connection");
  #text = document.getElementById("connection-text");
  #banner = document.getElementById("banner");
  #lost = false;

  /** `retry` connects at once. */
  constructor(retry) {
    this.retry = retry;
  }

  /** Show a state of the stream; `error` is why it was lost. */
  show(state, error) {
    if (state === "connecting" && this.#lost) return; // it counts as lost until it is live again
    this.#light.dataset.state = state;
    setText(this.#text, TEXTS[state]);
    if (state === "lost") this.#lose(error);
    else if (state === "live" && this.#lost) this.#find();
  }

  #lose(error) {
    const reason = error?.status ? error.message : "The connection to the server is lost.";
    const again = h("button", { type: "button", on: { click: this.retry } }, "Connect now");
    fill(
      this.#banner,
      icon("warning"),
      h("span", {}, `${reason} What you see may be out of date; this page connects again by itself.`),
      again,
    );
    this.#banner.hidden = false;
    if (!this.#lost) announce("Disconnected");
    this.#lost = true;
  }

  #find() {
    this.#lost = false;
    this.#banner.hidden = true;
    announce("Connected again");
  }
}
