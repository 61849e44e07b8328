/**
 * Small charts: one bar or step for each span of time, the present at the right.
 * @module charts
 */

import { h, setAttribute, setText, svg } from "../core/dom.js";
import { duration } from "../core/format.js";

const HEIGHT = 100;

/**
 * A chart of bars: `update({values, parts, …})` draws `values`; `parts` of each are drawn at the bottom in
 * the colour of failures.
 */
export function bars() {
  const whole = svg("path", { class: "bar" });
  const part = svg("path", { class: "bar failed" });
  return chart([whole, part], ({ values, parts, top }) => {
    whole.setAttribute("d", values.map((value, index) => bar(index, parts[index] ?? 0, value, top)).join(""));
    part.setAttribute("d", parts.map((value, index) => bar(index, 0, value, top)).join(""));
  });
}

/** A chart of steps: `update({values, …})` leaves a gap where a value is null. */
export function steps() {
  const line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
  return chart([line], ({ values, top }) => {
    line.setAttribute("d", values.map((value, index) => step(values, index, value, top)).join(""));
  });
}

/**
 * `update` takes `{values, parts, top, scale, seconds, label, describe}`: the numbers, the number at the top of
 * the chart, the text for it, the seconds of each bar or step, a description of the chart, and a function that
 * describes the value at an index.
 */
function chart(paths, draw) {
  let shown = null;
  const scale = h("span", { class: "plot-top", "aria-hidden": "true" });
  const picture = svg("svg", { class: "chart", role: "img", preserveAspectRatio: "none" }, ...paths);
  const element = h("div", { class: "plot" }, scale, picture);
  picture.addEventListener("pointermove", (event) => shown && point(event, picture, shown));
  picture.addEventListener("pointerleave", hideTooltip);
  const update = (data) => {
    shown = data;
    setText(scale, data.scale);
    setAttribute(picture, "viewBox", `0 0 ${data.values.length} ${HEIGHT}`);
    setAttribute(picture, "aria-label", data.label);
    draw(data);
  };
  return { element, update };
}

const y = (value, top) => (HEIGHT - (top ? value / top : 0) * (HEIGHT - 4)).toFixed(1);

function bar(index, from, to, top) {
  if (to <= from) return "";
  return `M${index + 0.12} ${y(from, top)}V${y(to, top)}H${index + 0.88}V${y(from, top)}z`;
}

function step(values, index, value, top) {
  if (value === null) return "";
  const joined = index > 0 && values[index - 1] !== null;
  return `${joined ? "V" : `M${index} `}${y(value, top)}H${index + 1}`;
}

function point(event, element, { values, seconds, describe }) {
  const box = element.getBoundingClientRect();
  const index = Math.min(
    values.length - 1,
    Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * values.length)),
  );
  const before = (values.length - 1 - index) * seconds;
  showTooltip(`${before ? `${duration(before)} ago` : "now"}: ${describe(index)}`, event.clientX, box.top);
}

const tooltip = () => document.getElementById("tooltip");

function showTooltip(text, x, above) {
  const element = tooltip();
  setText(element, text);
  element.hidden = false;
  const half = element.offsetWidth / 2;
  element.style.left = `${Math.min(Math.max(x, half + 4), innerWidth - half - 4)}px`;
  element.style.top = `${above}px`;
}

function hideTooltip() {
  tooltip().hidden = true;
}

/** A bar that shows the used share of something. It is hidden from screen readers: the numbers are beside it. */
export function gauge() {
  const used = h("span", { class: "gauge-used" });
  const element = h("span", { class: "gauge", "aria-hidden": "true" }, used);
  const update = (share) => {
    used.style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
    element.classList.toggle("full", share >= 1);
  };
  return { element, update };
}
