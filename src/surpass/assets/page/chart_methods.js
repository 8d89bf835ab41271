// Methods against each other: difference to naive fine-tuning, and PGR of each pair.

function rankPanels(view) {
  const methods = new Set(view.summaries.map((summary) => summary.method));
  const studies = new Set(view.summaries.map((summary) => summary.study));
  const shown = DATA.ranks.filter((rank) => rank.comparison && methods.has(rank.method) && studies.has(rank.study));
  return grouping(shown, (rank) => JSON.stringify([rank.study, rank.oracle])).map(([, ranks]) => {
    const sorted = d3.sort(ranks, (rank) => -rank.comparison.difference);
    const many = new Set(sorted.map((rank) => rank.labels)).size > 1;
    const spots = sorted.map((rank, place) => rankSpot(rank, place, many));
    const parts = [DATA.studies.length > 1 ? studyName(ranks[0].study) : null, ranks[0].oracle ? "learned from truth*" : "without ground truth"];
    return { title: parts.filter(Boolean).join(" · "), spots, large: true, draw: (width) => drawRanks(width, spots, ranks[0]) };
  });
}

function rankSpot(rank, place, many) {
  const { difference, low, high, adjusted_p: p } = rank.comparison;
  const name = `${rank.method}${many ? ` (${rank.labels})` : ""}${rank.oracle ? STAR : ""}`;
  return {
    x: 100 * difference, y: place, low: 100 * low, high: 100 * high, p, name,
    title: `${label(name, 60)}\n${points(difference)} points [${points(low)}, ${points(high)}]\np ${p < 0.001 ? "" : "= "}${pText(p)} (Holm), ${rank.num_pairs} pair${rank.num_pairs > 1 ? "s" : ""}`,
    open: { rank: DATA.ranks.indexOf(rank) },
  };
}

function drawRanks(width, spots, rank) {
  const { cut, room } = namesRoom(spots.map((spot) => spot.name), width);
  const beyond = (spot) => spot.p < 0.05;
  const ticks = Math.max(3, Math.min(7, Math.round((width - room - 70) / 58)));
  const colour = rank.oracle ? "var(--c2)" : "var(--c1)";
  return plot(width, "Differences to naive fine-tuning", spots, [
    ...frame({ x: true, xTicks: ticks }),
    Plot.ruleX([0], { stroke: "var(--fg)" }),
    Plot.ruleY(spots, { y: "y", x1: "low", x2: "high", stroke: colour, strokeWidth: 1.8 }),
    spotMarks(spots, { symbol: rank.oracle ? "diamond" : "circle", stroke: colour, fill: (spot) => (beyond(spot) ? colour : "var(--bg)") }),
    Plot.text(spots, {
      y: "y", frameAnchor: "right", dx: 58, textAnchor: "end", fill: "var(--fg)",
      text: (spot) => pText(spot.p), fontWeight: (spot) => (beyond(spot) ? "bold" : "normal"), fontVariant: "tabular-nums",
    }),
    Plot.text(["p (Holm)"], { frameAnchor: "top-right", dx: 58, dy: -14, textAnchor: "end", fill: "var(--muted)" }),
  ], {
    height: 74 + 24 * spots.length, marginLeft: room, marginRight: 70, marginTop: 24,
    x: { label: "difference of accuracy to naive, points", labelAnchor: "center", labelArrow: "none", ticks, nice: true },
    y: { type: "band", domain: spots.map((spot) => spot.y), tickFormat: (place) => cut[place], label: null, tickSize: 0 },
  });
}

const ranksFigure = {
  id: "against-naive",
  title: "Methods against naive fine-tuning",
  panels: rankPanels,
  legend: () => legend([
    { colour: "var(--c1)", symbol: "circle", name: "p below 0.05" },
    { colour: "var(--c1)", symbol: "circle", hollow: true, name: "not beyond noise" },
  ]),
  columns: ["method", "difference, points"],
  caption: () => "Mean difference of accuracy to naive fine-tuning on the same pairs, seeds and test examples, with its 95 % interval over test examples and seeds; p corrected for the number of methods (Holm). Over all pairs of the study, whatever the filters of pair and seed.",
  missing: (view) => (view.summaries.length ? "there is no method beside naive fine-tuning to compare with it" : "no result is left by the filters"),
};

function pairPanels(view) {
  return grouping(view.summaries, (summary) => JSON.stringify([summary.study, summary.task, summary.pair])).map(([, group]) => {
    const sorted = d3.sort(group, (summary) => summary.oracle, (summary) => -(summary.estimate.valid ? summary.estimate.value : -Infinity));
    const spots = sorted.map((summary, place) => ({
      ...sizeSpot(summary, "pgr"), y: place, x: summary.estimate.valid ? 100 * summary.estimate.value : NaN, name: summary.called,
    }));
    const valid = spots.some((spot) => Number.isFinite(spot.x));
    return { title: panelName(group[0], group[0].pair), spots, valid, draw: (width) => drawPair(width, spots, pairDomain(view, group[0].study)) };
  }).filter((panel) => panel.valid);
}

/** One axis for all pairs of a study, so that they can be compared. */
function pairDomain(view, study) {
  const ends = view.summaries.filter((summary) => summary.study === study && summary.estimate.valid).flatMap(({ estimate }) => [100 * estimate.low, 100 * estimate.high]);
  return shareRange(ends);
}

function drawPair(width, spots, domain) {
  const { cut, room } = namesRoom(spots.map((spot) => spot.name), width, 150);
  const seeds = spots.flatMap((spot) => seedSpots(spot.summary, "pgr", 0).map((dot) => ({ x: dot.y, y: spot.y })));
  const colour = (spot) => (spot.summary.oracle ? "var(--c2)" : "var(--c1)");
  const known = spots.filter((spot) => Number.isFinite(spot.x));
  return plot(width, `PGR by method: ${spots[0].summary.pair}`, known, [
    ...frame({ x: true, xTicks: 5 }),
    Plot.ruleX([0, 100].filter((share) => share <= domain[1]), { stroke: "var(--muted)", strokeDasharray: "2 3" }),
    Plot.dot(seeds, { x: "x", y: "y", r: 1.7, dy: 7, fill: "var(--muted)", fillOpacity: 0.8, clip: true, className: "seeds" }),
    Plot.ruleY(known, { y: "y", x1: "low", x2: "high", stroke: colour, strokeWidth: 1.8, clip: true }),
    spotMarks(known, { symbol: (spot) => (spot.summary.oracle ? "diamond" : "circle"), fill: (spot) => (spot.summary.oracle ? "var(--bg)" : colour(spot)), stroke: colour, clip: true }),
    Plot.text(spots.filter((spot) => !Number.isFinite(spot.x)), { y: "y", x: 0, text: () => "undefined", textAnchor: "start", dx: 4, fill: "var(--muted)" }),
  ], {
    height: 60 + 24 * spots.length, marginLeft: room, marginTop: 8,
    x: { domain, label: "PGR, %", labelAnchor: "center", labelArrow: "none", ticks: 5 },
    y: { type: "band", domain: spots.map((spot) => spot.y), tickFormat: (place) => cut[place], label: null, tickSize: 0 },
    symbol: { type: "identity" },
  });
}

const pairsFigure = {
  id: "pairs",
  title: "PGR of each pair, by method",
  panels: pairPanels,
  legend: (view) => legend([
    { colour: "var(--c1)", symbol: "circle", name: "without ground truth" },
    ...(view.summaries.some((summary) => summary.oracle) ? [{ colour: "var(--c2)", symbol: "diamond", hollow: true, name: "learned from truth*" }] : []),
    { colour: "var(--muted)", symbol: "circle", line: false, name: "single seeds" },
  ]),
  columns: ["pair", "method", "PGR, %"],
  caption: (view) => `0 % is the supervisor, 100 % the ceiling. Bars: ${intervalsOf(view.summaries)}. Intervals that overlap do not say that methods are alike: see the comparison with naive. The axis ends at −100 and 200 % at most.`,
  missing: (view) => (view.summaries.length ? "PGR is undefined everywhere" : "no result is left by the filters"),
};
