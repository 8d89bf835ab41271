// Puts the page together.

function prepareTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("surpass-theme");
  } catch {
    // A browser may keep nothing for files; the choice then lasts as long as the page.
  }
  const show = () => {
    const dark = chosen === null ? preferred.matches : chosen === "dark";
    if (chosen === null) root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", chosen);
    button.setAttribute("aria-pressed", String(dark));
  };
  button.addEventListener("click", () => {
    chosen = button.getAttribute("aria-pressed") === "true" ? "light" : "dark";
    try {
      localStorage.setItem("surpass-theme", chosen);
    } catch {
      // As above.
    }
    show();
  });
  preferred.addEventListener("change", show);
  show();
}

/** Links to parts move there without touching the filters in the address. */
function prepareContents() {
  const links = [...document.querySelectorAll("main > section")].filter((section) => section.querySelector("h2"));
  const refresh = () => byId("contents").replaceChildren(el("ul", {}, links.filter((section) => !section.hidden).map((section) =>
    el("li", {}, el("a", { href: `#${section.id}` }, section.querySelector("h2").textContent)))));
  refresh();
  listeners.push(refresh);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    const target = link && document.getElementById(link.getAttribute("href").slice(1));
    if (!target) return;
    event.preventDefault();
    target.setAttribute("tabindex", "-1");
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  });
}

/** On paper everything is open and drawn; how it was comes back afterwards. */
function preparePrint() {
  let opened = [];
  addEventListener("beforeprint", () => {
    for (const button of document.querySelectorAll("main button.more:not([hidden])")) button.click();
    drawAll();
    opened = [...document.querySelectorAll("main details:not(.numbers):not([open])")];
    for (const details of opened) details.open = true;
    rowState.size = rowOrder.length <= PRINTED_ROWS ? PRINTED_ROWS : PAGE_ROWS;
    byId("rows").refill();
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    rowState.size = PAGE_ROWS;
    byId("rows").refill();
  });
}

function prepareCopying() {
  for (const button of document.querySelectorAll("#made .copy")) {
    button.addEventListener("click", () => copyFrom(button, button.parentElement.querySelector("code").textContent));
  }
}

async function main() {
  document.documentElement.classList.add("scripts");
  prepareTheme();
  await unpackFirst();
  prepareState();
  preparePanel();
  prepareFigures();
  prepareExamples();
  prepareTables();
  prepareSides();
  prepareRows();
  prepareFilters();
  prepareContents();
  prepareCopying();
  preparePrint();
  document.documentElement.classList.add("ready");
}

main().catch((error) => {
  const failure = byId("failure");
  failure.textContent = `Figures and filters could not be shown (${error.message}); a browser from 2023 or later is needed. The results below are complete.`;
  failure.hidden = false;
  console.error(error);
});
