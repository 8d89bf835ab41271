// Further tables of the analysis: what labels are worth, differences that can be seen, layers, groups, steps.

function prepareTables() {
  const section = byId("tables");
  const held = DATA.tables.map((table) => {
    const several = DATA.studies.length > 1;
    const numeric = table.columns.map((column) => column.kind !== "text");
    const rows = table.rows.map((row) => row.map((cell, place) => written(cell, table.columns[place].kind)));
    const names = table.columns.map((column) => `${column.name}${column.kind === "percent" && !column.name.includes("%") ? ", %" : ""}`);
    const node = el("div", { class: "further" },
      el("h3", {}, clip(`${several ? `${studyName(table.study)}: ` : ""}${table.title}`, 200)),
      el("p", { class: "about" }, table.about), tableOf(names, numeric, rows, table.title));
    section.append(node);
    return { table, node };
  });
  const refresh = () => {
    for (const { table, node } of held) node.hidden = !passes("study", table.study);
    section.hidden = !held.some(({ node }) => !node.hidden);
  };
  refresh();
  listeners.push(refresh);
}
