"""The terminal table: its exact text, its width, and what it says about rows without a PGR."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from reference.results import results, study
from surpass.report.terminal import footnotes, headline, plain_text, print_results, summary_table
from surpass.results import Results

PAIRS = (("ladder:chess-2", "ladder:chess-4", 120, 200), ("ladder:chess-4", "ladder:chess-5", 200, 196))

EXPECTED = """\
pair, method       weak  student  ceiling       PGR % [95 %]  seeds  time
─────────────────────────────────────────────────────────────────────────
chess-2 → chess-4
  naive            30.1     35.1     50.1  25.0 [15.4, 34.9]      2  60 s
  ceiling-stop*    30.1     40.1     50.1  50.0 [39.0, 60.8]      2  60 s

chess-4 → chess-5
  naive            50.1     49.9     49.1      undefined (1)      2  60 s
  ceiling-stop*    50.1     49.6     49.1      undefined (1)      2  60 s

(1) the ceiling does not beat the weak supervisor: -1.0 points
* used ground truth (oracle): not a weak-to-strong result

Best of 4: chess-2 supervising chess-4 recovers 25 % (15 to 35 %) of the gap
with naive fine-tuning, 2 seeds, 400 test puzzles.
"""


def printed(console: Console, *args: object, **fields: object) -> str:
    print_results(results(*args, **fields), console)
    return console.file.getvalue()


def test_plain_text_is_exactly_this() -> None:
    assert plain_text(results(PAIRS), noun="test puzzles") == EXPECTED


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
    text = plain_text(results(pairs, methods, seconds=86_400.0))
    assert max(map(len, text.splitlines())) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "pythia-410m\n→ pythia-1.4b\n" in text
    assert "-0.0" not in text


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
    sentence = headline(
        results(methods=[("naive", 0.25, False), ("bootstrap", 0.5, False), ("oracle", 1.0, True)])
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
