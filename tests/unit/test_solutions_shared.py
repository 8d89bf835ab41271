"""The published originals: as many solutions and problems as their authors say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from surpass.data.solutions_reading import read_problems, read_solutions
from surpass.reasoning.graders import grade

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SURPASS_SHARED_DATA", ROOT / "../shared/data"))
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the folder of published data is not here: set SURPASS_SHARED_DATA"
    ),
]

# Solutions, those without an error, and those with a right answer in spite of one (ProcessBench, table 1).
BENCHES = {
    "gsm8k": (400, 193, 7),
    "math": (1000, 406, 94),
    "olympiadbench": (1000, 339, 161),
    "omnimath": (1000, 241, 259),
}


def test_processbench(monkeypatch):
    monkeypatch.setenv("SURPASS_DATA", str(DATA))
    found = read_solutions("", "processbench")
    solutions = found.solutions
    assert set(found.notes) == {"solutions without a final answer, kept"}
    for name, (number, right, lucky) in BENCHES.items():
        of_one, solutions = solutions[:number], solutions[number:]
        assert sum(solution.first_error == -1 for solution in of_one) == right, name
        assert sum(bool(one.correct) and one.first_error >= 0 for one in of_one) == lucky, name
        assert all(solution.is_fully_rated for solution in of_one)
    assert not solutions


def test_problems():
    gsm8k = read_problems(str(DATA / "gsm8k"), "gsm8k")
    assert (len(gsm8k.problems), gsm8k.notes) == (8792, {})
    assert len(read_problems(str(DATA / "gsm8k"), "gsm8k", roles=["test"]).problems) == 1319
    assert len(read_problems(str(DATA / "math" / "test.jsonl.xz"), "math").problems) == 5000
    # Two of the training problems that are passed on have an empty answer.
    train = read_problems(str(DATA / "math"), "math", roles=["train"])
    assert (len(train.problems), train.notes) == (7498, {"problems without a true answer": 2})
    assert "line 7037" in train.named["problems without a true answer"][0]


def test_math_500_grades_its_own_solutions():
    found = read_problems(str(DATA / "math" / "math_oai_test500.jsonl.xz"), "math")
    assert len(found.problems) == 500
    assert all(grade(problem.solution, problem.reference) for problem in found.problems)
