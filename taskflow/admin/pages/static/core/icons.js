/**
 * Icons, in the colour of the text around them.
 * @module icons
 */

import { svg } from "./dom.js";

/** Paths on a square of 16 × 16. */
const PATHS = {
  all: "M2.5 4h11M2.5 8h11M2.5 12h11",
  pending: "M8 2.2a5.8 5.8 0 1 1 0 11.6A5.8 5.8 0 0 1 8 2.2M8 5v3.2l2.2 1.5",
  running: "M8 2.2A5.8 5.8 0 1 1 2.2 8",
  retrying: "M13 8a5 5 0 1 1-1.6-3.7M13.2 2v3h-3",
  success: "M3 8.6l3.3 3.3L13 4.8",
  failed: "M4 4l8 8M12 4l-8 8",
  interrupted: "M8 2v5.5M4.6 4.4a5.2 5.2 0 1 0 6.8 0",
  cancelled: "M8 2.2a5.8 5.8 0 1 1 0 11.6A5.8 5.8 0 0 1 8 2.2M4 4l8 8",
  sun: "M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6M8 1.2v1.4M8 13.4v1.4M1.2 8h1.4M13.4 8h1.4M3.2 3.2l1 1M11.8 11.8l1 1M3.2 12.8l1-1M11.8 4.2l1-1",
  moon: "M13 9.6A5.6 5.6 0 0 1 6.4 3a5.6 5.6 0 1 0 6.6 6.6",
  keyboard: "M1.8 4h12.4v8H1.8zM4.2 6.5h.1M6.8 6.5h.1M9.3 6.5h.1M11.8 6.5h.1M5 9.6h6",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5h7.7v7.7H5.5zM10.4 5.3V2.8H2.8v7.6h2.5",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9M10.4 10.4l3.2 3.2",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2v9.6L12.6 8z",
  up: "M8 13V3M4 7l4-4 4 4",
  warning: "M8 2.2l6.2 11.2H1.8zM8 6.4v3.2M8 11.6v.1",
  external: "M9.5 2.8h3.7v3.7M13 3L7.6 8.4M11.5 9v4.2H2.8V4.5H7",
};

/** The icon of this name; screen readers skip it and read the text beside it. */
export function icon(name) {
  const turning = name === "running" ? " turning" : "";
  return svg(
    "svg",
    {
      class: `icon${turning}`,
      viewBox: "0 0 16 16",
      "aria-hidden": "true",
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.6,
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
    },
    svg("path", { d: PATHS[name] }),
  );
}
