r"""Graders against verdicts that the originals gave, and against inputs that are meant to hurt."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.reasoning import graders
from surpass.reasoning.graders import GRADERS, grade, graded, with_grade
from surpass.reasoning.latex_text import as_in_math, as_in_prm800k
from surpass.reasoning.limited import Worker, require
from surpass.reasoning.solutions import Solution

GOLDEN = [
    # answer, reference, prm800k, math-verify 0.9.0
    ("0.5", r"\frac{1}{2}", True, True),
    ("40,000", r"40,\!000", True, True),
    ("x=5", "5", True, True),
    (r"2\sqrt{3}", r"\sqrt{12}", True, True),
    ("x^2+2x+1", "(x+1)^2", True, True),
    ("5 cm", "5", True, True),
    (r"\text{(A)}", "A", True, True),
    ("5 or 6", "5,6", True, True),
    ("2/4", "1/2", False, True),
    ("1,2", "2,1", False, True),
    ("4", "2+2", False, True),
    ("6/2", "3", False, True),
    ("a+b+c", "c+b+a", False, True),
    ("2^{10}", "1024", False, True),
    ("2^10", "1024", False, True),
    ("1/3", "0.3333333", False, True),
    (r"x \in [1,2]", "[1,2]", False, True),
    ("7 3/4", "31/4", True, False),
    ("3", "3.0000000001", True, False),
    ("[1,2)", "(1,2)", False, False),
    ("1 million", "1000000", False, False),
]
"""What the released grader (openai/prm800k, commit 7ecc794) and math-verify 0.9.0 said when both were run."""


@pytest.mark.parametrize(("answer", "reference", "strict", "lenient"), GOLDEN)
def test_verdicts_are_those_of_the_originals(answer, reference, strict, lenient):
    assert grade(answer, reference, grader="prm800k") is strict
    assert grade(answer, reference, grader="math-verify") is lenient


@pytest.mark.parametrize("name", GRADERS)
def test_an_answer_equals_itself(name):
    for answer in ("7", r"\frac{3}{4}", "x^2+1", r"\left( 3, \frac{\pi}{2} \right)", "(1,2]", "x"):
        assert grade(answer, answer, grader=name)
        assert not grade(answer, "1234567", grader=name)


@pytest.mark.parametrize("name", GRADERS)
def test_what_is_no_answer_is_wrong_and_says_so(name):
    for nothing in (None, "", " \n", "first\nsecond"):
        assert graded(nothing, "5", grader=name) == (False, None, "no answer")


def test_a_reference_is_asked_for():
    for nothing in ("", "a\nb"):
        with pytest.raises(DataError, match="has no answer"):
            grade("5", nothing)


def test_there_is_no_such_grader():
    with pytest.raises(ConfigError, match="prm800k"):
        grade("5", "5", grader="prm80k")


class TestWholeSolutions:
    TEXT = "We have 2 + 3.\nSo it is $\\boxed{\\frac{10}{2} = 5}$, that is \\boxed{5}."

    def test_of_a_text(self):
        assert graded(self.TEXT, "5") == (True, "5", "equal")
        assert graded(self.TEXT, "6") == (False, "5", "different")
        assert grade("a\nb\n\n# Answer\n\n5", "5")

    def test_of_a_solution(self):
        solution = Solution(problem_id="p", problem="?", steps=("a", "#### 1,000"))
        assert grade(solution, "1000")
        told = Solution(problem_id="p", problem="?", steps=("a", "#### 1,000"), answer="7")
        assert grade(told, "7")
        assert not grade(told, "1000")

    def test_a_solution_is_given_its_grade(self):
        solution = Solution(problem_id="p", problem="?", steps=("a", "#### 1,000"), reference="1000")
        assert (with_grade(solution).answer, with_grade(solution).correct) == ("1,000", True)
        assert with_grade(solution, grader="exact").correct is False
        with pytest.raises(DataError, match="no reference"):
            with_grade(Solution(problem_id="p", problem="?", steps=("a",)))

    def test_of_a_reference(self):
        assert grade("18", "She makes 9 * 2 = 18.\n#### 18")


class TestElements:
    @pytest.mark.parametrize(
        ("answer", "reference", "expected"),
        [
            ("(1,2)", "(1, 2)", True),
            ("(0.5+0.5x, 2)", "(0.5x+0.5, 2)", True),
            ("(0.5+0.5x, 2)", "(0.5(x+1), 2)", False),
            ("(1,3)", "(1,2)", False),
            ("(1,2,3)", "(1,2)", False),
            ("(2,1)", "(1,2)", False),
            ("2x", "x+x", True),
            ("3x/4", "6x/8", False),
            ("1,000,000", "1000000", True),
            ("30^\\circ", "30", True),
            ("30^{\\circ}", "30", True),
            ("\\$5", "5", True),
            ("50\\%", "50", True),
            ("\\frac12", "1/2", True),
            ("\\sqrt2", "\\sqrt{2}", True),
            (".5", "0.5", True),
            ("YES", "yes", True),
            ("12 inches", "12", True),
            ("5\\text{ cm}", "5", True),
            ("s('\\137')", "s", False),
            ("x+1", "x", False),
            ("2*(\\frac{1}{3}\\\\)/2", "\\frac{1}{3}\\\\", True),
        ],
    )
    def test_verdict(self, answer, reference, expected):
        assert grade(answer, reference) is expected

    def test_forms(self):
        assert as_in_math(r"\dfrac1{72}") == r"\frac{1}{72}"
        assert as_in_math(r"k = .5") == r"\frac{1}{2}"
        assert as_in_math(r"\frac") == r"\frac"
        assert as_in_math("-3/4") == r"\frac{-3}{4}"
        assert as_in_math(r"5\text{ a}\text{ b}") == r"5\text{ a}\text{ b}"
        assert as_in_prm800k("7 3/4") == "7+3/4"
        assert as_in_prm800k("3.00000000001") == "3"
        assert as_in_prm800k("1e400") == "1e400"


HOSTILE = [
    "(" * 100_000 + "1" + ")" * 100_000,
    "(" * 400 + "x" + ")" * 400,
    "9^9^9^9^9",
    "{" * 900,
    "\\frac" * 180,
    "\\frac{" * 160,  # pylatexenc needs twice the time for each
    "\\sqrt{" * 150,
    "1," * 450,
    "x\x00",
    "-" * 900 + "x",
    "\\boxed{" * 30_000,
]


@pytest.mark.parametrize("name", GRADERS)
@pytest.mark.parametrize("answer", HOSTILE, ids=lambda text: text[:8])
def test_hostile_answers_are_wrong_and_cheap(name, answer, monkeypatch):
    monkeypatch.setattr(graders, "SECONDS", 0.3)
    began = time.monotonic()
    assert not grade(answer, "x+1", grader=name)
    assert time.monotonic() - began < 20


class TestLimits:
    """Computer algebra that would not end is ended, and the next question is answered."""

    @pytest.fixture
    def worker(self):
        worker = Worker()
        yield worker
        worker.close()

    def test_one_endless_operation(self, worker):
        before = time.monotonic()
        assert worker.ask("zero", "9**9**9**9", "", seconds=0.3) is None
        assert time.monotonic() - before < 60
        assert worker.ask("zero", "x - x", "", seconds=5.0) is True
        assert worker.ask("zero", "x - 1", "", seconds=5.0) is False

    def test_too_much_memory(self, worker):
        assert not worker.ask("zero", "(10**3000000000)", "", seconds=0.5)
        assert worker.ask("zero", "1 - 1", "", seconds=5.0) is True

    def test_what_cannot_be_read(self, worker):
        assert worker.ask("zero", "(((", "", seconds=5.0) is False
        assert worker.ask("zero", "\u00e9\ud835", "", seconds=5.0) is False

    def test_not_decided_is_wrong(self, monkeypatch):
        monkeypatch.setattr(graders, "_asked", lambda *question: None)
        assert graded("x+1", "1+x") == (False, "x+1", "not decided")
        assert graded("(x+1,0)", "(1+x,y)") == (False, "(x+1,0)", "different")

    def test_a_fork_has_a_process_of_its_own(self):
        code = """
import os
from surpass.reasoning.limited import WORKER
assert WORKER.ask("zero", "x - x", "", seconds=9.0) is True
child = os.fork()
if child == 0:
    os._exit(7 if WORKER.ask("zero", "y - y", "", seconds=9.0) is True else 1)
assert WORKER.ask("zero", "x - 1", "", seconds=9.0) is False
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
        )
        assert (done.stdout, done.stderr) == ("7\n", "")


def test_what_is_not_installed_is_explained():
    with pytest.raises(MissingExtraError, match=r"pip install 'surpass\[math\]'"):
        require("no_such_package", "no-such-package")


def test_importing_graders_is_cheap():
    code = "import sys, surpass.reasoning.graders; print('sympy' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_page_lists_where_graders_differ():
    page = (Path(__file__).parents[2] / "docs" / "reasoning-data.md").read_text(encoding="utf-8")
    table = page.partition("<!-- graders -->")[2].partition("<!-- /graders -->")[0]
    words = {True: "right", False: "wrong"}
    expected = [
        f"| `{answer}` | `{reference}` | {words[strict]} | {words[lenient]} |"
        for answer, reference, strict, lenient in GOLDEN
        if strict is not lenient
    ]
    assert table.strip().splitlines()[2:] == expected
