"""The terminal table: its exact text, its width, and what it says about rows without a PGR."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from reference.results import results, study
from surpass.ranking import Rank
from surpass.report.methods import (
    NOTE,
    Shortened,
    beyond_noise,
    equation,
    has_ranking,
    methods_headline,
    ordered,
    p_text,
    percent,
)
from surpass.report.terminal import (
    footnotes,
    headline,
    left_out_notes,
    plain_text,
    print_results,
    summary_table,
)
from surpass.results import Results
from surpass.rows import LeftOut

PAIRS = (("ladder:chess-2", "ladder:chess-4", 120, 200), ("ladder:chess-4", "ladder:chess-5", 200, 196))

EXPECTED = """\
pair, method       weak  student  ceiling       PGR % [95 %]  seeds  time
─────────────────────────────────────────────────────────────────────────
chess-2 → chess-4
  naive            30.1     35.1     50.1  25.0 [16.1, 35.0]      2  60 s
  ceiling-stop*    30.1     40.1     50.1  50.0 [39.3, 61.0]      2  60 s

chess-4 → chess-5
  naive            50.1     49.9     49.1      undefined (1)      2  60 s
  ceiling-stop*    50.1     49.6     49.1      undefined (1)      2  60 s

(1) the ceiling does not beat the weak supervisor: -1.0 points
* used ground truth (oracle): not a weak-to-strong result

method         pairs  median PGR %  acc. %   vs naive, points       p
─────────────────────────────────────────────────────────────────────
naive            1/2          25.0    42.5
ceiling-stop*    1/2          50.0    44.9  +2.4 [+1.3, +3.4]  <0.001

vs naive: mean difference of accuracy over the pairs, in points [95 %], with the
p value corrected for the number of methods (Holm).

Best of 4: chess-2 supervising chess-4 recovers 25 % (16 to 35 %) of the gap
with naive fine-tuning, 2 seeds, 400 test puzzles.
"""

METHODS = (
    ("naive", 0.25, False),
    ("gce(q=0.7)", 0.75, False),
    ("worse", 0.0, False),
    ("cheat", 1.0, True),
)
NO_CLASSES, TOO_NEAR = "it needs classes that all examples share", "3 steps need 2 models between"
LEFT_OUT = (
    LeftOut("ladder:chess-2", "ladder:chess-4", "knn_filter", NO_CLASSES),
    LeftOut("ladder:chess-2", "ladder:chess-4", "noise_class", NO_CLASSES),
    LeftOut("ladder:chess-4", "ladder:chess-5", "knn_filter", NO_CLASSES),
    LeftOut("ladder:chess-4", "ladder:chess-5", "noise_class", NO_CLASSES),
    LeftOut("ladder:chess-4", "ladder:chess-5", "bootstrap", TOO_NEAR),
)
SEVERAL = """\
pair, method       weak  student  ceiling          PGR % [95 %]  seeds  time
────────────────────────────────────────────────────────────────────────────
chess-2 → chess-4
  naive            30.1     35.1     50.1   25.0 [ 16.1,  35.0]      2  60 s
  gce(q=0.7)       30.1     45.1     50.1   75.0 [ 65.6,  84.1]      2  60 s
  worse            30.1     30.1     50.1    0.0 [  0.0,   0.0]      2  60 s
  cheat*           30.1     50.1     50.1  100.0 [100.0, 100.0]      2  60 s

chess-4 → chess-5
  naive            50.1     49.9     49.1         undefined (1)      2  60 s
  gce(q=0.7)       50.1     49.4     49.1         undefined (1)      2  60 s
  worse            50.1     50.1     49.1         undefined (1)      2  60 s
  cheat*           50.1     49.1     49.1         undefined (1)      2  60 s

(1) the ceiling does not beat the weak supervisor: -1.0 points
* used ground truth (oracle): not a weak-to-strong result
left out: knn_filter, noise_class: it needs classes that all examples share
left out for chess-4 -> chess-5: bootstrap: 3 steps need 2 models between

method      pairs  median PGR %  acc. %   vs naive, points       p
──────────────────────────────────────────────────────────────────
gce(q=0.7)    1/2          75.0    47.2  +4.8 [+3.3, +6.2]  <0.001
naive         1/2          25.0    42.5
worse         1/2           0.0    40.1  -2.4 [-3.4, -1.3]  <0.001
cheat*        1/2         100.0    49.6  +7.1 [+5.4, +8.8]  <0.001

vs naive: mean difference of accuracy over the pairs, in points [95 %], with the
p value corrected for the number of methods (Holm).

Of 2 methods without ground truth, 1 beats naive fine-tuning beyond noise and 1
is worse; the best, gce(q=0.7), differs by +4.8 points (+3.3 to +6.2), p <
0.001, over 2 pairs and 2 seeds.
"""


def printed(console: Console, *args: object, **fields: object) -> str:
    print_results(results(*args, **fields), console)
    return console.file.getvalue()


def test_plain_text_is_exactly_this() -> None:
    assert plain_text(results(PAIRS), noun="test puzzles") == EXPECTED


def test_several_methods_are_exactly_this() -> None:
    assert plain_text(results(PAIRS, METHODS, left_out=LEFT_OUT), noun="test puzzles") == SEVERAL


def test_several_methods_in_ascii_differ_in_lines_and_arrows_alone() -> None:
    """And in blanks, for an arrow of two characters takes more room."""
    text = plain_text(results(PAIRS, METHODS, left_out=LEFT_OUT), noun="test puzzles", ascii_only=True)
    assert text.isascii()
    expected = SEVERAL.replace("→", "->").replace("─", "-")
    assert re.sub("-{9,}| +", " ", text) == re.sub("-{9,}| +", " ", expected)


def test_print_elsewhere_than_on_a_terminal_is_the_plain_text() -> None:
    for width in (40, 80, 200):
        console = Console(file=io.StringIO(), width=width, force_terminal=False)
        assert printed(console, PAIRS) == plain_text(results(PAIRS))


def test_print_on_a_terminal_is_coloured_and_the_same_text() -> None:
    coloured = Console(
        file=io.StringIO(), width=80, force_terminal=True, color_system="standard", legacy_windows=False
    )
    assert "\x1b[1;32m" in printed(coloured, PAIRS)
    bare = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, legacy_windows=False)
    lines = [line.rstrip() for line in printed(bare, PAIRS).splitlines()]
    assert lines == plain_text(results(PAIRS)).splitlines()


def test_print_of_several_methods_on_a_terminal_is_the_same_text() -> None:
    bare = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, legacy_windows=False)
    lines = [line.rstrip() for line in printed(bare, PAIRS, METHODS, left_out=LEFT_OUT).splitlines()]
    assert lines == plain_text(results(PAIRS, METHODS, left_out=LEFT_OUT)).splitlines()


def test_bold_on_a_terminal_is_what_differs_beyond_noise() -> None:
    console = Console(
        file=io.StringIO(), width=80, force_terminal=True, color_system="standard", legacy_windows=False
    )
    text = printed(
        console, [PAIRS[0]], [("naive", 0.5, False), ("same", 0.5, False), ("better", 0.75, False)]
    )
    table = text[text.index("median PGR") : text.index("vs naive:")].splitlines()
    assert [line.startswith("\x1b[1m") for line in table[2:5]] == [True, False, False]
    assert "better" in table[2]


def test_a_stream_without_unicode_gets_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_results(results(PAIRS), Console(file=file, force_terminal=False))
    file.flush()
    assert b"chess-2 -> chess-4" in file.buffer.getvalue()
    assert plain_text(results(PAIRS), ascii_only=True).encode("ascii") == file.buffer.getvalue()


@pytest.mark.parametrize("share", [-12.345, -0.0004, 0.25, 11.11])
def test_lines_fit_into_80_columns(share: float) -> None:
    pairs = [("hub:EleutherAI/pythia-410m@main", "hub:EleutherAI/pythia-1.4b", 30, 40), *PAIRS]
    methods = [("naive", 0.2, False), ("confidence", share, False), ("bootstrapping", 0.5, True)]
    methods.append(("my_long_module_name:my_method_of_weighting(frac=0.25, seed=3)", 0.3, False))
    left_out = [LeftOut(pairs[0][0], pairs[0][1], "knn_filter", "reason " * 20)]
    text = plain_text(results(pairs, methods, seconds=86_400.0, left_out=left_out))
    assert max(map(len, text.splitlines())) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "pythia-410m\n→ pythia-1.4b\n" in text
    assert "-0.0" not in text


def test_names_that_are_cut_keep_what_is_behind_them() -> None:
    """An oracle must not pass for a method, however long its name is."""
    long = "mix_truth(frac=0.25, pick=errors, seed=12345)"
    built = results(methods=[("naive", 0.25, False), (long, 0.5, True)])
    text = plain_text(built)
    cut = [
        re.match(r" *mix_truth\(frac=0.*?…(\S*) ", line) for line in text.splitlines() if "mix_truth" in line
    ]
    assert [match and match[1] for match in cut] == ["*", "*"]
    rows, correct = study(methods=[(long, 0.5, True)])
    soft = [replace(row, labels="soft") for row in rows]
    both = [line for line in plain_text(Results.build([*rows, *soft], correct)).splitlines() if "mix" in line]
    assert [line.split("…")[1].split("  ")[0] for line in both] == [" (hard)*", " (soft)*"]


@pytest.mark.parametrize(
    ("width", "shown"),
    [(30, "a_method (soft)*"), (16, "a_method (soft)*"), (15, "a_meth… (soft)*"), (9, "… (soft)*")],
)
def test_a_name_gives_way(width: int, shown: str) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(Shortened("a_method", " (soft)*"))
    assert console.file.getvalue() == f"{shown}\n"


def test_ascii_has_no_other_characters_whatever_names_are() -> None:
    methods = [("naive", 0.25, False), ("módulo:" + "my_method_with_a_long_name" * 3, 0.5, True)]
    left_out = [LeftOut("a", "b", "méthode", "elle est ailleurs…")]
    text = plain_text(results(methods=methods, left_out=left_out), ascii_only=True)
    assert text.isascii()
    assert "~*" in text
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_results(results(methods=methods, left_out=left_out), Console(file=file, force_terminal=False))


def test_models_of_one_short_name_keep_their_long_ones() -> None:
    text = plain_text(results([("hub:a/gpt", "hub:b/gpt", 120, 200)]))
    assert "hub:a/gpt" in text
    assert "→ hub:b/gpt" in text


def test_tasks_and_labels_are_named_where_there_are_several() -> None:
    assert "chess-puzzles" not in plain_text(results())
    rows, correct = study()
    more, _ = study(labels="soft")
    other, _ = study(task="sciq")
    text = plain_text(Results.build([*rows, *more, *other], correct))
    assert "chess-puzzles:\n" in text
    assert "sciq:\n" in text
    assert "naive (soft)" in text
    assert "naive (hard)" in text
    assert "ceiling-stop (hard)*" in text


def test_equal_reasons_share_a_footnote() -> None:
    notes = footnotes(results([PAIRS[1], ("ladder:chess-4", "ladder:chess-6", 200, 190)]))
    assert [note[:3] for note in notes[:2]] == ["(1)", "(2)"]
    assert len(notes) == 3


def test_one_seed_is_noted() -> None:
    assert footnotes(results(num_seeds=1))[-1].startswith("one seed: ")
    assert "1 seed, 400 test examples" in headline(results(num_seeds=1))


def test_headline_is_the_best_method_without_ground_truth() -> None:
    """Where naive fine-tuning is there to compare with, see `TestMethods`."""
    sentence = headline(
        results(methods=[("gce", 0.25, False), ("bootstrap", 0.5, False), ("oracle", 1.0, True)])
    )
    assert sentence.startswith("Best of 3: chess-2 supervising chess-4 recovers 50 % (")
    assert sentence.endswith(" of the gap with the bootstrap method, 2 seeds, 400 test examples.")


def test_headline_of_a_single_row_is_not_the_best_of_anything() -> None:
    assert headline(results(methods=[("naive", 0.25, False)])).startswith(
        "chess-2 supervising chess-4 recovers 25 %"
    )


def test_headline_without_a_candidate_says_so() -> None:
    assert headline(results(PAIRS[1:])) == "No PGR to report: none is both defined and free of ground truth."
    assert headline(results(methods=[("stop", 0.5, True)])).startswith("No PGR to report")


def test_no_results_are_said_in_a_word() -> None:
    empty = Results.build([], {})
    assert plain_text(empty) == "No results.\n"
    assert summary_table(empty).row_count == 0


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.1 s"),
        (4.9, "9.8 s"),
        (4.98, "10 s"),
        (49.7, "99 s"),
        (50, "2 min"),
        (2984, "99 min"),
        (3000, "1.7 h"),
    ],
)
def test_times_are_sums_over_seeds_in_a_unit_of_their_size(seconds: float, expected: str) -> None:
    assert f"  {expected}\n" in plain_text(results(seconds=seconds))


def test_importing_the_table_loads_neither_rich_nor_pandas_nor_torch() -> None:
    heavy = "{'rich', 'pandas', 'torch', 'scipy'}"
    code = f"import sys, surpass.report.terminal; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestLeftOut:
    def test_nothing(self) -> None:
        assert left_out_notes(results(PAIRS)) == []

    def test_methods_of_one_reason_and_pairs_of_one_method_share_a_line(self) -> None:
        assert left_out_notes(results(PAIRS, left_out=LEFT_OUT)) == [
            f"left out: knn_filter, noise_class: {NO_CLASSES}",
            f"left out for chess-4 -> chess-5: bootstrap: {TOO_NEAR}",
        ]

    def test_of_one_pair_nothing_is_said(self) -> None:
        assert left_out_notes(results(PAIRS[:1], left_out=LEFT_OUT[:1])) == [
            f"left out: knn_filter: {NO_CLASSES}"
        ]

    def test_some_of_three_pairs(self) -> None:
        pairs = [*PAIRS, ("ladder:chess-2", "ladder:chess-5", 120, 200)]
        (note,) = left_out_notes(results(pairs, left_out=LEFT_OUT[:4:2]))
        assert note == f"left out for chess-2 -> chess-4, chess-4 -> chess-5: knn_filter: {NO_CLASSES}"

    def test_reasons_that_differ_by_pair_stay_apart(self) -> None:
        other = LEFT_OUT[2]._replace(reason="it is late")
        assert left_out_notes(results(PAIRS, left_out=[LEFT_OUT[0], other])) == [
            f"left out for chess-2 -> chess-4: knn_filter: {NO_CLASSES}",
            "left out for chess-4 -> chess-5: knn_filter: it is late",
        ]

    def test_a_pair_of_which_nothing_is_left(self) -> None:
        """It has no row in the table, but is a pair of the study."""
        gone = LeftOut("ladder:chess-5", "ladder:chess-6", "naive", "it is late")
        assert left_out_notes(results(PAIRS[:1], left_out=[gone])) == [
            "left out for chess-5 -> chess-6: naive: it is late"
        ]

    def test_models_of_one_short_name(self) -> None:
        gone = LeftOut("hub:a/gpt", "hub:b/gpt", "naive", "it is late")
        assert left_out_notes(results(PAIRS[:1], left_out=[gone])) == [
            "left out for hub:a/gpt -> hub:b/gpt: naive: it is late"
        ]

    def test_they_are_the_last_footnotes(self) -> None:
        notes = footnotes(results(PAIRS, num_seeds=1, left_out=LEFT_OUT))
        assert [note.split(":")[0] for note in notes[-3:]] == [
            "one seed",
            "left out",
            "left out for chess-4 -> chess-5",
        ]


def ranked(*methods: tuple[str, float, bool], **fields: object) -> tuple[Rank, ...]:
    return results(methods=[("naive", 0.5, False), *methods], **fields).ranks


class TestMethods:
    @pytest.mark.parametrize(
        ("methods", "beginning"),
        [
            (
                [("gce", 0.75)],
                "Of 1 method without ground truth, 1 beats naive fine-tuning beyond noise and 0 are",
            ),
            (
                [("gce", 0.25)],
                "Of 1 method without ground truth, 0 beat naive fine-tuning beyond noise and 1 is",
            ),
            (
                [("gce", 0.5)],
                "Of 1 method without ground truth, 0 beat naive fine-tuning beyond noise and 0 are",
            ),
            (
                [("gce", 0.75), ("a", 1.0)],
                "Of 2 methods without ground truth, 2 beat naive fine-tuning beyond",
            ),
            ([("a", 0.75), ("b", 0.25), ("c", 0.0)], "Of 3 methods without ground truth, 1 beats naive"),
        ],
    )
    def test_headline_counts(self, methods: list[tuple[str, float]], beginning: str) -> None:
        ranks = ranked(*((name, share, False) for name, share in methods), ("cheat", 1.0, True))
        assert methods_headline(ranks).startswith(beginning)

    def test_headline_names_the_best(self) -> None:
        ranks = ranked(("a", 0.6, False), ("b", 0.75, False), ("cheat", 1.0, True))
        assert " worse; the best, b, differs by +5.0 points (" in methods_headline(ranks)
        assert methods_headline(ranks).endswith(", p < 0.001, over 1 pair and 2 seeds.")
        equal = methods_headline(ranked(("a", 0.5, False), num_seeds=1))
        assert equal.endswith(
            "the best, a, differs by +0.0 points (+0.0 to +0.0), p = 1.000, over 1 pair and 1 seed."
        )

    def test_oracles_do_not_compete(self) -> None:
        cheat = ranked(("cheat", 1.0, True))
        assert methods_headline(cheat) == "No method without ground truth to compare with naive fine-tuning."
        built = results(methods=[("naive", 0.5, False), ("cheat", 1.0, True)])
        assert has_ranking(built)
        assert headline(built).startswith("Best of 2: chess-2 supervising chess-4 recovers 50 %")

    def test_without_naive_there_is_no_table(self) -> None:
        built = results(methods=[("gce", 0.5, False), ("a", 0.6, False)])
        assert not has_ranking(built)
        assert "median PGR" not in plain_text(built)
        assert NOTE[:20] not in plain_text(built)
        assert not has_ranking(results(methods=[("naive", 0.5, False)]))

    def test_best_first_and_oracles_last(self) -> None:
        ranks = ranked(
            ("worse", 0.25, False), ("cheat", 0.75, True), ("better", 0.75, False), ("a", 1.0, True)
        )
        assert [rank.method for rank in ordered(ranks)] == ["better", "naive", "worse", "a", "cheat"]

    def test_beyond_noise_is_after_correction(self) -> None:
        ranks = ranked(("same", 0.5, False), ("better", 0.75, False), ("worse", 0.25, False))
        assert [rank.method for rank in ranks if beyond_noise(rank)] == ["better", "worse"]

    def test_kinds_of_labels_are_told_apart(self) -> None:
        """Each kind of naive fine-tuning has the accuracy of its own."""
        rows, correct = study(methods=[("naive", 0.25, False), ("gce", 0.5, False)])
        more, others = study(methods=[("naive", 0.75, False), ("gce", 1.0, False)], labels="soft")
        moved = [replace(row, student_score_id=f"{row.student_score_id}-soft") for row in more]
        correct |= {f"{row.student_score_id}-soft": others[row.student_score_id] for row in more}
        text = plain_text(Results.build([*rows, *moved], correct))
        table = [" ".join(line.split()) for line in text[text.index("median PGR") :].splitlines()]
        assert "naive (hard) 1 25.0 35.1" in table
        assert "naive (soft) 1 75.0 45.1" in table

    def test_naive_has_the_accuracy_over_as_many_pairs_as_are_compared(self) -> None:
        """The first method has one pair of two, the second both."""
        pairs = [("a", "b", 120, 200), ("c", "d", 160, 200)]
        rows, correct = study(
            pairs, methods=[("naive", 0.5, False), ("gce", 0.75, False), ("all", 0.6, False)]
        )
        rows = [row for row in rows if (row.method, row.weak_model) != ("gce", "a")]
        text = plain_text(Results.build(rows, correct))
        table = [" ".join(line.split()) for line in text[text.index("median PGR") :].splitlines()]
        assert "naive 2 50.0 42.6" in table
        assert any(line.startswith("gce 1 75.0 47.6 ") for line in table)

    @pytest.mark.parametrize(
        ("value", "text"), [(0.2504, "25.0"), (-0.0004, "0.0"), (1.23456, "123.5"), (float("nan"), "-")]
    )
    def test_percent(self, value: float, text: str) -> None:
        assert percent(value) == text

    @pytest.mark.parametrize(
        ("value", "text", "sentence"),
        [
            (0.0, "<0.001", "< 0.001"),
            (0.00099, "<0.001", "< 0.001"),
            (0.001, "0.001", "= 0.001"),
            (0.0496, "0.050", "= 0.050"),
            (1.0, "1.000", "= 1.000"),
        ],
    )
    def test_p_values(self, value: float, text: str, sentence: str) -> None:
        assert (p_text(value), equation(value)) == (text, sentence)

    def test_no_median_is_a_dash(self) -> None:
        lines = [line.split() for line in plain_text(results([PAIRS[1]])).splitlines()]
        assert ["naive", "0/1", "-", "49.9"] in lines
