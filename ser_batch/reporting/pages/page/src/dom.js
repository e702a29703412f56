// Elements. Everything from the results is inserted with textContent, never as markup.

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

const withAttributes = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

// make("li", { class: "x", onclick: f }, "text", node)
export const make = (tag, attributes = {}, ...children) =>
  withAttributes(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  withAttributes(document.createElementNS(SVG, tag), attributes, children);

export const button = (text, onclick, attributes = {}) =>
  make("button", { type: "button", onclick, ...attributes }, text);

export const colourOf = (variable) =>
  getComputedStyle(document.documentElement).getPropertyValue(variable).trim();

export const table = (head, rows) =>
  make(
    "table",
    { class: "plain" },
    make(
      "thead",
      {},
      make("tr", {}, ...head.map((h) => make("th", { scope: "col" }, h))),
    ),
    make(
      "tbody",
      {},
      ...rows.map(([first, ...rest]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, first),
          ...rest.map((cell) => make("td", {}, cell)),
        ),
      ),
    ),
  );
