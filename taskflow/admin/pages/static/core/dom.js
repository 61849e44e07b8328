/**
 * Makes elements. Texts are inserted as texts: nothing that comes from a task is read as HTML.
 * @module dom
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an HTML element.
 *
 * @param {string} tag
 * @param {Object<string, any>} attributes `on` holds listeners; `true` stands for an attribute without
 *   a value; what is null, undefined or false is left out.
 * @param {...any} children nodes and texts; null, undefined and false are left out.
 */
export function h(tag, attributes = {}, ...children) {
  return complete(document.createElement(tag), attributes, children);
}

/** Make an SVG element, as `h` does. */
export function svg(tag, attributes = {}, ...children) {
  return complete(document.createElementNS(SVG, tag), attributes, children);
}

/** Replace all children of an element by these. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** A name that may break into a new line after each of its words. */
export const breakable = (name) => name.split(/(?<=[_./-])/).flatMap((word) => [word, h("wbr")]);

/** Keep a custom property of `root` equal to the height of an element; style sheets use it. */
export function publishHeight(element, property, root) {
  const publish = () => root.style.setProperty(property, `${element.offsetHeight}px`);
  new ResizeObserver(publish).observe(element);
}

/** Set a text if it has changed: otherwise the browser would lay out the page again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function complete(element, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...present(children));
  return element;
}

/** Set an attribute; null, undefined and false remove it. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
