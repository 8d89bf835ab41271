"""Figures: drawn is what the document holds, what is missing is said, and files are the same twice."""

from __future__ import annotations

import json
import subprocess
import sys
from io import BytesIO
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

pytest.importorskip("matplotlib", reason="figures are drawn with matplotlib: pip install 'surpass[figures]'")

from PIL import Image

from reference.figure_documents import LADDER, METHODS, PAIRS, document, joined
from surpass.cli import app
from surpass.errors import ConfigError, DataError
from surpass.recipes import RECIPES
from surpass.recipes.paper_numbers import (
    CHESS,
    PAPER_CURVES,
    PAPER_MEDIANS,
    READING_ERROR,
    SAME_MODELS,
    SUPERVISORS,
    setting_of,
)
from surpass.report.figures.axes import short
from surpass.report.figures.catalog import FIGURES, offers, picture_of
from surpass.report.figures.drawing import drawn, rendered
from surpass.report.figures.picture import COLUMN, PAGE, Panel, Value, spread
from surpass.report.figures.published import with_published
from surpass.report.figures.reading import Shown
from surpass.report.figures.style import COLOURS, SHAPES

BOOTSTRAP = (*METHODS, ("bootstrap", 0.6, False), ("zero_shot", -0.5, False), ("early_stop", 0.3, False))
NO_GAP = ("chess-3", "chess-4", 260, 260)


@pytest.fixture(scope="module")
def full():
    """A study with everything that any figure wants, on two tasks."""
    one = document(methods=BOOTSTRAP, curves=True)
    return Shown(joined(one, document(name="other", methods=BOOTSTRAP, task="another", curves=True)))


def lines_of(ax, begin=""):
    """What is drawn in axes: points by the gid of the line."""
    return [
        (line.get_gid(), list(line.get_xdata()), list(line.get_ydata()))
        for line in ax.lines
        if (line.get_gid() or "").startswith(begin) and (line.get_gid() or "") != ""
    ]


def bars_of(ax):
    return [(line.get_xdata()[0], *line.get_ydata()) for line in ax.lines if line.get_gid() == "interval"]


def entry_of(shown, weak, strong, method):
    (entry,) = [
        e
        for e in shown.document["summaries"]
        if (e["weak"], e["strong"], e["method"]) == (weak, strong, method)
    ]
    return entry


class TestWhatIsDrawn:
    def test_figure3_holds_the_numbers_of_the_document(self):
        shown = Shown(document())
        accuracy, gap = drawn(picture_of("figure3", shown)).axes
        expected = {
            f"line:supervisor {weak}": [
                (LADDER[s], entry_of(shown, w, s, "naive")["estimate"]) for w, s, *_ in PAIRS if w == weak
            ]
            for weak in ("chess-1", "chess-2")
        }
        for ax, name in ((accuracy, "student"), (gap, "value")):
            found = {gid: list(zip(x, y, strict=True)) for gid, x, y in lines_of(ax, "line:")}
            assert found == {
                gid: [(size, estimate[name]) for size, estimate in points] for gid, points in expected.items()
            }
        ((_, x, y),) = lines_of(accuracy, "ceiling:")
        assert x == [LADDER["chess-2"], LADDER["chess-3"]]
        assert y == [
            entry_of(shown, "chess-1", s, "naive")["estimate"]["ceiling"] for s in ("chess-2", "chess-3")
        ]
        own = [(x[0], y[0]) for _, x, y in lines_of(accuracy, "supervisor:")]
        assert own == [
            (LADDER["chess-1"], entry_of(shown, "chess-1", "chess-2", "naive")["estimate"]["weak"]),
            (LADDER["chess-2"], entry_of(shown, "chess-2", "chess-3", "naive")["estimate"]["weak"]),
        ]

    def test_bars_are_the_intervals_of_the_document(self):
        shown = Shown(document())
        accuracy, gap = drawn(picture_of("figure3", shown)).axes
        students = [entry_of(shown, w, s, "naive") for w, s, *_ in PAIRS]
        bars = bars_of(accuracy)
        for entry in students:
            assert (LADDER[entry["strong"]], *entry["accuracy"]["student"]) in bars
            assert (LADDER[entry["strong"]], *entry["accuracy"]["ceiling"]) in bars
            estimate = entry["estimate"]
            assert (LADDER[entry["strong"]], estimate["low"], estimate["high"]) in bars_of(gap)
        assert len(bars_of(gap)) == len(students)

    def test_one_student_of_several_supervisors_is_drawn_against_them(self):
        pairs = (("small", "large", 100, 200), ("middle", "large", 140, 200))
        shown = Shown(document(pairs=pairs, sizes={}))
        figure = drawn(picture_of("figure5", shown))
        found = {gid: y for gid, _, y in lines_of(figure.axes[1], "line:")}
        assert set(found) == {"line:student large"}
        assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["small", "middle"]
        assert figure.axes[0].get_xlabel() == "supervisor, by accuracy"
        drawn_pgr = [y for _, _, y in lines_of(figure.axes[1], "line:")]
        assert drawn_pgr == [
            [entry_of(shown, w, "large", method)["estimate"]["value"] for w in ("small", "middle")]
            for method in ("confidence", "naive")
        ]

    def test_methods_are_in_the_order_of_the_table_with_oracles_below_a_line(self):
        shown = Shown(document())
        gap, difference = drawn(picture_of("methods", shown)).axes
        assert [t.get_text() for t in gap.get_yticklabels()] == ["confidence", "naive", "early_stop_truth*"]
        ranks = {rank["method"]: rank for rank in shown.document["ranks"]}
        points = {round(y): x for _, xs, ys in lines_of(gap) for x, y in zip(xs, ys, strict=True)}
        order = ["confidence", "naive", "early_stop_truth"]
        assert [points[place] for place in range(3)] == [ranks[name]["pgr"]["median"] for name in order]
        shifted = {
            round(y): x
            for gid, xs, ys in lines_of(difference)
            if gid != "interval"
            for x, y in zip(xs, ys, strict=True)
        }
        assert shifted == {
            0: ranks["confidence"]["comparison"]["difference"],
            2: ranks["early_stop_truth"]["comparison"]["difference"],
        }
        assert [gid for gid, *_ in lines_of(gap)] == ["line:", "oracle:"]

    def test_agreement_is_that_of_the_metrics(self):
        shown = Shown(document(pairs=PAIRS[:1]))
        panel = picture_of("agreement", shown).panels[0]
        metrics = entry_of(shown, "chess-1", "chess-2", "naive")["metrics"]
        assert metrics["agreement_wrong"] is None
        fair = {marks.name: marks.x[0] for marks in panel.marks if marks.look == "line"}
        assert fair == {
            "all test examples": metrics["agreement"],
            "supervisor right": metrics["agreement_right"],
        }

    def test_several_tasks_give_medians_of_what_all_of_them_have(self, full):
        apart = joined(document(), document(name="b", task="b", pairs=PAIRS[:2], methods=METHODS[:1]))
        shown = Shown(apart)
        panel = picture_of("figure3", shown).panels[1]
        assert [list(marks.x) for marks in panel.marks if len(marks.x)] == [
            [LADDER["chess-2"], LADDER["chess-3"]]
        ]
        both = [
            e["estimate"]["value"]
            for e in apart["summaries"]
            if (e["strong"], e["method"]) == ("chess-2", "naive")
        ]
        assert panel.marks[0].y[0] == pytest.approx(sum(both) / 2)
        assert panel.y_label == "median PGR (%)"
        assert "medians over 2 tasks" in picture_of("figure3", full).caption

    def test_curves_are_means_over_seeds_with_a_band(self, full):
        panel = picture_of("figure13", full).panels[0]
        assert panel.marks[0].y == [0.5625, 0.6875, 0.625]
        assert panel.marks[0].low == [0.5, 0.625, 0.5625]
        points = picture_of("figure7", full).panels[1]
        assert {m.name: m.x[0] for m in points.marks} == {
            "best by truth": 0.6875,
            "stopped by weak labels": 0.5625,
            "last": 0.625,
        }

    def test_calibration_leaves_out_bins_with_few_answers(self):
        (panel,) = picture_of("calibration", Shown(document())).panels
        assert [(marks.name, list(marks.x), list(marks.y)) for marks in panel.marks] == [
            ("supervisor", [0.625], [0.5]),
            ("naive", [0.625], [0.5625]),
            ("ceiling", [0.625], [0.625]),
        ]

    def test_overlap_shows_every_number(self):
        (ax,) = drawn(picture_of("overlap", Shown(document()))).axes
        assert [t.get_text() for t in ax.texts] == [
            "1.00",
            "0.50",
            "",
            "0.50",
            "1.00",
            "-0.25",
            "",
            "-0.25",
            "1.00",
        ]

    def test_each_task_has_a_panel_and_a_line(self, full):
        assert [panel.title for panel in picture_of("figure12", full).panels] == full.tasks
        (panel,) = picture_of("tasks", full).panels
        assert list(panel.y_names) == full.tasks

    def test_labels_that_panels_share_stand_once(self):
        both = joined(*(document(name=n, task=n, methods=METHODS[:1]) for n in "abcde"))
        figure = drawn(picture_of("figure12", Shown(both)))
        visible = [ax.yaxis.label.get_visible() for ax in figure.axes]
        assert visible == [True, False, False, False, True]
        assert [ax.xaxis.label.get_visible() for ax in figure.axes] == [False, True, True, True, True]
        assert figure.axes[1].get_xlabel() == "pretraining FLOP"

    def test_labels_of_a_method_are_named_where_it_has_both_kinds(self):
        both = joined(document(), document(name="b", labels="soft"))
        names = [panel.title for panel in picture_of("pgr", Shown(both)).panels]
        assert names[:4] == ["naive (hard)", "confidence (hard)", "naive (soft)", "confidence (soft)"]
        apart = Shown(joined(document(), document(name="b", task="b", labels="soft")))
        assert [panel.title for panel in picture_of("pgr", apart).panels][:2] == ["naive", "confidence"]
        assert "hard and soft labels" in picture_of("pgr", apart).caption

    def test_the_same_rows_of_two_studies_are_told_apart(self):
        again = document(name="again")
        names = [panel.title for panel in picture_of("pgr", Shown(joined(document(), again))).panels]
        assert names[:3] == ["naive [chess]", "confidence [chess]", "naive [again]"]

    def test_tasks_of_one_name_with_other_test_examples_are_two(self):
        other = document(name="other")
        other["studies"][0]["settings"] = [["num_test", "200"]]
        assert Shown(joined(document(), other)).tasks == ["chess-puzzles (chess)", "chess-puzzles (other)"]

    def test_many_methods_are_a_page_and_said_to_be_more(self):
        methods = tuple((f"m{place}", 0.1, False) for place in range(15))
        picture = picture_of("size", Shown(document(methods=methods)))
        assert len(picture.panels) == 12
        assert "Not shown: 3 more methods" in picture.caption

    def test_pgr_by_stopping_is_over_pairs_with_all_ways_to_stop(self):
        stopping = (("naive", 0.25, False), ("early_stop", 0.5, False), ("early_stop_truth", 0.75, True))
        one = document(methods=stopping, pairs=PAIRS[:1], curves=True)
        two = document(name="b", task="b", methods=stopping[:1], pairs=PAIRS[2:])
        panel = picture_of("figure13", Shown(joined(one, two))).panels[1]
        own = [entry["estimate"]["value"] for entry in one["summaries"]]
        medians = [marks.y[0] for marks in panel.marks if marks.series == -1]
        assert medians == own


class TestWhatIsMissing:
    def test_undefined_pgr_is_a_cross_and_a_sentence(self):
        shown = Shown(document(pairs=(*PAIRS, NO_GAP)))
        picture = picture_of("figure3", shown)
        ((_, x, y),) = lines_of(drawn(picture).axes[1], "undefined")
        assert x == [LADDER["chess-4"]]
        assert y == [pytest.approx(0.04)]
        reason = entry_of(shown, "chess-3", "chess-4", "naive")["estimate"]["reason"]
        assert reason
        assert f"chess-3 to chess-4: {reason}" in picture.caption
        assert "undefined" not in picture_of("figure3", Shown(document())).caption

    def test_oracles_are_dotted_and_named(self):
        picture = picture_of("pgr", Shown(document()))
        assert [panel.title for panel in picture.panels] == ["naive", "confidence", "early_stop_truth*"]
        assert {marks.look for marks in picture.panels[2].marks} == {"oracle"}
        assert "* used ground truth (oracle" in picture.caption
        assert "oracle" not in picture_of("figure3", Shown(document())).caption

    def test_intervals_that_leave_the_axis_are_said_to_be_cut(self):
        made = document()
        made["summaries"][0]["estimate"]["high"] = 40.0
        picture = picture_of("figure3", Shown(made))
        assert picture.panels[1].y_range[1] < 3
        assert "Intervals that leave the axis are cut." in picture.caption
        assert spread([Value(5.0, -9.0, 40.0)])[1] > 5.0

    @pytest.mark.parametrize(
        ("name", "lacks"),
        [
            ("figure4", "no method bootstrap; run `surpass run chess methods=naive,bootstrap`"),
            ("figure5", "no method confidence; run `surpass run chess methods=naive,confidence`"),
            ("figure7", "no curves: they come with early_stop and early_stop_truth"),
            ("figure15", "neither zero_shot nor bootstrap"),
            ("methods", "no method to compare with naive fine-tuning"),
            ("tasks", "one task, chess-puzzles"),
        ],
    )
    def test_a_figure_without_data_says_what_to_run(self, name, lacks):
        shown = Shown(document(methods=METHODS[:1]))
        with pytest.raises(ConfigError) as error:
            picture_of(name, shown)
        assert lacks in str(error.value)
        assert str(error.value).startswith(f"no data for {name}: chess has ")
        assert [offer.lacks for offer in offers(shown) if offer.name == name] == [str(error.value)]

    def test_a_method_that_was_left_out_is_said_to_be(self):
        made = document(methods=METHODS[:1])
        made["studies"][0]["left_out"] = [
            {
                "weak": "chess-1",
                "strong": "chess-2",
                "method": "bootstrap",
                "reason": "there is no model between",
            }
        ]
        with pytest.raises(ConfigError, match="left out: bootstrap: there is no model between"):
            picture_of("figure4", Shown(made))

    def test_tasks_without_a_pair_in_common_have_no_medians(self):
        made = joined(document(pairs=PAIRS[:1]), document(name="b", task="b", pairs=PAIRS[2:]))
        with pytest.raises(ConfigError, match="no pair and method on all of its tasks"):
            picture_of("figure3", Shown(made))
        assert len(picture_of("figure12", Shown(made)).panels) == 2

    def test_every_figure_is_offered_with_what_it_shows(self, full):
        assert [offer.name for offer in offers(full)] == list(FIGURES)
        assert [offer.name for offer in offers(full) if offer.lacks] == []
        assert all(offer.about.endswith(".") for offer in offers(None))

    def test_damaged_documents_are_refused(self):
        made = document()
        del made["summaries"][0]["estimate"]["valid"]
        with pytest.raises(DataError, match="the report is damaged"):
            picture_of("figure3", Shown(made))
        with pytest.raises(DataError, match="version 2"):
            Shown(document() | {"version": 2})


class TestPaper:
    def test_the_paper_is_drawn_where_asked_for_and_said_to_differ(self):
        shown = Shown(document())
        plain = picture_of("figure3", shown)
        assert with_published(plain, shown) is plain
        asked = with_published(plain, shown, paper=True)
        assert "models differ" in asked.caption
        ours, theirs = drawn(asked).axes[0], drawn(asked).axes[2]
        names = {marks.name for panel in asked.panels for marks in panel.marks if marks.look == "published"}
        assert "Burns et al. 2023, figure 3 (read from the figure, ±0.3 points)" in names
        assert not lines_of(ours, "published")
        points = {(x, y) for _, xs, ys in lines_of(theirs, "published") for x, y in zip(xs, ys, strict=True)}
        known = [c for c in CHESS if c.what == "accuracy" and c.method in ("naive", "truth")]
        assert points == {(10.0**size, value) for curve in known for size, value in curve.points}
        assert [line.get_markerfacecolor() for line in theirs.lines] == ["white"] * len(theirs.lines)

    def test_medians_of_the_paper_stand_beside_ours(self):
        stopping = (("naive", 0.25, False), ("early_stop", 0.5, False), ("early_stop_truth", 0.75, True))
        shown = Shown(document(name="text-paper", methods=stopping, curves=True))
        panel = with_published(picture_of("figure13", shown), shown, paper=True).panels[1]
        (marks,) = [marks for marks in panel.marks if marks.look == "published"]
        assert (marks.x, marks.y) == ((0.0, 1.0, 2.0), (0.272, 0.332, 0.451))
        assert marks.name == "Burns et al. 2023, figure 13 (read from the figure, ±0.3 points)"

    def test_what_the_paper_does_not_have_is_refused(self):
        shown = Shown(document(name="planted"))
        with pytest.raises(ConfigError, match="no setting like planted; it has chess, reward, text"):
            with_published(picture_of("figure3", shown), shown, paper=True)
        shown = Shown(document())
        with pytest.raises(ConfigError, match=r"no number of Burns et al. 2023 for overlap of chess"):
            with_published(picture_of("overlap", shown), shown, paper=True)

    def test_numbers_of_the_same_models_need_not_be_asked_for(self):
        made = document(name="text-openai")
        source = "openai/weak-to-strong, README (several seeds)"
        made["studies"][0]["published"] = {
            "source": source,
            "accuracy": {"chess-3": 0.5},
            "pgr": {"naive": 0.25},
        }
        shown = Shown(made)
        picture = with_published(picture_of("figure3", shown), shown)
        (marks,) = [m for m in picture.panels[0].marks if m.look == "published"]
        assert (marks.x, marks.y) == ((LADDER["chess-3"],), (0.5,))
        assert source in picture.caption
        ranked = with_published(picture_of("methods", shown), shown)
        (marks,) = [m for m in ranked.panels[0].marks if m.look == "published"]
        assert (marks.x, marks.y) == ((0.25,), (1.0,))

    def test_the_table_of_images_is_drawn_for_its_own_models(self):
        pairs = (("alexnet-owt-7be5be79", "dino-resnet-50", 226, 255),)
        made = document(name="vision-paper", pairs=pairs, methods=METHODS[:1], sizes={})
        shown = Shown(made)
        accuracy, gap = with_published(picture_of("figure3", shown), shown).panels
        assert [sorted(m.y) for m in accuracy.marks if m.look == "published"] == [[0.566, 0.607, 0.637]]
        assert [list(m.y) for m in gap.marks if m.look == "published"] == [[0.578]]

    def test_the_numbers_make_sense(self):
        for curve in (curve for curves in PAPER_CURVES.values() for curve in curves):
            assert curve.supervisor in (None, *SUPERVISORS.values())
            assert (curve.supervisor is None) == (curve.method == "truth")
            sizes = [size for size, _ in curve.points]
            assert sizes == sorted(set(sizes))
            assert all(-8 < size <= 0 and 0 < value < 1 for size, value in curve.points)
        assert set(PAPER_MEDIANS) <= set(PAPER_CURVES)
        assert set(RECIPES) >= SAME_MODELS
        assert {setting_of(name) for name in RECIPES} == {None, *PAPER_CURVES}
        assert READING_ERROR == 0.003

    def test_pgr_of_chess_follows_from_its_accuracies(self):
        def known(what, method, supervisor, size=0.0):
            for curve in CHESS:
                if (curve.what, curve.method, curve.supervisor) == (
                    what,
                    method,
                    supervisor,
                ) and size in dict(curve.points):
                    return dict(curve.points)[size]
            raise AssertionError

        ceiling = known("accuracy", "truth", None)
        for name in ("w3", "w4", "w5", "w6", "w7"):
            size = SUPERVISORS[name]
            weak = known("accuracy", "truth", None, size)
            pgr = (known("accuracy", "naive", size) - weak) / (ceiling - weak)
            assert known("pgr", "naive", size) == pytest.approx(pgr, abs=0.025), name


class TestFiles:
    @pytest.mark.parametrize("name", FIGURES)
    def test_every_figure_is_the_same_file_twice(self, name, full):
        first, second = (rendered(picture_of(name, full), "svg") for _ in range(2))
        assert first == second
        root = ElementTree.fromstring(first)
        assert root.tag.endswith("svg")
        assert b"<dc:date>" not in first

    @pytest.mark.parametrize("format", ["pdf", "png"])
    def test_other_formats_open_and_are_the_same_twice(self, format, monkeypatch):
        picture = picture_of("figure3", Shown(document()))
        first = rendered(picture, format)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
        assert rendered(picture, format) == first
        if format == "pdf":
            assert first.startswith(b"%PDF")
            assert b"/FontFile2" in first
            assert b"CreationDate" not in first
        else:
            image = Image.open(BytesIO(first))
            assert image.size[0] == pytest.approx(PAGE * 300, abs=1)

    def test_sizes_are_those_of_a_column_and_of_a_page(self):
        shown = Shown(document(methods=METHODS[:1]))
        assert picture_of("pgr", shown).width == COLUMN
        assert drawn(picture_of("figure3", shown)).get_size_inches()[0] == PAGE

    def test_ones_own_settings_of_matplotlib_change_nothing(self):
        import matplotlib

        picture = picture_of("figure3", Shown(document()))
        first = rendered(picture, "svg")
        with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.hashsalt": "mine"}):
            assert rendered(picture, "svg") == first

    @pytest.mark.parametrize("name", ["size", "agreement", "figure5", "figure7", "figure12", "calibration"])
    def test_no_text_overlaps_another_or_leaves_the_page(self, name, full):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = drawn(picture_of(name, full))
        FigureCanvasAgg(figure).draw()
        texts = [text for legend in figure.legends for text in legend.get_texts()]
        for ax in figure.axes:
            texts += [ax.title, ax.xaxis.label, ax.yaxis.label]
            for axis in (ax.xaxis, ax.yaxis):
                low, high = sorted(axis.get_view_interval())
                texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        shown = [text for text in texts if text.get_text() and text.get_visible()]
        upright = [text for text in shown if text.get_rotation() in (0.0, 90.0)]
        boxes = [text.get_window_extent() for text in upright]
        assert len(boxes) > 10
        for box in boxes:
            assert figure.bbox.x0 - 1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1
            assert figure.bbox.y0 - 1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1
        assert [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)] == []

    def test_hostile_names_are_text(self):
        evil = 'a</script><b>"&$x_{2}$\x00\x1b\u202e' + "long" * 300
        pairs = ((evil, "chess-3", 120, 200),)
        made = document(pairs=pairs, methods=((evil, 0.5, False), ("naive", 0.25, False)), task=evil)
        # Half of a surrogate pair, which JSON may hold and tables of Arrow may not.
        shown = Shown(json.loads(json.dumps(made).replace("longlong", "\\ud800longlong", 9)))
        for name in ("figure3", "pgr", "agreement", "figure12", "overlap", "calibration"):
            ElementTree.fromstring(rendered(picture_of(name, shown), "svg"))
        assert len(short(evil)) <= 72
        assert "\x00" not in short(evil)

    def test_marks_differ_in_shape_as_long_as_colours_repeat(self):
        from surpass.report.figures.style import colour, shape

        assert len({(colour(n), shape(n)) for n in range(40)}) == 40
        assert len({shape(n) for n in range(len(SHAPES))}) == len(SHAPES)
        assert len(set(COLOURS)) == len(COLOURS)


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "chess").mkdir()
        (tmp_path / "chess" / "report.json").write_text(json.dumps(document()))
        return tmp_path / "chess"

    def run(self, *words):
        return CliRunner().invoke(app, ["figure", *map(str, words)])

    def test_a_folder_of_results_gives_a_figure_and_its_caption(self, folder):
        # A name of a study comes first, so a folder called like one is named as a path.
        done = self.run("figure3", folder, "--format", "svg")
        assert done.exit_code == 0, done.exception
        assert (folder / "figure3.svg").read_bytes() == rendered(
            picture_of("figure3", Shown(document())), "svg"
        )
        assert (folder / "figure3.txt").read_text() in done.stdout + "\n"
        assert "Naive fine-tuning on weak labels" in done.stdout

    def test_the_ending_of_the_file_says_its_format(self, folder, tmp_path):
        assert self.run("pgr", folder, "--out", tmp_path / "new" / "a.png").exit_code == 0
        with Image.open(tmp_path / "new" / "a.png") as image:
            assert image.format == "PNG"

    def test_json_names_the_file(self, folder):
        done = self.run("pgr", folder, "--json")
        assert json.loads(done.stdout)["file"] == str(folder / "pgr.pdf")

    def test_the_list_says_what_a_study_lacks(self, folder):
        assert "Not here" not in self.run("list").stdout
        listed = " ".join(self.run("list", folder).stdout.split())
        assert (
            "figure4 Bootstrapping beside naive fine-tuning: accuracy and PGR. Not here: chess has" in listed
        )
        entries = json.loads(self.run("list", folder, "--json").stdout)
        assert [entry["name"] for entry in entries] == list(FIGURES)

    @pytest.mark.parametrize(
        ("words", "error"),
        [
            (("figure99", "chess/"), "no figure 'figure99'; there are: size"),
            (("figure3",), "name a study behind figure3"),
            (("figure3", "chess/", "--format", "gif"), "--format gif: a figure is one of pdf, svg, png"),
            (("figure3", "chess/", "--out", "a.gif"), "--out a.gif: a figure is one of pdf, svg, png"),
            (("figure3", "chess/", "--out", "a.png", "--format", "pdf"), "ends in png, --format says pdf"),
            (("figure3", "chess/", "seeds=3"), "seeds=3 cannot change chess/"),
            (("figure3", "nosuch"), "no study 'nosuch'"),
            (("figure4", "chess/"), "run `surpass run chess methods="),
        ],
    )
    def test_mistakes_are_named(self, folder, words, error):
        done = self.run(*words)
        assert done.exit_code == 1
        assert error in str(done.exception)

    def test_without_matplotlib_the_extra_is_named_and_nothing_else_needs_it(self, folder):
        code = f"""
import sys
sys.modules["matplotlib"] = None
from surpass.cli import app
from typer.testing import CliRunner
for words in (["figure", "list", {str(folder)!r}], ["table", {str(folder)!r}]):
    assert CliRunner().invoke(app, words).exit_code == 0
done = CliRunner().invoke(app, ["figure", "pgr", {str(folder)!r}])
print(type(done.exception).__name__, done.exception)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("MissingExtraError figures are drawn with matplotlib")
        assert "pip install 'surpass[figures]'" in done.stdout

    def test_the_command_line_imports_no_matplotlib(self):
        code = (
            "import sys, surpass, surpass.cli; print([m for m in sys.modules if m.startswith('matplotlib')])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def test_panels_name_what_is_on_their_axes(full):
    for name in FIGURES:
        for panel in picture_of(name, full).panels:
            if isinstance(panel, Panel):
                assert panel.x_label, name
                assert all(len(m.x) == len(m.y) for m in panel.marks), name
                assert all(len(m.low) in (0, len(m.x)) for m in panel.marks), name
