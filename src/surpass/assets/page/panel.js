// Where a number comes from: the stages of a row, what each was made of, and how to make it again.

const STAGE_ROLES = [
  ["weak_stage", "supervisor"], ["student_stage", "student"], ["ceiling_stage", "ceiling"],
  ["weak_score", "score of the supervisor"], ["student_score", "score of the student"], ["ceiling_score", "score of the ceiling"],
  ["comparison", "comparison of student and supervisor"],
];
const trail = [];

/** Opens the panel on a row, or on a summary, whose first row stands for it. */
async function openRow({ rank, summary, row, seed }) {
  trail.length = 0;
  if (rank !== undefined) {
    await show({ rank });
    return;
  }
  const rows = DATA.summaries[summary].rows;
  const known = row ?? rows.find((one) => DATA.rows.seed[one] === seed) ?? rows.find(seedPasses) ?? rows[0] ?? null;
  await show({ summary, row: known });
}

async function show(view) {
  trail.push(view);
  await render();
}

async function render() {
  const panel = byId("panel");
  const view = trail.at(-1);
  const [stages, versions] = await Promise.all([unpack("stages"), unpack("versions")]);
  const body = view.rank !== undefined ? rankView(view.rank)
    : view.stage === undefined ? rowView(view, stages) : stageView(view.stage, stages, versions);
  panel.replaceChildren(
    el("div", { class: "bar" },
      trail.length > 1 ? el("button", { type: "button", click: () => { trail.pop(); render(); } }, "Back") : null,
      el("button", { type: "button", id: "close", click: () => panel.close() }, "Close")),
    ...body);
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  byId("panel-title").focus();
}

function preparePanel() {
  const panel = byId("panel");
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  for (const line of document.querySelectorAll("tr[data-summary]")) {
    line.addEventListener("click", () => openRow({ summary: Number(line.dataset.summary) }));
  }
  for (const line of document.querySelectorAll("tr[data-rank]")) {
    line.addEventListener("click", () => openRow({ rank: Number(line.dataset.rank) }));
  }
}

function heading2(text) {
  return el("h2", { id: "panel-title", tabindex: "-1" }, clip(text, 200));
}

function pairsOf(list) {
  return el("dl", {}, list.map(([name, value]) => [el("dt", {}, clip(name, 200)), el("dd", {}, value instanceof Node ? value : el("bdi", {}, clip(value)))]));
}

/** A method over all pairs: the pairs it is over. */
function rankView(place) {
  const rank = DATA.ranks[place];
  const { comparison } = rank;
  const own = DATA.summaries.filter((summary) => summary.study === rank.study && summary.method === rank.method
    && summary.labels === rank.labels && summary.oracle === rank.oracle);
  const facts = [["median PGR", `${percent(rank.pgr.median)} %`], ["pairs", String(rank.num_pairs)]];
  if (comparison) {
    facts.push(["difference to naive", `${points(comparison.difference)} points [${points(comparison.low)}, ${points(comparison.high)}]`]);
    facts.push(["p, corrected (Holm)", pText(comparison.adjusted_p)]);
    facts.push(["over", `${comparison.num_tasks} pair${comparison.num_tasks === 1 ? "" : "s"}, ${comparison.num_seeds} seed${comparison.num_seeds === 1 ? "" : "s"}`]);
  }
  if (rank.oracle) facts.push(["learned from truth", "yes: not a weak-to-strong result"]);
  return [heading2(`${rank.method}${rank.oracle ? STAR : ""} over all pairs`), pairsOf(facts), el("h3", {}, "Made from"),
    el("ul", { class: "stages" }, own.map((summary) => el("li", {},
      el("button", { type: "button", class: "from", click: () => show({ summary: summary.index, row: summary.rows[0] ?? null }) }, summary.pair), " ",
      el("span", { class: "small" }, `student ${percent(summary.estimate.student)} %, PGR ${pgrText(summary.estimate)}`))))];
}

function rowView({ summary: index, row }, stages) {
  const summary = DATA.summaries[index];
  const { estimate } = summary;
  const numbers = [
    ["PGR over all seeds", estimate.valid ? `${pgrText(estimate)} %` : `undefined: ${estimate.reason}`],
    ["accuracies over all seeds", `weak ${percent(estimate.weak)} %, student ${percent(estimate.student)} %, ceiling ${percent(estimate.ceiling)} %`],
    ["over", `${estimate.num_seeds} seed${estimate.num_seeds === 1 ? "" : "s"}, ${count(estimate.num_examples)} ${clip(DATA.studies[summary.study].noun, 60)}`],
    ["labels", summary.labels],
  ];
  if (summary.oracle) numbers.push(["learned from truth", "yes: not a weak-to-strong result"]);
  const parts = [heading2(`${summary.pair}, ${summary.called}`)];
  if (DATA.studies.length > 1) parts.push(el("p", { class: "small" }, studyName(summary.study)));
  parts.push(pairsOf(numbers));
  if (row === null) return [...parts, el("p", {}, "The report holds no row of it.")];
  parts.push(el("h3", {}, `Seed ${DATA.rows.seed[row]}`));
  if (summary.rows.length > 1) parts.push(seedPicker(index, summary.rows, row));
  parts.push(pairsOf([
    ["accuracies", ["weak", "student", "ceiling"].map((role) => `${role} ${percent(DATA.rows[`${role}_acc`][row])} %`).join(", ")],
    ["PGR of this seed", missing(DATA.rows.pgr[row]) ? "undefined" : `${percent(DATA.rows.pgr[row])} %`],
  ]));
  parts.push(el("h3", {}, "Stages"), el("ul", { class: "stages" }, STAGE_ROLES.map(([column, role]) => {
    const stage = DATA.rows[column]?.[row];
    return missing(stage) ? null : stageLine(stage, stages, role);
  })));
  return parts;
}

function seedPicker(index, rows, row) {
  return el("p", { class: "seeds-of", role: "group", "aria-label": "Seeds" }, rows.slice(0, 200).map((other) =>
    el("button", { type: "button", "aria-pressed": String(other === row), click: () => { trail.pop(); show({ summary: index, row: other }); } }, String(DATA.rows.seed[other]))));
}

function stageLine(place, stages, role) {
  const stage = stages[place];
  return el("li", {},
    el("button", { type: "button", class: "from", click: () => show({ stage: place }) }, role ?? stage.kind), " ",
    el("span", { class: "small" }, `${role ? `${clip(stage.kind, 40)}, ` : ""}${clip(stage.label, 160)}`), " ", el("code", {}, String(stage.id).slice(0, 8)));
}

function stageView(place, stages, versions) {
  const stage = stages[place];
  const uses = [];
  stages.forEach((other, index) => { if (other.upstream.includes(place)) uses.push(index); });
  const facts = [
    ["id", el("code", {}, clip(stage.id, 100))],
    ["made", missing(stage.created) ? "-" : stage.created],
    ["time", missing(stage.seconds) ? "-" : duration(stage.seconds)],
  ];
  const parts = [heading2(`${clip(stage.kind, 60)} ${clip(stage.label, 140)}`), pairsOf(facts)];
  if (stage.command) {
    parts.push(el("h3", {}, "Make it again"), el("p", { class: "command" }, el("code", {}, clip(stage.command)), copyButton(stage.command)));
  }
  parts.push(...block("Settings", stage.fields), ...block("Read from outside", stage.outside), ...block("Files, SHA-256", stage.files));
  parts.push(...linked("Made from", stage.upstream, stages), ...linked("Used by", uses, stages));
  const used = missing(stage.versions) ? null : versions[stage.versions];
  if (used) parts.push(el("details", {}, el("summary", {}, "Versions"), pairsOf(Object.entries(used))));
  return parts;
}

function block(title, values) {
  const entries = Object.entries(values || {});
  if (!entries.length) return [];
  return [el("h3", {}, title), pairsOf(entries.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]))];
}

const LINKS = 60;

function linked(title, places, stages) {
  if (!places.length) return [];
  const rest = places.length - LINKS;
  return [el("h3", {}, title), el("ul", { class: "stages" }, places.slice(0, LINKS).map((place) => stageLine(place, stages)),
    rest > 0 ? el("li", {}, `and ${count(rest)} more`) : null)];
}
