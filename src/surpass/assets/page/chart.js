// What all figures share: colours and marks that are told apart without colour, hover, and the way to the panel.

// Okabe and Ito (2008); yellow is left out, which is not seen on white.
const COLOURS = ["var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)", "var(--c7)"];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye", "times"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

/** How the n-th line of a figure looks. */
function look(place) {
  return {
    colour: COLOURS[place % COLOURS.length],
    symbol: SYMBOLS[place % SYMBOLS.length],
    dash: DASHES[Math.floor(place / COLOURS.length) % DASHES.length],
  };
}

const CEILING = { colour: "var(--fg)", symbol: "diamond2", dash: "5 4" };

/** A figure's drawing. `spots` are its points of interest: {x, y, title, open}; they are hovered and opened. */
function plot(width, name, spots, marks, more) {
  const drawing = Plot.plot({
    width,
    className: "plot",
    ariaLabel: label(name, 120),
    style: { fontSize: "12px", fontFamily: "inherit", overflow: "visible", background: "none" },
    marginLeft: 44,
    marginRight: 16,
    marginTop: 26,
    marginBottom: 46,
    insetLeft: 8,
    insetRight: 8,
    ...more,
    marks: [
      ...marks,
      Plot.tip(spots, Plot.pointer({
        x: "x", y: "y", title: "title", maxRadius: 24, fill: "var(--surface)", stroke: "var(--line)", lineWidth: 26, lineHeight: 1.35,
      })),
    ],
  });
  const picture = drawing.tagName.toLowerCase() === "svg" ? drawing : drawing.querySelector("svg");
  picture.setAttribute("role", "group");
  // Plot names groups of marks, which have no role that could bear a name.
  for (const group of picture.querySelectorAll("g[aria-label]")) group.removeAttribute("aria-label");
  opened(picture, spots, drawing);
  return drawing;
}

/** Marks of class "spot" lead to the panel: by a click, by Enter; the arrows go from one to the next. */
function opened(picture, spots, drawing) {
  const nodes = [];
  for (const group of picture.querySelectorAll(".spot")) {
    for (const node of group.children) {
      const spot = (group.spots || spots)[node.__data__];
      if (!spot?.open) continue;
      node.setAttribute("role", "button");
      node.setAttribute("aria-label", spot.title.replaceAll("\n", ", "));
      node.setAttribute("tabindex", nodes.length ? "-1" : "0");
      node.addEventListener("click", (event) => { event.stopPropagation(); openRow(spot.open); });
      nodes.push(node);
      node.addEventListener("keydown", (event) => walk(event, nodes, spot));
    }
  }
  picture.addEventListener("click", () => { if (drawing.value?.open) openRow(drawing.value.open); });
}

function walk(event, nodes, spot) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (event.key === "Enter" || event.key === " ") openRow(spot.open);
  else if (step) {
    const next = nodes[(nodes.indexOf(event.currentTarget) + step + nodes.length) % nodes.length];
    event.currentTarget.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  } else return;
  event.preventDefault();
}

/** Points that can be hovered and opened. */
function spotMarks(spots, settings) {
  return Plot.dot(spots, { x: "x", y: "y", className: "spot", r: 4.5, strokeWidth: 1.6, ...settings });
}

/** A list of what stands for what, beside the figure. */
function legend(entries) {
  return el("ul", { class: "legend" }, entries.map((entry) => el("li", {}, swatch(entry), label(entry.name, 40))));
}

function swatch({ colour, symbol, dash, line = true, hollow = false }) {
  const parts = [];
  if (line) {
    parts.push(svgEl("line", { x1: 0, x2: 26, y1: 7, y2: 7, stroke: colour, "stroke-width": 1.8, "stroke-dasharray": dash || null }));
  }
  if (symbol) {
    const shape = d3.symbol(symbolType(symbol), 44)();
    parts.push(svgEl("path", {
      d: shape, transform: "translate(13 7)", stroke: colour, "stroke-width": 1.4, fill: hollow ? "var(--bg)" : colour,
    }));
  }
  return svgEl("svg", { width: 26, height: 14, viewBox: "0 0 26 14", "aria-hidden": "true" }, parts);
}

function symbolType(name) {
  return {
    circle: d3.symbolCircle, square: d3.symbolSquare, triangle: d3.symbolTriangle, diamond: d3.symbolDiamond,
    diamond2: d3.symbolDiamond2, star: d3.symbolStar, wye: d3.symbolWye, times: d3.symbolTimes,
  }[name];
}

let ruler = null;

/** Width of a text in a figure, in pixels. */
function textWidth(text, size = 12) {
  ruler ??= document.createElement("canvas").getContext("2d");
  ruler.font = `${size}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

/** A name cut to a width in pixels. */
function cutTo(name, width, size = 12) {
  const whole = label(name, 80);
  let longest = whole.length;
  while (longest > 3 && textWidth(shortened(whole, longest), size) > width) longest -= 1;
  return shortened(whole, longest);
}

/** Room for names beside a vertical axis, in pixels, and the names as they fit. */
function namesRoom(names, width, widest = 190, size = 12) {
  const room = Math.min(widest, width * 0.42);
  const cut = names.map((name) => cutTo(name, room - 14, size));
  return { cut, room: Math.ceil(14 + Math.max(20, ...cut.map((name) => textWidth(name, size)))) };
}

/** Percentages of an axis: a range that holds all values, with a little air. */
function range(values, smallest = 4) {
  const known = values.filter((value) => Number.isFinite(value));
  if (!known.length) return [0, 100];
  const [low, high] = d3.extent(known);
  const air = Math.max(0.06 * (high - low), (smallest - (high - low)) / 2, 0.2);
  return [low - air, high + air];
}

/** An axis of PGR: 0 is always on it, 100 % where results come near; nothing beyond -100 and 200 %. */
function shareRange(values) {
  const known = values.filter((value) => Number.isFinite(value));
  const [low, high] = range([0, ...known, ...(d3.max(known) > 50 ? [100] : [])]);
  return [Math.max(low, -100), Math.min(high, 200)];
}

/** A quiet grid and two axes. */
function frame({ x, y, xTicks, yTicks = 5 }) {
  const quiet = { stroke: "var(--line)", strokeOpacity: 1 };
  return [
    y && Plot.gridY({ ticks: yTicks, ...quiet }),
    x && Plot.gridX({ ticks: xTicks, ...quiet }),
  ].filter(Boolean);
}

function intervalText(level, seeds) {
  const over = seeds > 1 ? "test examples and seeds" : "test examples only, as there is one seed";
  return `${fixed(100 * level, 0)} % intervals over ${over}`;
}

/** The caption's words on intervals, for all summaries of a view. */
function intervalsOf(summaries) {
  if (!summaries.length) return "";
  const seeds = Math.min(...summaries.map((summary) => summary.estimate.num_seeds));
  return intervalText(summaries[0].estimate.level, seeds);
}

function grouping(items, key) {
  return [...d3.group(items, key)];
}

/** The name of a panel, with study and task where there are several. */
function panelName(summary, rest) {
  const parts = [];
  if (DATA.studies.length > 1) parts.push(studyName(summary.study));
  const same = DATA.summaries.filter((other) => other.study === summary.study);
  if (same.some((other) => other.task !== summary.task)) parts.push(summary.task);
  if (rest) parts.push(rest);
  return parts.join(" · ");
}
