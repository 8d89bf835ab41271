"""The page in a real browser: what is drawn, what filters change, keys, names, hostile text, speed."""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest

from reference.page import METHODS, PAIRS, document
from surpass.durations import duration
from surpass.report.methods import p_text, percent
from surpass.report.page import page_of
from surpass.report.page_text import points, written

playwright = pytest.importorskip("playwright.sync_api", reason="the browser's driver is not installed")

soon = playwright.expect
"""What shows a moment after a click: stages are unpacked when they are first asked for."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SLOWEST = 8.0
"""Seconds for a page of 10,000 rows; three on a quiet machine."""

EVIL = '</script><img src=x onerror="window.evil=1">\'\u202egnp\u200f&amp;'


def find_browser() -> str | None:
    """Chromium as the environment names it, or from the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def chromium():
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is found, CHROMIUM is not set")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """An open page, and what it complained of and asked for."""

    def __init__(self, context, file: Path, address: str = "") -> None:
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.problems.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        context.on("request", lambda request: self.asked.append(request.url))
        start = time.perf_counter()
        self.page.goto(file.as_uri() + address)
        self.page.wait_for_selector("html.ready")
        self.seconds = time.perf_counter() - start

    def draw(self) -> None:
        """Walk down the page until every figure is drawn."""
        height, seen = 0, -1
        while seen < height:
            seen = height
            for host in self.page.query_selector_all("#figures figure:not([hidden]) .drawing"):
                host.scroll_into_view_if_needed()
            height = self.page.evaluate("document.body.scrollHeight")
        self.page.wait_for_function("[...document.querySelectorAll('.drawing')].every((e) => e.firstChild)")

    def shown(self, selector: str) -> int:
        return self.page.locator(f"{selector} >> visible=true").count()

    def choose(self, dimension: str, place: int) -> None:
        box = self.page.locator(f"#filter-{dimension}")
        if box.get_attribute("open") is None:
            box.locator("summary").click()
        self.page.locator(f"#filter-{dimension}-{place}").click()

    def assert_quiet(self) -> None:
        assert self.problems == []
        assert {url for url in self.asked if not url.startswith(("data:", "blob:"))} == {
            self.page.url.split("#")[0]
        }


@pytest.fixture
def opened(chromium, tmp_path):
    contexts = []

    def make(made: dict, *, address: str = "", **settings) -> Opened:
        file = tmp_path / "report.html"
        file.write_bytes(page_of(made).encode(errors="replace"))
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | settings)
        context.set_default_timeout(20_000)
        contexts.append(context)
        return Opened(context, file, address)

    yield make
    for context in contexts:
        context.close()


MANY = {"pairs": PAIRS[:3], "methods": (*METHODS[:4], "easy_to_hard"), "num_seeds": 2}


class TestFigures:
    NAMES = (
        "accuracy",
        "pgr",
        "against-naive",
        "pairs",
        "agreement",
        "overfitting",
        "calibration",
        "overlap",
    )

    def test_every_figure_is_drawn_and_nothing_is_asked_for(self, opened):
        here = opened(document(**MANY))
        here.draw()
        for name in self.NAMES:
            drawings = here.page.locator(f"#figure-{name} .drawing svg")
            assert drawings.count() >= 1, name
            marks = here.page.locator(f"#figure-{name} svg :is(circle, path, rect, line)").count()
            assert marks > 3, name
            assert here.page.locator(f"#figure-{name} figcaption").inner_text()
        assert here.page.locator("#figure-pairs .drawing svg").count() == 3
        here.assert_quiet()

    def test_captions_say_what_intervals_are_over(self, opened):
        here = opened(document(**MANY))
        for name in ("accuracy", "pgr", "pairs", "against-naive"):
            assert "over test examples and seeds" in here.page.inner_text(f"#figure-{name} figcaption")
        one = opened(document(num_seeds=1))
        caption = one.page.inner_text("#figure-pgr figcaption")
        assert "over test examples only, as there is one seed" in caption

    def test_what_is_missing_is_told(self, opened):
        here = opened(document(undefined=True, bare=True))
        lacking = here.page.inner_text(".lacking")
        for words in (
            "PGR against student size (PGR is undefined in all results of naive)",
            "overfitting to weak labels (it takes the methods early_stop and early_stop_truth)",
            "calibration (the report holds no calibration",
            "methods against naive fine-tuning (there is no method beside naive",
        ):
            assert words in lacking
        assert here.shown("#figures figure") == 2  # accuracy and agreement
        assert here.shown("#examples") == here.shown("#tables") == 0
        here.assert_quiet()

    def test_no_text_of_a_figure_leaves_its_drawing(self, opened):
        for width in (1280, 390):
            here = opened(document(**MANY), viewport={"width": width, "height": 800})
            here.draw()
            cut = here.page.evaluate(
                """() => [...document.querySelectorAll("#figures .drawing svg text")].filter((text) => {
                    const box = text.getBoundingClientRect();
                    const host = text.closest(".drawing").getBoundingClientRect();
                    return text.textContent && (box.left < host.left - 2 || box.right > host.right + 2
                        || box.top < host.top - 2 || box.bottom > host.bottom + 2);
                }).map((text) => text.closest("figure").id + ": " + text.textContent)"""
            )
            assert cut == []
            assert here.page.evaluate("document.documentElement.scrollWidth") <= width

    def test_marks_of_pgr_are_where_the_numbers_are(self, opened):
        made = document(pairs=PAIRS[:2], bare=True)
        here = opened(made)
        here.draw()
        titles = here.page.eval_on_selector_all(
            "#figure-pgr .spot > *", "nodes => nodes.map((node) => node.getAttribute('aria-label'))"
        )
        for summary in made["summaries"]:
            told = summary["estimate"]
            text = f"PGR {percent(told['value'])} [{percent(told['low'])}, {percent(told['high'])}] %"
            assert sum(text in title for title in titles) == 1

    def test_the_method_of_figures_that_show_one(self, opened):
        here = opened(document(**MANY))
        assert "Method: naive" in here.page.inner_text("#figure-accuracy figcaption")
        here.page.select_option("#show", label="easy_to_hard")
        caption = here.page.inner_text("#figure-accuracy figcaption")
        assert "Method: easy_to_hard*, which learned from truth" in caption
        assert "show=easy_to_hard" in here.page.url


class TestFilters:
    def test_they_change_tables_and_figures(self, opened):
        here = opened(document(**MANY))
        assert here.shown("table.results tr[data-summary]") == 15
        here.choose("method", 1)
        assert here.shown("table.results tr[data-summary]") == 3
        assert here.shown("table.ranks tr[data-rank]") == 1
        assert here.page.inner_text("#rows-status") == "Rows 1 to 6 of 6 (30 without filters)"
        here.choose("pair", 0)
        assert here.shown("table.results tr[data-summary]") == 1
        here.draw()
        assert here.page.locator("#figure-pairs .drawing svg").count() == 1
        assert here.page.locator("#figure-pairs .spot > *").count() == 1
        here.choose("seed", 1)
        assert here.page.inner_text("#rows-status").startswith("Rows 1 to 1 of 1")
        assert "intervals are over all seeds" in here.page.inner_text("#filter-note")
        here.draw()
        assert here.page.locator("#figure-pairs .seeds > *").count() == 1
        here.page.click("#reset")
        assert here.shown("table.results tr[data-summary]") == 15
        assert "=" not in here.page.url.split("#")[-1]
        here.assert_quiet()

    def test_the_address_holds_them(self, opened):
        here = opened(document(**MANY), address="#method=lora&method=naive&seed=0&nonsense=1")
        assert here.shown("table.results tr[data-summary]") == 3
        assert here.page.inner_text("#filter-method summary").startswith("Method: naive")
        here.choose("pair", 2)
        again = opened(document(**MANY), address="#" + here.page.url.split("#")[1])
        for one in (here, again):
            assert one.shown("table.results tr[data-summary]") == 1
            assert one.page.inner_text("#rows-status").startswith("Rows 1 to 1 of 1")

    def test_what_leaves_nothing_says_so(self, opened):
        here = opened(document(num_studies=2, tasks=("a", "b")), address="#study=0&task=b")
        assert here.shown("table.results tr[data-summary]") == 0
        assert here.page.inner_text("#no-results") == "No result is left by the filters."
        assert here.page.inner_text("#rows-status") == "No row is left by the filters"
        here.assert_quiet()

    def test_links_to_parts_leave_them_alone(self, opened):
        here = opened(document(**MANY), address="#seed=1")
        here.page.click("#contents a[href='#rows']")
        assert here.page.url.endswith("#seed=1")
        assert here.page.evaluate("document.activeElement.id") == "rows"


class TestRows:
    def test_sorting_and_pages(self, opened):
        made = document(pairs=PAIRS[:6], methods=METHODS[:5], num_seeds=4)
        here = opened(made)
        column = made["rows"]["student_acc"]
        assert here.shown("table.rows tbody tr") == 50

        def first() -> str:
            return here.page.inner_text("table.rows tbody tr:first-child td:nth-child(6)")

        assert first() == percent(column[0])
        here.page.click("button.sort[data-column='student %']")
        assert first() == percent(max(column))
        assert here.page.get_attribute("table.rows th[aria-sort]", "aria-sort") == "descending"
        here.page.click("button.sort[data-column='student %']")
        assert first() == percent(min(column))
        here.page.click("[data-page=last]")
        assert here.page.inner_text("#rows-status") == "Rows 101 to 120 of 120"
        here.page.check("#all-metrics")
        assert here.page.inner_text("table.rows thead").count("agreement") == 3
        here.assert_quiet()

    def test_csv_holds_every_digit(self, opened):
        made = document(methods=("naive", "=1+1", 'a,"b"'))
        here = opened(made, address="#seed=1")
        with here.page.expect_download() as waiting:
            here.page.click("#csv")
        rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_bytes().decode())))
        assert len(rows) == 6
        assert {row["method"] for row in rows} == {"naive", "'=1+1", 'a,"b"'}
        expected = [x for x, seed in zip(made["rows"]["pgr"], made["rows"]["seed"], strict=True) if seed == 1]
        assert [float(row["pgr"]) for row in rows] == expected
        assert rows[0]["auroc"] == ""
        place = made["rows"]["seed"].index(1)
        assert rows[0]["comparison"] == made["stages"][made["rows"]["comparison"][place]]["id"]
        here.assert_quiet()


class TestPanel:
    def test_a_number_leads_to_its_stages_and_back(self, opened):
        made = document(**MANY)
        here = opened(made)
        here.page.click("tr[data-summary='3'] button")
        panel = here.page.locator("#panel")
        soon(panel.locator("h2")).to_contain_text("chess-1 → chess-2, early_stop")
        soon(panel.locator(".stages li")).to_have_count(7)
        panel.get_by_role("button", name="student", exact=True).click()
        row = made["rows"]["summary"].index(3)
        stage = made["stages"][made["rows"]["student_stage"][row]]
        for part in (stage["id"], stage["command"], *stage["files"].values()):
            soon(panel).to_contain_text(part)
        labels = made["stages"][stage["upstream"][0]]
        panel.locator("h3:text('Made from') + ul button").click()
        soon(panel).to_contain_text(labels["id"])
        panel.get_by_role("button", name="Back").click()
        panel.get_by_role("button", name="Back").click()
        soon(panel.locator(".stages li")).to_have_count(7)
        panel.get_by_role("button", name="1", exact=True).click()
        soon(panel).to_contain_text("Seed 1")
        here.page.keyboard.press("Escape")
        assert here.shown("#panel") == 0
        here.assert_quiet()

    def test_a_command_can_be_copied(self, opened):
        here = opened(document(), permissions=["clipboard-read", "clipboard-write"])
        here.page.click("tr[data-summary='0'] button")
        here.page.locator("#panel").get_by_role("button", name="student", exact=True).click()
        here.page.click("#panel .copy")
        here.page.wait_for_selector("#panel .copy:text('Copied')")
        assert here.page.evaluate("navigator.clipboard.readText()").startswith("surpass show ")

    def test_a_method_leads_to_its_pairs(self, opened):
        here = opened(document(**MANY))
        here.page.locator("table.ranks button:text('confidence')").click()
        panel = here.page.locator("#panel")
        soon(panel).to_contain_text("confidence over all pairs")
        soon(panel.locator(".stages li")).to_have_count(3)
        panel.locator(".stages button").last.click()
        soon(panel.locator(".stages li")).to_have_count(7)
        here.draw()
        here.assert_quiet()

    def test_points_and_examples_lead_there(self, opened):
        here = opened(document(**MANY))
        here.draw()
        here.page.locator("#figure-agreement .spot > *").first.dispatch_event("click")
        here.page.wait_for_selector("#panel[open]")
        here.page.keyboard.press("Escape")
        here.page.locator("#examples button.from").first.click()
        here.page.wait_for_selector("#panel[open]")
        soon(here.page.locator("#panel")).to_contain_text("Seed 0")
        here.assert_quiet()

    def test_two_studies_side_by_side(self, opened):
        here = opened(document(num_studies=2))
        section = here.page.locator("#sides")
        text = section.inner_text()
        assert "epochs=3 batch_size=32" in text
        assert "epochs=4 batch_size=32" in text
        assert "test_mix" not in text
        assert section.locator("table").last.locator("tbody tr").count() == 2
        here.page.select_option("#right", "0")
        soon(section).to_contain_text("None.")
        here.assert_quiet()


def serious_ones(axe, page, rules: dict, within: str | None = None) -> list[str]:
    """What axe finds serious or critical, each with the element."""
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in axe.Axe().run(page, within, rules | {"resultTypes": ["violations"]}).response["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


class TestAccess:
    def test_with_keys_alone(self, opened):
        here = opened(document(**MANY))
        here.draw()
        press, active = here.page.keyboard.press, "document.activeElement"
        here.page.evaluate("window.scrollTo(0, 0); document.body.focus()")
        press("Tab")
        assert here.page.evaluate(f"{active}.className") == "skip"
        press("Enter")
        assert here.page.evaluate(f"{active}.id") == "results"
        here.page.focus("#filter-method summary")
        press("Enter")
        press("Tab")
        press("Space")
        assert here.shown("table.results tr[data-summary]") == 3
        press("Escape")
        assert (
            here.page.evaluate(f"{active}.closest('#filter-method') !== null && {active}.tagName")
            == "SUMMARY"
        )
        here.page.focus("#reset")
        press("Enter")
        here.page.focus("tr[data-summary='0'] button")
        press("Enter")
        here.page.wait_for_selector("#panel[open]")
        press("Escape")
        assert here.page.evaluate(f"{active}.closest('tr').dataset.summary") == "0"
        here.draw()
        here.page.locator("#figure-pairs .spot [tabindex='0']").first.focus()
        before = here.page.evaluate(f"{active}.getAttribute('aria-label')")
        press("ArrowDown")
        assert here.page.evaluate(f"{active}.getAttribute('aria-label')") != before
        press("Enter")
        here.page.wait_for_selector("#panel[open]")
        here.assert_quiet()

    def test_focus_can_be_seen(self, opened):
        here = opened(document())
        here.page.keyboard.press("Tab")
        here.page.keyboard.press("Tab")
        assert here.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_serious(self, opened, scheme):
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
        # What the dark page could do worse is contrast; all else is the same page.
        rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
        made = document(num_studies=2, pairs=PAIRS[:1], methods=("naive", "easy_to_hard"), num_seeds=1)
        here = opened(made, color_scheme=scheme, bypass_csp=True)
        here.draw()
        for details in here.page.query_selector_all("details.numbers summary"):
            details.click()
        assert serious_ones(axe, here.page, rules) == []
        here.page.click("table.results button >> nth=0")
        here.page.wait_for_selector("#panel[open]")
        assert serious_ones(axe, here.page, rules, "#panel") == []
        here.page.locator("#panel .stages button").first.click()
        assert serious_ones(axe, here.page, rules, "#panel") == []

    def test_themes(self, opened):
        here = opened(document(), color_scheme="dark")
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        assert here.page.evaluate(ground) == "rgb(20, 22, 24)"
        here.page.click("#theme")
        assert here.page.evaluate(ground) == "rgb(255, 255, 255)"
        assert here.page.get_attribute("#theme", "aria-pressed") == "false"
        here.assert_quiet()

    def test_motion_is_reduced_where_asked_for(self, opened):
        behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
        assert opened(document(), reduced_motion="reduce").page.evaluate(behaviour) == "auto"
        assert opened(document()).page.evaluate(behaviour) == "smooth"

    def test_without_scripts_the_table_is_there(self, chromium, tmp_path):
        file = tmp_path / "report.html"
        file.write_text(page_of(document()))
        context = chromium.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(file.as_uri())
        assert page.locator("table.results tr[data-summary] >> visible=true").count() == 2
        assert page.locator("#filters >> visible=true").count() == 0
        assert "need scripts" in page.inner_text("noscript")
        context.close()


class TestHostile:
    def test_text_is_text(self, opened):
        made = document(
            num_studies=2, methods=("naive", "lora", EVIL), pairs=((f"a{EVIL}", f"b{EVIL}"),), hostile=EVIL
        )
        here = opened(made)
        here.draw()
        here.page.click("table.results tr[data-summary] button >> nth=2")
        here.page.wait_for_selector("#panel[open]")
        assert EVIL in here.page.locator("#panel h2").text_content()
        here.page.locator("#panel .stages button").first.click()
        assert EVIL in here.page.locator("#panel").text_content()
        assert here.page.evaluate("window.evil") is None
        assert here.page.locator("img:not([src^='data:image/svg'])").count() == 0
        here.assert_quiet()

    def test_strings_of_a_megabyte(self, opened):
        long = "x" * 1_000_000
        made = document(methods=("naive", long), num_seeds=1)
        for place, one in enumerate((made["stages"][0], made["examples"][1], made["studies"][0]["task"])):
            one[("label", "text", "about")[place]] = long
        here = opened(made)
        here.draw()
        here.page.click("table.results tr[data-summary='0'] button")
        here.page.wait_for_selector("#panel[open]")
        assert here.page.evaluate("document.body.textContent.length") < 20_000_000
        assert len(here.page.inner_text("main")) < 100_000
        assert here.page.evaluate("document.documentElement.scrollWidth") <= 1280
        here.assert_quiet()


class TestSpeed:
    def test_ten_thousand_rows(self, opened):
        methods = ("naive", *(f"method_{place}" for place in range(39)))
        made = document(pairs=PAIRS[:10], methods=methods, num_seeds=25, bare=True)
        assert len(made["rows"]["seed"]) == 10_000
        here = opened(made)
        times = {"open": here.seconds}
        for name, act in {
            "page": lambda: here.page.click("[data-page=next]"),
            "sort": lambda: here.page.click("button.sort[data-column='PGR %']"),
            "filter": lambda: here.choose("method", 1),
            "panel": lambda: here.page.click("table.rows tbody button >> nth=0"),
        }.items():
            start = time.perf_counter()
            act()
            here.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
            times[name] = time.perf_counter() - start
        here.page.wait_for_selector("#panel[open]")
        here.page.keyboard.press("Escape")
        times["scroll"] = here.page.evaluate(SCROLL) / 1000
        told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())
        sys.stdout.write(f"10,000 rows: {told}\n")
        assert times["open"] < SLOWEST, told
        assert max(times[name] for name in ("page", "sort", "filter", "scroll")) < 2.5, told
        here.assert_quiet()


SCROLL = """async () => {
    let longest = 0;
    for (let step = 0; step < 40; step += 1) {
        const start = performance.now();
        scrollBy({ top: 400, behavior: "instant" });
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        longest = Math.max(longest, performance.now() - start);
    }
    return longest;
}"""
"""The longest time between two frames while the page is scrolled, in milliseconds."""


class TestNumbers:
    def test_formats_are_those_of_python(self, chromium):
        source = (files("surpass") / "assets" / "page" / "numbers.js").read_text()
        draw = random.Random(8)
        shares = [draw.uniform(-1.5, 1.5) for _ in range(4_000)]
        shares += [n / 800 for n in range(-800, 801)]  # every half of a tenth of a percent
        shares += [n / 10_000 for n in range(-500, 500)] + [0.0, -0.0, -1e-9, 1e-9, 5e-324]
        times = [draw.uniform(0, 10) ** 6 for _ in range(2_000)] + [n / 8 for n in range(1_000)]
        p_values = [draw.random() ** 4 for _ in range(2_000)] + [n / 16_000 for n in range(1_000)]
        page = chromium.new_page()
        told = page.evaluate(
            f"""([shares, times, ps]) => {{ {source}
            return [shares.map(percent), shares.map(points), times.map(duration), ps.map(pText),
                shares.map((x) => written(x, "number")), times.map((x) => written(x, "count"))]; }}""",
            [shares, times, p_values],
        )
        page.close()
        for found, format_of, values in zip(
            told,
            (
                percent,
                points,
                duration,
                p_text,
                lambda x: written(x, "number"),
                lambda x: written(x, "count"),
            ),
            (shares, shares, times, p_values, shares, times),
            strict=True,
        ):
            expected = [format_of(value) for value in values]
            assert [pair for pair in zip(values, found, expected, strict=True) if pair[1] != pair[2]] == []


def test_print(opened, tmp_path):
    here = opened(document(**MANY))
    path = tmp_path / "page.pdf"
    here.page.pdf(path=path, format="A4")
    assert path.read_bytes().startswith(b"%PDF")
    assert path.stat().st_size > 50_000
    here.page.emulate_media(media="print")
    assert here.shown("#filters, #contents, #theme, details.numbers, .picker, .pager") == 0
    here.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert here.page.evaluate("[...document.querySelectorAll('.drawing')].every((host) => host.firstChild)")
    assert here.page.locator("#made details:not([open])").count() == 0
    here.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert here.page.locator("#made details[open]").count() == 0
    here.assert_quiet()
