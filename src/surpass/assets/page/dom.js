// Elements are made here, and here only. Text of the document becomes text, never HTML.

const LONGEST = 2000;

/** Text that a reader can take: cut where it is longer than `longest` characters. */
function clip(value, longest = LONGEST) {
  const text = value === null || value === undefined ? "-" : String(value);
  if (text.length <= longest) return text;
  return `${text.slice(0, longest)}… (${text.length.toLocaleString("en")} characters)`;
}

/** A name for a figure: short, without line breaks and without marks that turn the direction of writing. */
function label(value, longest = 24) {
  const text = String(value).slice(0, 500).replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f]/g, "");
  const line = text.replace(/\s+/g, " ");
  return shortened(line, longest);
}

/** A text cut in the middle: names of methods often differ at their end only. */
function shortened(text, longest) {
  if (text.length <= longest) return text;
  const head = Math.ceil(0.6 * (longest - 1));
  return `${text.slice(0, head)}…${text.slice(text.length - (longest - 1 - head))}`;
}

/** An element; properties that are functions listen, the others are attributes; children are nodes or text. */
function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

function svgEl(tag, properties = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : document.createTextNode(clip(child)));
  }
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

/** A button that copies a text, and says so. */
function copyButton(text) {
  return el("button", { type: "button", class: "copy", click: (event) => copyFrom(event.currentTarget, text) }, "Copy");
}

async function copyFrom(button, text) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    done = copyBySelection(text);
  }
  button.textContent = done ? "Copied" : "Select and copy by hand";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function copyBySelection(text) {
  const field = el("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
  const host = byId("panel").open ? byId("panel") : document.body;
  const before = document.activeElement;
  field.value = text;
  host.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  return done;
}

/** A table of texts; `numeric` says which columns stand to the right. */
function tableOf(names, numeric, rows, caption, kind = null) {
  return el("div", { class: "wide", role: "region", tabindex: "0", "aria-label": clip(caption, 120) },
    el("table", { class: kind },
      el("caption", { class: "unseen" }, clip(caption, 120)),
      el("thead", {}, el("tr", {}, names.map((name, place) =>
        el("th", { scope: "col", class: numeric[place] ? "n" : null }, clip(name, 200))))),
      el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, place) =>
        el("td", { class: numeric[place] ? "n" : null }, cell instanceof Node ? cell : clip(cell, 400))))))));
}
