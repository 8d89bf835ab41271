// Overfitting to weak labels, and calibration.

const POINTS = { best: "star", last: "square", weak_stopped: "triangle" };
const POINT_NAMES = { best: "best, by truth", last: "last", weak_stopped: "stopped by agreement with weak labels" };

function curvePanels(view) {
  const keep = new Set(view.summaries.map((summary) => JSON.stringify([summary.study, summary.pair])));
  const shown = DATA.curves.filter((curve) => keep.has(JSON.stringify([curve.study, curve.pair])) && passes("seed", curve.seed));
  return grouping(shown, (curve) => JSON.stringify([curve.study, curve.pair])).map(([, curves]) => {
    const first = DATA.summaries.find((summary) => summary.study === curves[0].study && summary.pair === curves[0].pair);
    const spots = curves.flatMap((curve) => Object.keys(POINTS).map((name) => curveSpot(curve, name)).filter(Boolean));
    return { title: panelName(first, curves[0].pair), spots, draw: (width) => drawCurves(width, curves, spots) };
  });
}

function curveSpot(curve, name) {
  const point = curve.points?.[name];
  if (!point) return null;
  const summary = DATA.summaries.find((one) => one.study === curve.study && one.pair === curve.pair
    && one.oracle === (name === "best") && one.method.startsWith("early_stop"));
  const step = curve.steps[point.place] ?? point.progress * curve.steps.at(-1);
  return {
    open: summary ? { summary: summary.index, seed: curve.seed } : null,
    x: step, y: 100 * point.accuracy, name, seed: curve.seed, pair: curve.pair,
    title: `seed ${curve.seed}, ${POINT_NAMES[name]}\nstep ${count(step)}: accuracy ${percent(point.accuracy)} %\nagreement with weak labels ${percent(point.weak_agreement)} %`,
  };
}

function drawCurves(width, curves, spots) {
  const line = (values, settings) => curves.map((curve) => Plot.line(
    curve.steps.map((step, place) => ({ x: step, y: 100 * curve[values][place] })),
    { x: "x", y: "y", strokeWidth: 1.4, strokeOpacity: curves.length > 1 ? 0.75 : 1, ...settings },
  ));
  const values = curves.flatMap((curve) => [...curve.accuracy, ...curve.weak_agreement].map((value) => 100 * value));
  return plot(width, `Overfitting: ${curves[0].pair}`, spots, [
    ...frame({ y: true }),
    ...line("weak_agreement", { stroke: "var(--c2)", strokeDasharray: "5 3" }),
    ...line("accuracy", { stroke: "var(--c1)" }),
    spotMarks(spots, { symbol: (spot) => POINTS[spot.name], fill: "var(--bg)", stroke: "var(--fg)", strokeWidth: 1.5 }),
  ], {
    height: panelHeight(width), x: { label: "training step", labelAnchor: "center", labelArrow: "none", ticks: 5 },
    y: { domain: range(values), label: "validation examples, %", labelArrow: "none", ticks: 5 }, symbol: { type: "identity" },
  });
}

const curvesFigure = {
  id: "overfitting",
  title: "Overfitting to weak labels",
  panels: curvePanels,
  legend: () => legend([
    { colour: "var(--c1)", name: "accuracy" },
    { colour: "var(--c2)", dash: "5 3", name: "agreement with weak labels" },
    ...Object.keys(POINTS).map((name) => ({ colour: "var(--fg)", symbol: POINTS[name], line: false, hollow: true, name: POINT_NAMES[name] })),
  ]),
  columns: ["pair", "seed", "point", "step", "accuracy, %"],
  caption: () => "Accuracy and agreement with the weak labels on validation examples during one fit, a line for each seed; no intervals. The best of several noisy accuracies is too good.",
  missing: (view) => (DATA.curves.length && view.summaries.length ? "the filters leave no curve" : "it takes the methods early_stop and early_stop_truth"),
};

const ROLES = {
  weak: { colour: "var(--c2)", symbol: "triangle", dash: "6 3" },
  student: { colour: "var(--c1)", symbol: "circle", dash: "" },
  ceiling: { colour: "var(--fg)", symbol: "square", dash: "2 3" },
};

function calibrationPanels(view) {
  const bySummary = d3.group(DATA.calibration, (one) => one.summary);
  const shown = view.summaries.filter((summary) => summary.method === view.method);
  return shown.map((summary) => {
    // Weak and ceiling stand with the first summary of the pair.
    const same = DATA.summaries.filter((other) => other.study === summary.study && other.task === summary.task && other.pair === summary.pair);
    const found = Object.keys(ROLES).map((role) => (role === "student" ? bySummary.get(summary.index) ?? []
      : same.flatMap((other) => bySummary.get(other.index) ?? [])).find((one) => one.role === role)).filter(Boolean);
    const spots = found.flatMap((one) => one.bins.map((bin) => ({
      x: 100 * bin.confidence, y: 100 * bin.accuracy, role: one.role, count: bin.count, pair: summary.pair, summary,
      title: `${one.role}, confidence ${percent(bin.low)} to ${percent(bin.high)} %\nmean confidence ${percent(bin.confidence)} %\naccuracy ${percent(bin.accuracy)} %, ${count(bin.count)} examples`,
      open: { summary: summary.index },
    })));
    const many = shown.filter((other) => other.pair === summary.pair && other.study === summary.study).length > 1;
    return { title: panelName(summary, many ? `${summary.pair}, ${summary.called}` : summary.pair), spots, draw: (width) => drawCalibration(width, spots) };
  }).filter((panel) => panel.spots.length);
}

function drawCalibration(width, spots) {
  const largest = d3.max(spots, (spot) => spot.count) || 1;
  return plot(width, `Calibration: ${spots[0].pair}`, spots, [
    ...frame({ x: true, y: true, xTicks: 5 }),
    Plot.line([[0, 0], [100, 100]], { stroke: "var(--muted)", strokeDasharray: "2 3" }),
    ...grouping(spots, (spot) => spot.role).flatMap(([role, own]) => [
      Plot.line(own, { x: "x", y: "y", stroke: ROLES[role].colour, strokeDasharray: ROLES[role].dash || undefined, strokeWidth: 1.5 }),
      tagged(spotMarks(own, {
        symbol: ROLES[role].symbol, fill: ROLES[role].colour, stroke: ROLES[role].colour, strokeWidth: 0.5,
        r: { value: (spot) => 2 + 5 * Math.sqrt(spot.count / largest), scale: null },
      }), own),
    ]),
  ], {
    height: Math.min(width, 420), x: { domain: [0, 100], label: "confidence, %", labelAnchor: "center", labelArrow: "none", ticks: 5 },
    y: { domain: [0, 100], label: "accuracy, %", labelArrow: "none", ticks: 5 },
  });
}

const calibrationFigure = {
  id: "calibration",
  title: "Calibration",
  onlyMethod: true,
  panels: calibrationPanels,
  legend: () => legend(Object.entries(ROLES).map(([role, style]) => ({ ...style, name: role }))),
  columns: ["pair", "role", "confidence, %", "accuracy, %", "examples"],
  caption: (view) => `Accuracy of answers by the confidence they were given with, in bins of equal width; on the diagonal confidence can be believed. Larger marks hold more examples. All seeds pooled, without intervals.${methodNote(view)}`,
  missing: () => "the report holds no calibration for what the filters leave",
};
