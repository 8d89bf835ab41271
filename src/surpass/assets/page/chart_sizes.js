// Accuracy and PGR against the size of the student, a line for each supervisor (Burns et al. 2023, figure 3).

/** Names of models above the axis, where they do not stand in each other's way. */
function modelTicks(names, width, size) {
  if (!size.log) return [];
  const known = [...new Set(names)].sort((a, b) => size.of(a) - size.of(b));
  const scale = d3.scaleLog(d3.extent(known, size.of), [0, width - 90]);
  const kept = [];
  let end = -Infinity;
  for (const name of known) {
    const half = textWidth(label(name, 14)) / 2;
    const at = known.length > 1 ? scale(size.of(name)) : (width - 90) / 2;
    if (at - half < end + 6) continue;
    kept.push(name);
    end = at + half;
  }
  return kept;
}

function sizeScale(names, width, size) {
  const used = [...new Set(names)];
  if (!size.log) {
    const order = used.sort((a, b) => size.of(a) - size.of(b));
    const room = (width - 60) / order.length - 6;
    return {
      x: { type: "point", domain: order, label: size.title, labelAnchor: "center", labelArrow: "none", tickFormat: (name) => cutTo(name, room) },
      axes: [],
    };
  }
  const named = modelTicks(used, width, size);
  const extent = d3.extent(used, size.of);
  const title = { label: `${size.title} (log scale)`, labelAnchor: "center", labelArrow: "none", labelOffset: 38 };
  const domain = extent[0] === extent[1] ? [extent[0] / 3, extent[0] * 3] : extent;
  const powers = d3.range(Math.ceil(Math.log10(domain[0]) - 1e-9), Math.log10(domain[1]) + 1e-9).map((power) => 10 ** power);
  const ticks = powers.length < 2 ? [...new Set(extent)] : powers.length > 7 ? powers.filter((_, place) => place % 2 === 0) : powers;
  return {
    x: { type: "log", domain, label: null },
    // Formats of axes are overruled on log scales; texts are not.
    axes: [Plot.axisX(ticks, { text: size.text, ...title }), Plot.text(named, {
      x: size.of, frameAnchor: "top", dy: -20, fill: "var(--muted)", text: (name) => label(name, 14),
    })],
  };
}

function sizeOf(summary) {
  return DATA.sizes[summary.study];
}

/** Supervisors of all summaries, small ones first, so that a filter does not change a line's colour. */
function supervisors() {
  return DATA.supervisors ??= DATA.sizes.flatMap((size, study) => d3.sort(
    new Set(DATA.summaries.filter((summary) => summary.study === study).map((summary) => summary.weak)), size.of,
  )).filter((name, place, all) => all.indexOf(name) === place);
}

function weakLook(name) {
  return look(supervisors().indexOf(name));
}

function seedSpots(summary, value, place) {
  return summary.rows.filter(seedPasses).map((row) => ({ x: place, y: 100 * DATA.rows[value][row] }))
    .filter((dot) => Number.isFinite(dot.y));
}

function sizePanels(view, kind) {
  const shown = view.summaries.filter((summary) => summary.method === view.method);
  return grouping(shown, (summary) => JSON.stringify([summary.study, summary.task, summary.labels]))
    .map(([, group]) => {
      const spots = group.map((summary) => sizeSpot(summary, kind)).filter((spot) => Number.isFinite(spot.y));
      const alike = shown.filter((summary) => summary.study === group[0].study && summary.task === group[0].task);
      const many = alike.some((summary) => summary.labels !== group[0].labels) ? `labels ${group[0].labels}` : "";
      return {
        title: panelName(group[0], many),
        spots,
        draw: (width, host) => (kind === "accuracy" ? drawAccuracy : drawPgr)(width, group, spots, host),
      };
    })
    .filter((panel) => panel.spots.length);
}

function sizeSpot(summary, kind) {
  const { estimate } = summary;
  const [low, high] = kind === "accuracy" ? summary.accuracy?.student ?? [null, null] : [estimate.low, estimate.high];
  const value = kind === "accuracy" ? estimate.student : estimate.valid ? estimate.value : null;
  const text = kind === "accuracy" ? `student ${percent(value)} %${missing(low) ? "" : ` [${percent(low)}, ${percent(high)}]`}` : `PGR ${pgrText(estimate)} %`;
  return {
    x: sizeOf(summary).place(summary.strong), y: missing(value) ? NaN : 100 * value, group: summary.weak,
    low: missing(low) ? NaN : 100 * low, high: missing(high) ? NaN : 100 * high, summary,
    title: `${label(summary.pair, 60)}\n${label(summary.called, 40)}: ${text}\nweak ${percent(estimate.weak)} %, ceiling ${percent(estimate.ceiling)} %`,
    open: { summary: summary.index },
  };
}

/** A supervisor or a ceiling as a point of its own. */
function modelSpot(summary, role, name) {
  const value = summary.estimate[role];
  const [low, high] = summary.accuracy?.[role] ?? [null, null];
  const interval = missing(low) ? "" : ` [${percent(low)}, ${percent(high)}]`;
  return {
    x: sizeOf(summary).place(name), y: 100 * value, of: name, summary,
    title: `${label(name, 60)}\n${role === "weak" ? "supervisor" : "ceiling"} ${percent(value)} %${interval}`,
    open: { summary: summary.index },
  };
}

/** The marks of one supervisor's line; lines stand a little beside each other, so that no bar hides another. */
function supervisorMarks(name, group, spots, start, value) {
  const { colour, symbol, dash } = weakLook(name);
  const all = supervisors();
  const dx = 2.5 * (all.indexOf(name) - (all.length - 1) / 2);
  const { oracle } = spots[0].summary;
  const size = sizeOf(spots[0].summary);
  const line = [...start, ...spots].sort((a, b) => size.of(a.of ?? a.summary.strong) - size.of(b.of ?? b.summary.strong));
  const seeds = group.filter((summary) => summary.weak === name).flatMap((summary) => seedSpots(summary, value, size.place(summary.strong)));
  return [
    Plot.line(line, { x: "x", y: "y", stroke: colour, strokeWidth: 1.8, strokeDasharray: dash || undefined, dx, clip: true }),
    Plot.dot(seeds, { x: "x", y: "y", r: 1.7, fill: colour, fillOpacity: 0.5, dx, clip: true, className: "seeds" }),
    Plot.ruleX(spots.filter((spot) => Number.isFinite(spot.low)), { x: "x", y1: "low", y2: "high", stroke: colour, strokeWidth: 1.6, dx, clip: true }),
    start.length ? tagged(spotMarks(start, { stroke: colour, fill: "var(--bg)", symbol, r: 4, dx }), start) : null,
    tagged(spotMarks(spots, { symbol, fill: oracle ? "var(--bg)" : colour, stroke: colour, dx }), spots),
  ];
}

/** Keeps with a mark which spots it draws. */
function tagged(mark, spots) {
  const render = mark.render.bind(mark);
  mark.render = (...given) => {
    const node = render(...given);
    if (node) node.spots = spots;
    return node;
  };
  return mark;
}

function drawAccuracy(width, group, spots) {
  const size = sizeOf(group[0]);
  const names = group.flatMap((summary) => [summary.weak, summary.strong]);
  const { x, axes } = sizeScale(names, width, sizeOf(group[0]));
  const ceilings = d3.sort([...d3.group(group, (summary) => summary.strong).values()]
    .map(([summary]) => modelSpot(summary, "ceiling", summary.strong)), (spot) => size.of(spot.of));
  const bySupervisor = grouping(spots, (spot) => spot.group);
  const starts = new Map(bySupervisor.map(([name, own]) => [name, [modelSpot(own[0].summary, "weak", name)]]));
  const values = [...spots.flatMap((spot) => [spot.y, spot.low, spot.high]), ...ceilings.map((one) => one.y), ...[...starts.values()].flat().map((one) => one.y),
    ...group.flatMap((summary) => seedSpots(summary, "student_acc", 0).map((dot) => dot.y))];
  return plot(width, `Accuracy against size: ${panelName(group[0])}`, [...spots, ...ceilings, ...[...starts.values()].flat()], [
    ...frame({ y: true }), ...axes,
    Plot.line(ceilings, { x: "x", y: "y", stroke: CEILING.colour, strokeDasharray: CEILING.dash, strokeWidth: 1.4 }),
    tagged(spotMarks(ceilings, { fill: CEILING.colour, stroke: CEILING.colour, strokeWidth: 0.5, symbol: CEILING.symbol, r: 4 }), ceilings),
    ...bySupervisor.flatMap(([name, own]) => supervisorMarks(name, group, own, starts.get(name), "student_acc")),
  ], { height: panelHeight(width), x, y: { domain: shares(range(values)), label: "accuracy, %", ticks: 5, labelArrow: "none" }, marginTop: 48, marginRight: 30 });
}

function drawPgr(width, group, spots) {
  const names = group.flatMap((summary) => [summary.weak, summary.strong]);
  const { x, axes } = sizeScale(names, width, sizeOf(group[0]));
  const domain = shareRange(spots.flatMap((spot) => [spot.y, spot.low, spot.high]));
  return plot(width, `PGR against size: ${panelName(group[0])}`, spots, [
    ...frame({ y: true }), ...axes,
    Plot.ruleY([0, 100].filter((share) => share <= domain[1]), { stroke: "var(--muted)", strokeDasharray: "2 3" }),
    ...grouping(spots, (spot) => spot.group).flatMap(([name, own]) => supervisorMarks(name, group, own, [], "pgr")),
  ], { height: panelHeight(width), x, y: { domain, label: "PGR, %", ticks: 5, labelArrow: "none" }, marginTop: 48, marginRight: 30 });
}

/** No accuracy lies beyond 0 and 100 %, though ends of intervals may. */
function shares([low, high]) {
  return [Math.max(low, 0), Math.min(high, 100)];
}

function panelHeight(width) {
  return Math.round(Math.min(400, Math.max(270, 0.62 * width)));
}

function supervisorLegend(view, kind) {
  const used = new Set(view.summaries.filter((summary) => summary.method === view.method).map((summary) => summary.weak));
  const oracle = view.summaries.find((summary) => summary.method === view.method)?.oracle;
  const entries = supervisors().filter((name) => used.has(name))
    .map((name) => ({ ...weakLook(name), hollow: oracle, name: `supervised by ${label(name, 24)}` }));
  if (kind === "accuracy") entries.push({ ...CEILING, name: "ceiling (trained on truth)" });
  return legend(entries);
}

const methodNote = (view) => {
  const oracle = view.summaries.find((summary) => summary.method === view.method)?.oracle;
  const star = oracle ? `${STAR}, which learned from truth: not a weak-to-strong result` : "";
  return view.methods.length > 1 || oracle ? ` Method: ${label(view.method, 40)}${star}.` : "";
};

const accuracyFigure = {
  id: "accuracy",
  title: "Accuracy against student size",
  onlyMethod: true,
  panels: (view) => sizePanels(view, "accuracy"),
  legend: (view) => supervisorLegend(view, "accuracy"),
  columns: ["pair", "method", "accuracy, %"],
  caption: (view) => `Mean accuracy of students over seeds, a line for each supervisor; its first point, hollow, is the supervisor's own accuracy. Bars: ${intervalsOf(view.summaries)}. Small dots: single seeds.${methodNote(view)}`,
  missing: () => "no result is left by the filters",
};

const pgrFigure = {
  id: "pgr",
  title: "PGR against student size",
  onlyMethod: true,
  panels: (view) => sizePanels(view, "pgr"),
  legend: (view) => supervisorLegend(view, "pgr"),
  columns: ["pair", "method", "PGR, %"],
  caption: (view) => {
    const undefinedOnes = view.summaries.filter((summary) => summary.method === view.method && !summary.estimate.valid).length;
    const left = undefinedOnes ? ` ${undefinedOnes} undefined, not drawn.` : "";
    return `Share of the gap recovered: 0 % is the supervisor, 100 % the ceiling. Bars: ${intervalsOf(view.summaries)}. Small dots: single seeds; what lies beyond the axis is not drawn.${left}${methodNote(view)}`;
  },
  missing: (view) => (view.summaries.length ? `PGR is undefined in all results of ${label(view.method, 40)}` : "no result is left by the filters"),
};
