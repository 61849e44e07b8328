/**
 * The format of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
 * @module sse
 */

/**
 * A function that takes the text of a stream piece by piece, and gives each message to `receive` as
 * `{id, event, data}`; `id` or `data` is null in a message that has none.
 */
export function parser(receive) {
  let rest = "";
  let message = empty();

  function line(text) {
    if (text === "") {
      if (message.data !== null || message.id !== null) receive(message);
      message = empty();
      return;
    }
    const [, field, value] = text.match(/^([^:]*):? ?(.*)$/s);
    if (field === "data") message.data = message.data === null ? value : `${message.data}\n${value}`;
    else if (field === "event" || field === "id") message[field] = value;
  }

  return (chunk) => {
    const lines = (rest + chunk).split(/\r?\n/);
    rest = lines.pop();
    lines.forEach(line);
  };
}

const empty = () => ({ id: null, event: "message", data: null });
