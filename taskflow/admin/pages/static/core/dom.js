/**
 * Making elements. Text is only ever text: nothing that a task brought is read as HTML.
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
  return furnish(document.createElement(tag), attributes, children);
}

/** Make an SVG element, as `h` does. */
export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

/** Put these children in the place of all that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** A name in which a line may end after each of its words. */
export const breakable = (name) => name.split(/(?<=[_./-])/).flatMap((word) => [word, h("wbr")]);

/** Keep a custom property of `root` at the height of an element, for what stands below it. */
export function publishHeight(element, property, root) {
  const publish = () => root.style.setProperty(property, `${element.offsetHeight}px`);
  new ResizeObserver(publish).observe(element);
}

/** Set a text, if it is another one: what has not changed costs no layout. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function furnish(element, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...present(children));
  return element;
}

/** Set an attribute, or take it away: null, undefined and false stand for that. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
