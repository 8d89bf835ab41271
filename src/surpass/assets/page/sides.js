// Two studies side by side: where their settings differ, and the results that both have.

function prepareSides() {
  if (DATA.studies.length < 2) return;
  const section = byId("sides");
  section.hidden = false;
  const pick = (id, chosen) => el("select", { id, change: refresh }, DATA.studies.map((_, place) =>
    el("option", { value: place, selected: place === chosen }, clip(studyName(place), 100))));
  const left = pick("left", 0);
  const right = pick("right", 1);
  const holder = el("div", {});
  section.append(el("p", { class: "tools" }, el("label", { for: "left" }, "Left"), left, el("label", { for: "right" }, "Right"), right), holder);
  function refresh() {
    holder.replaceChildren(...sideBySide(Number(left.value), Number(right.value)));
  }
  refresh();
  listeners.push(refresh);
}

function settingsOf(place) {
  const study = DATA.studies[place];
  return new Map([
    ["task", study.task.name], ["labels", study.labels], ["seeds", study.seeds.join(", ")],
    ["pairs", study.pairs.map((pair) => pair.join(" → ")).join(", ")], ["methods", study.methods.join(", ")],
    ...study.settings.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]),
    ["command", study.command],
  ]);
}

function sideBySide(left, right) {
  const names = [studyName(left), studyName(right)];
  const [a, b] = [settingsOf(left), settingsOf(right)];
  const keys = [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key));
  const parts = [el("h3", {}, "Settings that differ")];
  parts.push(keys.length
    ? tableOf(["setting", ...names], [false, false, false], keys.map((key) => [key, a.get(key) ?? "-", b.get(key) ?? "-"]), "Settings that differ", "even")
    : el("p", {}, "None."));
  const of = (study) => new Map(DATA.summaries.filter((summary) => summary.study === study && summaryPasses({ ...summary, study: [...state.chosen.study][0] ?? study }))
    .map((summary) => [JSON.stringify([summary.task, summary.pair, summary.called]), summary]));
  const [mine, theirs] = [of(left), of(right)];
  const shared = [...mine.keys()].filter((key) => theirs.has(key));
  parts.push(el("h3", {}, "Results that both have"));
  if (!shared.length) return [...parts, el("p", {}, "None with the same task, pair and method, as the filters stand.")];
  const rows = shared.map((key) => sideRow(mine.get(key), theirs.get(key)));
  parts.push(tableOf(["pair", "method", ...names.flatMap((name) => [`student %, ${label(name, 30)}`, `PGR %, ${label(name, 30)}`])],
    [false, false, true, true, true, true], rows, "Results that both have"));
  parts.push(el("p", { class: "about" }, "Side by side, not compared: whether a difference is beyond noise, these intervals do not say."));
  return parts;
}

function sideRow(mine, theirs) {
  return [mine.pair, mine.called, ...[mine, theirs].flatMap((summary) => [
    fromButton(percent(summary.estimate.student), { summary: summary.index }), pgrText(summary.estimate)])];
}
