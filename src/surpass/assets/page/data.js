// The document. What is large is unpacked when it is first needed.

const DATA = JSON.parse(byId("data-small").textContent);
const STAR = "*";

const unpacked = new Map();

/** A part that is packed: gzip, in base64. */
function unpack(name) {
  if (!unpacked.has(name)) unpacked.set(name, unpackNow(name));
  return unpacked.get(name);
}

async function unpackNow(name) {
  const holder = byId(`data-${name}`);
  const text = atob(holder.textContent);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** What the page needs at once. */
async function unpackFirst() {
  const names = ["rows", "curves", "calibration", "overlap", "examples"];
  const parts = await Promise.all(names.map(unpack));
  names.forEach((name, place) => { DATA[name] = parts[place]; });
  if (Array.isArray(DATA.rows)) DATA.rows = { summary: [], seed: [] };
  prepare();
}

function studyName(place) {
  return DATA.names[place];
}

function pairName(item) {
  return `${item.weak} → ${item.strong}`;
}

/** What is derived once: keys of the filters, names of lines, rows by summary. */
function prepare() {
  const labels = new Map();
  for (const summary of DATA.summaries) {
    const key = JSON.stringify([summary.study, summary.task, summary.weak, summary.strong, summary.method, summary.oracle]);
    labels.set(key, (labels.get(key) || new Set()).add(summary.labels));
    summary.key = key;
  }
  DATA.summaries.forEach((summary, index) => {
    const many = labels.get(summary.key).size > 1;
    summary.index = index;
    summary.pair = pairName(summary);
    summary.called = `${summary.method}${many ? ` (${summary.labels})` : ""}${summary.oracle ? STAR : ""}`;
    summary.rows = [];
  });
  DATA.rows.summary.forEach((index, row) => DATA.summaries[index].rows.push(row));
  for (const one of [...DATA.curves, ...DATA.overlap]) one.pair = pairName(one);
  DATA.sizes = DATA.studies.map((_, study) => sizes(study));
}

/** The axis of sizes of a study: pretraining compute, or parameters, or supervisors first and then students. */
function sizes(study) {
  const own = DATA.summaries.filter((summary) => summary.study === study);
  const names = [...new Set([...own.map((summary) => summary.weak), ...own.map((summary) => summary.strong)])];
  for (const [field, title, text] of [["pretraining_flops", "pretraining compute, FLOP", powerText], ["parameters", "parameters", compact]]) {
    const of = (name) => DATA.models[name]?.[field];
    if (names.length && names.every((name) => of(name) > 0)) return { log: true, title, of, place: of, text };
  }
  const order = new Map(names.map((name, place) => [name, place]));
  return { log: false, title: "model (sizes unknown)", of: (name) => order.get(name), place: (name) => name };
}
