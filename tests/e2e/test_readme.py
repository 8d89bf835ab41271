"""The main job as the README has it: same command, same table within the tolerance it states."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from surpass.recipes import find_recipe
from surpass.report.terminal import plain_text
from surpass.results import Results

README = (Path(__file__).parents[2] / "README.md").read_text()
TOLERANCE = 3.0
ROW = re.compile(
    r"^  naive +([\d.]+) +([\d.]+) +([\d.]+) +(-?[\d.]+) \[ *(-?[\d.]+), +(-?[\d.]+)\] +(\d+)", re.M
)


def numbers(text):
    """Weak, student, ceiling, PGR, its interval, seeds of each row of a table."""
    return [tuple(map(float, match)) for match in ROW.findall(text)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "surpass", "run", "chess", "--quiet", "--out", "results"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout, Results.from_json(folder / "results" / "results.json")


def test_the_table_is_the_readmes(ran):
    shown, (table,) = (
        numbers(ran[0]),
        re.findall(r"<!-- table of `surpass run chess` -->\n```\n(.*?)```", README, re.S),
    )
    stated = numbers(table)
    assert len(shown) == len(stated) == len(find_recipe("chess").pairs) >= 2
    for here, there in zip(shown, stated, strict=True):
        assert here[6] == there[6] >= 3
        assert here[:3] == pytest.approx(there[:3], abs=TOLERANCE)
        assert here[4] <= there[3] <= here[5]
    assert f"to within {TOLERANCE:g} points of accuracy" in README


def test_weak_labels_elicit_something(ran):
    printed, results = ran
    assert printed == plain_text(results, noun="test puzzles")
    estimates = [summary.estimate for summary in results.summary()]
    assert all(estimate.valid and estimate.weak < estimate.ceiling for estimate in estimates)
    assert max(estimate.low for estimate in estimates) > 0
