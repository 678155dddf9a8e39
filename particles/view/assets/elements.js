// Elements of a page; words become text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function drawing(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

export function choices(select, options, chosen) {
  select.replaceChildren(...options.map(([value, label]) => element("option", { value, textContent: label })));
  select.value = chosen;
}

/** The value of a variable of the style sheet. */
export const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
