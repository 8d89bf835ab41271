// Filters by study, task, pair, method and seed; all with the keyboard, and in the address.

const FILTER_NAMES = { study: "Study", task: "Task", pair: "Pair", method: "Method", seed: "Seed" };

function prepareFilters() {
  const host = byId("filters");
  const used = DIMENSIONS.filter((dimension) => options[dimension].length > 1);
  host.hidden = used.length === 0;
  const boxes = used.map(filterOf);
  const reset = el("button", { type: "button", id: "reset", click: () => change((edited) => {
    for (const dimension of DIMENSIONS) edited.chosen[dimension] = new Set();
  }) }, "Reset");
  const note = el("p", { class: "small", id: "filter-note", role: "status" });
  host.append(el("div", { class: "line" }, boxes.map((box) => box.node), reset), note);
  const refresh = () => {
    for (const box of boxes) box.refresh();
    reset.disabled = !isFiltered();
    note.textContent = state.chosen.seed.size
      ? "Seeds are chosen among rows, single dots, curves and examples; means and intervals are over all seeds." : "";
    filterTables();
  };
  refresh();
  listeners.push(refresh);
  // One filter is open at a time; a click elsewhere and Escape close it.
  document.addEventListener("click", (event) => {
    for (const { node } of boxes) if (node.open && !node.contains(event.target)) node.open = false;
  });
  host.addEventListener("keydown", (event) => {
    const open = event.key === "Escape" && event.target.closest("details[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });
}

function filterOf(dimension) {
  const summary = el("summary", {});
  const inputs = options[dimension].map((value, place) => {
    const id = `filter-${dimension}-${place}`;
    const input = el("input", { type: "checkbox", id, change: () => change((edited) => {
      if (input.checked) edited.chosen[dimension].add(value);
      else edited.chosen[dimension].delete(value);
    }) });
    return { value, input, node: el("label", { for: id, class: "check" }, input, el("bdi", {}, clip(optionName(dimension, value), 80))) };
  });
  const node = el("details", { class: "drop", id: `filter-${dimension}` }, summary,
    el("fieldset", {}, el("legend", { class: "unseen" }, `${FILTER_NAMES[dimension]}: none chosen means all`), inputs.map((one) => one.node)));
  return {
    node,
    refresh() {
      const chosen = state.chosen[dimension];
      for (const { value, input } of inputs) input.checked = chosen.has(value);
      const told = chosen.size === 0 ? "all" : chosen.size === 1 ? label(optionName(dimension, [...chosen][0]), 22) : `${chosen.size} of ${options[dimension].length}`;
      summary.textContent = `${FILTER_NAMES[dimension]}: ${told}`;
      node.classList.toggle("active", chosen.size > 0);
    },
  };
}

/** Hides lines of the tables that stand in the page from the start. */
function filterTables() {
  let left = 0;
  for (const body of document.querySelectorAll("table.results tbody")) {
    let shown = 0;
    for (const line of body.querySelectorAll("tr[data-summary]")) {
      line.hidden = !summaryPasses(DATA.summaries[Number(line.dataset.summary)]);
      if (!line.hidden) shown += 1;
    }
    body.hidden = shown === 0;
    left += shown;
  }
  for (const line of document.querySelectorAll("tr[data-rank]")) line.hidden = !passes("method", DATA.ranks[Number(line.dataset.rank)].method);
  for (const block of document.querySelectorAll("div.study[data-study]")) block.hidden = !passes("study", Number(block.dataset.study));
  byId("no-results").hidden = left > 0 || !DATA.summaries.length;
}
