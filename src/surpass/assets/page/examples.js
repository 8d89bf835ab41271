// Test examples on which the student overruled its supervisor, rightly and wrongly.

const FIRST_EXAMPLES = 8;
const EXAMPLE_SIDES = [["rightly", "Rightly: the student is right, its supervisor wrong"], ["wrongly", "Wrongly: the supervisor is right, its student wrong"]];

function prepareExamples() {
  const section = byId("examples");
  const holders = EXAMPLE_SIDES.map(([side, title]) => {
    const list = el("ul", { class: "cards" });
    const more = el("button", { type: "button", class: "more" }, "Show all");
    const block = el("div", {}, el("h3", {}, title), list, more);
    section.append(block);
    return { side, list, more, block, all: false };
  });
  const refresh = () => {
    let any = false;
    for (const holder of holders) any = fillExamples(holder, refresh) || any;
    section.hidden = !any;
  };
  refresh();
  listeners.push(refresh);
}

function fillExamples(holder, refresh) {
  const found = DATA.examples.filter((one) => one.overruled === holder.side
    && summaryPasses(DATA.summaries[one.summary]) && passes("seed", one.seed));
  const shown = holder.all ? found : found.slice(0, FIRST_EXAMPLES);
  holder.block.hidden = !found.length;
  holder.list.replaceChildren(...shown.map(exampleCard));
  holder.more.hidden = shown.length === found.length;
  holder.more.textContent = `Show ${found.length - shown.length} more`;
  holder.more.onclick = () => { holder.all = true; refresh(); };
  return found.length > 0;
}

function exampleCard(one) {
  const summary = DATA.summaries[one.summary];
  const answers = [["truth", one.truth, null], ["supervisor", one.weak.answer, one.weak.confidence], ["student", one.student.answer, one.student.confidence]];
  return el("li", {},
    one.board?.svg ? boardImage(one) : null,
    one.text && one.kind !== "board" ? el("p", { class: "quoted" }, clip(one.text)) : null,
    el("dl", {}, answers.map(([name, answer, confidence]) => [
      el("dt", {}, name), el("dd", {}, el("bdi", {}, clip(answer, 200)), missing(confidence) ? "" : ` (${percent(confidence)} %)`)])),
    el("p", { class: "small" }, fromButton(`${summary.pair}, ${summary.called}, seed ${one.seed}`, { summary: one.summary, seed: one.seed }),
      el("br"), el("span", {}, clip([one.note, one.id].filter(Boolean).join(", "), 200))));
}

/** A board as an image: what is in the drawing cannot become part of the page. */
function boardImage(one) {
  const text = `Position ${clip(one.board.fen, 120)}; right is ${clip(one.truth, 40)}, the supervisor plays ${clip(one.weak.answer, 40)}, the student ${clip(one.student.answer, 40)}`;
  return el("img", { src: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(one.board.svg)}`, alt: text, width: "220", height: "220" });
}
