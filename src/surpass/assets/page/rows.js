// All rows: sorted, in pages, and as CSV with every digit.

const PAGE_ROWS = 50;
const PRINTED_ROWS = 300;
const ROW_STAGES = ["weak_stage", "student_stage", "ceiling_stage", "weak_score", "student_score", "ceiling_score", "comparison"];
const rowState = { sort: null, down: false, page: 0, all: false, size: PAGE_ROWS };
let rowOrder = [];

const ofSummary = (name) => (row) => DATA.summaries[DATA.rows.summary[row]][name];
const ofRow = (name) => (row) => DATA.rows[name][row];

function rowColumns() {
  const several = (dimension) => options[dimension].length > 1;
  const columns = [
    several("study") && { name: "study", read: (row) => studyName(ofSummary("study")(row)) },
    several("task") && { name: "task", read: ofSummary("task") },
    { name: "weak model", read: ofSummary("weak") },
    { name: "strong model", read: ofSummary("strong") },
    { name: "method", read: ofSummary("called") },
    { name: "seed", read: ofRow("seed"), show: String, numeric: true },
    ...["weak", "student", "ceiling"].map((role) => ({ name: `${role} %`, read: ofRow(`${role}_acc`), show: percent, numeric: true })),
    { name: "PGR %", read: ofRow("pgr"), show: percent, numeric: true },
    { name: "time", read: ofRow("seconds"), show: duration, numeric: true },
  ];
  const metrics = Object.keys(DATA.rows).filter((name) => !["summary", "seed", "pgr", "seconds"].includes(name)
    && !name.endsWith("_acc") && !ROW_STAGES.includes(name) && typeof DATA.rows[name].find((value) => value !== null) === "number");
  const further = metrics.map((name) => ({ name: name.replaceAll("_", " "), read: ofRow(name), show: (value) => (missing(value) ? "-" : fixed(value, 3)), numeric: true }));
  return [...columns.filter(Boolean), ...(rowState.all ? further : [])];
}

function prepareRows() {
  const section = byId("rows");
  const status = el("p", { class: "status", id: "rows-status", role: "status" });
  const pager = el("div", { class: "pager" });
  const holder = el("div", { class: "wide", role: "region", tabindex: "0", "aria-label": "All rows" });
  const metrics = el("label", { class: "check" }, el("input", { type: "checkbox", id: "all-metrics", change: (event) => { rowState.all = event.target.checked; fillRows(holder, status, pager); } }), "all metrics");
  section.append(
    el("p", { class: "about" }, "One row for each student. Choose a row to see the stages it comes from. Metrics are explained in docs/metrics.md."),
    el("div", { class: "tools" }, status, metrics,
      el("button", { type: "button", id: "csv", click: async () => download("rows.csv", csvOf(rowOrder, await unpack("stages"))) }, "Download CSV")), holder, pager);
  const refresh = () => { rowState.page = 0; orderRows(); fillRows(holder, status, pager); };
  refresh();
  listeners.push(refresh);
  section.refill = () => fillRows(holder, status, pager);
}

function orderRows() {
  const passing = DATA.summaries.map(summaryPasses);
  rowOrder = [];
  for (let row = 0; row < DATA.rows.summary.length; row += 1) {
    if (passing[DATA.rows.summary[row]] && seedPasses(row)) rowOrder.push(row);
  }
  const column = rowColumns().find((one) => one.name === rowState.sort);
  if (!column) return;
  const keyed = rowOrder.map((row) => [column.read(row), row]);
  const sign = rowState.down ? -1 : 1;
  // What is missing stands at the end either way.
  keyed.sort(([a, first], [b, second]) => (missing(a) - missing(b)) || sign * (a < b ? -1 : a > b ? 1 : 0) || first - second);
  rowOrder = keyed.map(([, row]) => row);
}

function fillRows(holder, status, pager) {
  const columns = rowColumns();
  const pages = Math.max(1, Math.ceil(rowOrder.length / rowState.size));
  rowState.page = Math.min(rowState.page, pages - 1);
  const start = rowState.page * rowState.size;
  const shown = rowOrder.slice(start, start + rowState.size);
  status.textContent = rowOrder.length
    ? `Rows ${count(start + 1)} to ${count(start + shown.length)} of ${count(rowOrder.length)}${isFiltered() ? ` (${count(DATA.rows.summary.length)} without filters)` : ""}`
    : "No row is left by the filters";
  const again = () => fillRows(holder, status, pager);
  holder.replaceChildren(el("table", { class: "rows" },
    el("caption", { class: "unseen" }, "All rows"),
    el("thead", {}, el("tr", {}, columns.map((column) => heading(column, again)))),
    el("tbody", {}, shown.map((row) => rowLine(row, columns)))));
  pager.replaceChildren(...(pages > 1 ? pageButtons(pages, again) : []));
}

function heading(column, again) {
  const sorted = rowState.sort === column.name ? (rowState.down ? "descending" : "ascending") : null;
  return el("th", { scope: "col", class: column.numeric ? "n" : null, "aria-sort": sorted },
    el("button", { type: "button", class: "sort", "data-column": column.name, click: () => {
      rowState.down = sorted === "ascending" || (sorted === null && Boolean(column.numeric) && column.name !== "seed");
      rowState.sort = column.name;
      rowState.page = 0;
      orderRows();
      again();
      byId("rows").querySelector(`[data-column="${CSS.escape(column.name)}"]`)?.focus();
    } }, column.name, el("span", { "aria-hidden": "true" }, sorted ? (rowState.down ? " ↓" : " ↑") : "")));
}

function rowLine(row, columns) {
  const open = { summary: DATA.rows.summary[row], row };
  return el("tr", { "data-row": row, class: ofSummary("oracle")(row) ? "oracle" : null, click: (event) => { if (!event.target.closest("button")) openRow(open); } },
    columns.map((column) => {
      const value = column.read(row);
      const text = column.show ? (missing(value) ? "-" : column.show(value)) : clip(value, 120);
      return el("td", { class: column.numeric ? "n" : null }, column.name === "method" ? fromButton(text, open) : text);
    }));
}

function pageButtons(pages, again) {
  const to = (page, name, text) => el("button", { type: "button", "data-page": name, disabled: page < 0 || page >= pages || page === rowState.page, click: () => {
    rowState.page = page;
    again();
    const same = byId("rows").querySelector(`[data-page="${name}"]`);
    (same?.disabled ? byId("rows").querySelector(".pager button:not([disabled])") : same)?.focus();
  } }, text);
  return [
    to(0, "first", "First"), to(rowState.page - 1, "before", "Previous"),
    el("span", {}, `Page ${count(rowState.page + 1)} of ${count(pages)}`),
    to(rowState.page + 1, "next", "Next"), to(pages - 1, "last", "Last"),
  ];
}

/** Every column with every digit, fractions as fractions, stages by id. */
function csvOf(rows, stages) {
  const names = ["study", "task", "weak_model", "strong_model", "method", "labels", "oracle"];
  const own = Object.keys(DATA.rows).filter((name) => name !== "summary" && !ROW_STAGES.includes(name));
  const lines = rows.map((row) => {
    const summary = DATA.summaries[DATA.rows.summary[row]];
    const keys = [studyName(summary.study), summary.task, summary.weak, summary.strong, summary.method, summary.labels, summary.oracle];
    const ids = ROW_STAGES.map((name) => stages[DATA.rows[name]?.[row]]?.id);
    return [...keys, ...own.map((name) => DATA.rows[name][row]), ...ids].map(csvCell).join(",");
  });
  return `${[...names, ...own, ...ROW_STAGES].join(",")}\r\n${lines.join("\r\n")}\r\n`;
}

/** A cell by RFC 4180; text that a spreadsheet would take for a formula gets an apostrophe. */
function csvCell(value) {
  if (missing(value)) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
