// What is chosen. It stands in the address, so that a link shows the same; nothing chosen means all.

const DIMENSIONS = ["study", "task", "pair", "method", "seed"];
const LONGEST_IN_ADDRESS = 80;
const state = { chosen: {}, method: null };
const options = {};
const listeners = [];

function prepareState() {
  const of = (read) => [...new Set(DATA.summaries.map(read))];
  options.study = DATA.studies.map((_, place) => place);
  options.task = of((summary) => summary.task);
  options.pair = of((summary) => summary.pair);
  options.method = of((summary) => summary.method);
  options.seed = [...new Set(DATA.rows.seed)].sort((a, b) => a - b);
  readAddress();
  addEventListener("hashchange", () => { readAddress(); tell(); });
}

function optionName(dimension, value) {
  return dimension === "study" ? studyName(value) : String(value);
}

/** A value as it stands in the address: itself, or its place where it is long. */
function encoded(dimension, value) {
  const text = String(value);
  return text.length > LONGEST_IN_ADDRESS ? `@${options[dimension].indexOf(value)}` : text;
}

function readAddress() {
  const hash = location.hash.slice(1);
  const read = new URLSearchParams(hash.includes("=") ? hash : "");
  for (const dimension of DIMENSIONS) {
    const wanted = new Set(read.getAll(dimension));
    state.chosen[dimension] = new Set(options[dimension].filter((value) => wanted.has(encoded(dimension, value))));
  }
  const wanted = read.get("show");
  state.method = options.method.find((value) => encoded("method", value) === wanted) ?? null;
}

function writeAddress() {
  const written = new URLSearchParams();
  for (const dimension of DIMENSIONS) {
    for (const value of state.chosen[dimension]) written.append(dimension, encoded(dimension, value));
  }
  if (state.method !== null) written.append("show", encoded("method", state.method));
  const text = written.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function change(edit) {
  edit(state);
  writeAddress();
  tell();
}

function tell() {
  for (const listener of listeners) listener();
}

function passes(dimension, value) {
  const chosen = state.chosen[dimension];
  return chosen.size === 0 || chosen.has(value);
}

function summaryPasses(summary) {
  return passes("study", summary.study) && passes("task", summary.task)
    && passes("pair", summary.pair) && passes("method", summary.method);
}

function seedPasses(row) {
  return passes("seed", DATA.rows.seed[row]);
}

function isFiltered() {
  return DIMENSIONS.some((dimension) => state.chosen[dimension].size > 0);
}

/** What the figures show: summaries that pass, and the one method of figures that have room for one. */
function currentView() {
  const summaries = DATA.summaries.filter(summaryPasses);
  const methods = [...new Set(summaries.map((summary) => summary.method))];
  const wanted = [state.method, "naive"].find((method) => methods.includes(method));
  return { summaries, methods, method: wanted ?? methods[0] ?? null };
}
