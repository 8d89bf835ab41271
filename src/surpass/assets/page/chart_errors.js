// Whose errors: agreement where the supervisor is right and where it is wrong, and overlap of errors.

function splitPanels(view) {
  return grouping(view.summaries, (summary) => JSON.stringify([summary.study, summary.task, summary.pair])).map(([, group]) => {
    const sorted = d3.sort(group, (summary) => summary.oracle, (summary) => -(summary.metrics.agreement_wrong ?? -1));
    const spots = sorted.flatMap((summary, place) => [["right", "agreement_right"], ["wrong", "agreement_wrong"]].map(([side, metric]) => ({
      x: missing(summary.metrics[metric]) ? NaN : 100 * summary.metrics[metric], y: place, side, summary, name: summary.called,
      title: `${label(summary.called, 40)}\nagrees with the supervisor where it is ${side}: ${percent(summary.metrics[metric])} %`,
      open: { summary: summary.index },
    }))).filter((spot) => Number.isFinite(spot.x));
    return { title: panelName(group[0], group[0].pair), spots, draw: (width) => drawSplit(width, sorted, spots) };
  }).filter((panel) => panel.spots.length);
}

const SIDES = { right: { colour: "var(--c1)", symbol: "circle" }, wrong: { colour: "var(--c2)", symbol: "triangle" } };

function drawSplit(width, sorted, spots) {
  const { cut, room } = namesRoom(sorted.map((summary) => summary.called), width, 150);
  const both = grouping(spots, (spot) => spot.y).map(([y, pair]) => ({ y, x1: d3.min(pair, (spot) => spot.x), x2: d3.max(pair, (spot) => spot.x) }));
  return plot(width, `Agreement: ${sorted[0].pair}`, spots, [
    ...frame({ x: true, xTicks: 5 }),
    Plot.ruleY(both, { y: "y", x1: "x1", x2: "x2", stroke: "var(--line-strong)", strokeWidth: 1.4 }),
    spotMarks(spots, { symbol: (spot) => SIDES[spot.side].symbol, fill: (spot) => SIDES[spot.side].colour, stroke: (spot) => SIDES[spot.side].colour }),
  ], {
    height: 60 + 24 * sorted.length, marginLeft: room, marginTop: 8,
    x: { domain: [0, 100], label: "agreement with the supervisor, %", labelAnchor: "center", labelArrow: "none", ticks: 5 },
    y: { type: "band", domain: sorted.map((_, place) => place), tickFormat: (place) => cut[place], label: null, tickSize: 0 },
    symbol: { type: "identity" },
  });
}

const splitFigure = {
  id: "agreement",
  title: "Agreement where the supervisor is right and where it is wrong",
  panels: splitPanels,
  legend: () => legend([
    { ...SIDES.right, line: false, name: "where the supervisor is right" },
    { ...SIDES.wrong, line: false, name: "where it is wrong (imitation of errors)" },
  ]),
  columns: ["pair", "method", "where the supervisor is", "agreement, %"],
  caption: () => "Share of test examples to which the student gives its supervisor's answer; means over all seeds, without intervals.",
  missing: (view) => (view.summaries.length ? "agreement is undefined everywhere" : "no result is left by the filters"),
};

function overlapPanels(view) {
  const keep = new Set(view.summaries.map((summary) => JSON.stringify([summary.study, summary.pair])));
  const methods = new Set(view.methods);
  const every = new Set(DATA.summaries.flatMap((summary) => [summary.method, summary.called]));
  return DATA.overlap.filter((one) => keep.has(JSON.stringify([one.study, one.pair]))).map((one) => {
    const fits = (name) => !every.has(name) || methods.has(name) || methods.has(name.replace(/ \((soft|hard)\)|\*$/g, ""));
    const places = one.names.map((_, place) => place).filter((place) => fits(one.names[place]));
    const spots = places.flatMap((row) => places.map((column) => ({
      x: column, y: row, kappa: one.kappa[row][column], open: overlapOpen(one, row, column),
      title: `${label(one.names[row], 30)} and ${label(one.names[column], 30)}\nkappa ${written(one.kappa[row][column], "number")}`,
    })));
    return {
      title: panelName(DATA.summaries.find((summary) => summary.study === one.study && summary.pair === one.pair), one.pair),
      spots, wide: places.length > 14, draw: (width) => drawOverlap(width, one, places, spots),
      rows: spots.filter((spot) => spot.x < spot.y).map((spot) => [one.pair, one.names[spot.y], one.names[spot.x], written(spot.kappa, "number")]),
    };
  });
}

/** A cell leads to one of its methods. */
function overlapOpen(one, ...places) {
  const names = places.map((place) => one.names[place]);
  const summary = DATA.summaries.find((other) => other.study === one.study && other.pair === one.pair
    && (names.includes(other.called) || names.includes(other.method)));
  return summary ? { summary: summary.index } : null;
}

function kappaColour(kappa) {
  if (missing(kappa)) return "var(--surface)";
  const share = Math.round(100 * Math.min(1, Math.abs(kappa)));
  return `color-mix(in srgb, var(${kappa < 0 ? "--c2" : "--c1"}) ${share}%, var(--bg))`;
}

function drawOverlap(width, one, places, spots) {
  const { cut, room } = namesRoom(places.map((place) => one.names[place]), width, 130, places.length > 30 ? 10 : 12);
  const of = new Map(places.map((place, position) => [place, cut[position]]));
  const cell = Math.max(11, Math.min(46, (width - room - 14) / places.length));
  const numbers = cell >= 27;
  return plot(Math.round(room + 14 + cell * places.length), `Overlap of errors: ${one.pair}`, spots, [
    Plot.cell(spots, { x: "x", y: "y", fill: { value: (spot) => kappaColour(spot.kappa), scale: null }, inset: 0.5 }),
    numbers ? Plot.text(spots, {
      x: "x", y: "y", text: (spot) => (spot.x === spot.y ? "" : written(spot.kappa, "number").replace("0.", ".")),
      fill: { value: (spot) => (Math.abs(spot.kappa) > 0.5 ? "var(--on-dark)" : "var(--fg)"), scale: null }, fontSize: 11,
    }) : null,
  ], {
    height: Math.round(room + 14 + cell * places.length), marginLeft: room, marginBottom: room, marginTop: 6, marginRight: 8, insetLeft: 0, insetRight: 0,
    x: { type: "band", domain: places, tickFormat: (place) => of.get(place), tickRotate: -90, tickSize: 0, label: null, padding: 0 },
    y: { type: "band", domain: places, tickFormat: (place) => of.get(place), tickSize: 0, label: null, padding: 0 },
    style: { fontSize: places.length > 30 ? "10px" : "12px", fontFamily: "inherit", overflow: "visible", background: "none" },
  });
}

const overlapFigure = {
  id: "overlap",
  title: "Overlap of errors",
  panels: overlapPanels,
  legend: () => el("p", { class: "scale" },
    el("span", {}, "Cohen's kappa"), el("span", {}, "-1"), el("span", { class: "ramp", "aria-hidden": "true" }), el("span", {}, "1")),
  columns: ["pair", "model", "model", "kappa"],
  caption: () => "Cohen's kappa of being right: 1 where two models are right on the same examples, 0 where their errors are independent, below 0 (orange) where one is right where the other is wrong. Means over seeds, without intervals.",
  missing: () => "the report holds no overlap of errors for what the filters leave",
};
