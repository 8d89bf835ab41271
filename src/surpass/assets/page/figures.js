// The section of figures: each is drawn when it comes into sight, and again when the filters or the width change.

const FIGURES = [
  accuracyFigure, pgrFigure, ranksFigure, pairsFigure, splitFigure, curvesFigure, calibrationFigure, overlapFigure,
];
const FIRST_PANELS = 12;

/** The cells of a figure's own table, for those who cannot hover. */
const FIGURE_ROWS = {
  accuracy: (spot) => [spot.summary.pair, spot.summary.called, written(spot.y / 100, "percent")],
  pgr: (spot) => [spot.summary.pair, spot.summary.called, pgrText(spot.summary.estimate)],
  "against-naive": (spot) => [spot.name, spot.title.split("\n")[1].replace(" points", "")],
  pairs: (spot) => [spot.summary.pair, spot.summary.called, pgrText(spot.summary.estimate)],
  agreement: (spot) => [spot.summary.pair, spot.summary.called, spot.side, written(spot.x / 100, "percent")],
  overfitting: (spot) => [spot.pair, spot.seed, POINT_NAMES[spot.name], count(spot.x), written(spot.y / 100, "percent")],
  calibration: (spot) => [spot.pair, spot.role, written(spot.x / 100, "percent"), written(spot.y / 100, "percent"), count(spot.count)],
};

const frames = new Map();
const waiting = new WeakMap();
const drawn = new WeakMap();
let watcher = null;

function prepareFigures() {
  const section = byId("figures");
  watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawNow(entry.target);
  }, { rootMargin: "300px" });
  const picker = el("div", { class: "picker", hidden: true });
  section.append(picker);
  for (const figure of FIGURES) {
    const frame = el("figure", { id: `figure-${figure.id}`, "aria-labelledby": `title-${figure.id}` });
    section.append(frame);
    frames.set(figure.id, { frame, more: false });
  }
  const lacking = el("div", { class: "lacking" });
  section.append(lacking);
  const refresh = () => {
    const view = currentView();
    pickMethod(picker, view);
    const missingOnes = FIGURES.filter((figure) => !fill(figure, view));
    lacking.replaceChildren(missingText(missingOnes, view));
  };
  refresh();
  listeners.push(refresh);
  let width = section.clientWidth;
  let timer = 0;
  addEventListener("resize", () => {
    if (section.clientWidth === width) return;
    width = section.clientWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAgain, 150);
  });
}

/** Which method the figures show that have room for one. */
function pickMethod(picker, view) {
  picker.hidden = view.methods.length < 2;
  if (picker.hidden) return;
  const select = el("select", { id: "show", change: (event) => change((edited) => { edited.method = options.method[event.target.value]; }) },
    view.methods.map((method) => el("option", { value: options.method.indexOf(method), selected: method === view.method }, label(method, 60))));
  const had = picker.contains(document.activeElement);
  picker.replaceChildren(el("label", { for: "show" }, "Method in figures that show one"), select);
  if (had) select.focus();
}

/** Fills a figure's frame; false where there is nothing to draw. */
function fill(figure, view) {
  const held = frames.get(figure.id);
  const { frame } = held;
  const panels = figure.panels(view);
  frame.hidden = panels.length === 0;
  if (!panels.length) {
    frame.replaceChildren();
    return false;
  }
  const shown = held.more ? panels : panels.slice(0, FIRST_PANELS);
  const grid = el("div", { class: `panels ${panels.length === 1 ? "alone" : ""} ${panels[0].large ? "large" : ""}` },
    shown.map((panel) => panelOf(panel)));
  const rest = panels.length - shown.length;
  const more = rest ? el("button", { type: "button", class: "more", click: () => { held.more = true; fill(figure, currentView()); } },
    `Show ${rest} more panel${rest > 1 ? "s" : ""}`) : null;
  frame.replaceChildren(
    el("h3", { id: `title-${figure.id}` }, figure.title),
    figure.legend(view), grid, ...(more ? [more] : []),
    el("figcaption", {}, figure.caption(view)), numbersOf(figure, panels),
  );
  return true;
}

function panelOf(panel) {
  const host = el("div", { class: "drawing" });
  waiting.set(host, panel);
  watcher.observe(host);
  return el("div", { class: `panel ${panel.wide ? "across" : ""}` }, panel.title ? el("h4", {}, clip(panel.title, 90)) : null, host);
}

function drawNow(host) {
  const panel = waiting.get(host);
  if (!panel) return;
  waiting.delete(host);
  drawn.set(host, panel);
  watcher.unobserve(host);
  host.replaceChildren(panel.draw(Math.max(240, Math.min(host.clientWidth, 820)), host));
}

/** After a change of width; what is out of sight keeps its old drawing until it is seen. */
function drawAgain() {
  for (const host of document.querySelectorAll("#figures .drawing")) {
    if (!drawn.has(host)) continue;
    waiting.set(host, drawn.get(host));
    watcher.unobserve(host);
    watcher.observe(host);
  }
}

function drawAll() {
  for (const host of document.querySelectorAll("#figures .drawing")) drawNow(host);
}

/** The figure as a table, made when it is opened. */
function numbersOf(figure, panels) {
  const details = el("details", { class: "numbers" }, el("summary", {}, "Numbers of this figure"));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const rows = panels.flatMap((panel) => panel.rows ?? panel.spots.map((spot) => {
      const cells = FIGURE_ROWS[figure.id](spot);
      return spot.open ? [fromButton(cells[0], spot.open), ...cells.slice(1)] : cells;
    }));
    details.append(tableOf(figure.columns, figure.columns.map((name) => /%|points|kappa|step|examples/.test(name)), rows, figure.title));
  });
  return details;
}

function fromButton(text, open) {
  return el("button", { type: "button", class: "from", click: () => openRow(open) }, clip(text, 80));
}

function missingText(figures, view) {
  if (!figures.length) return el("p", {});
  return el("p", {}, "Not drawn: ", figures.map((figure, place) =>
    `${place ? "; " : ""}${figure.title.toLowerCase().replaceAll("pgr", "PGR")} (${figure.missing(view)})`), ".");
}
