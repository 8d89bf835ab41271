from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from surpass.errors import ConfigError
from surpass.tasks.checkers import CHECKERS, final_number, find_checker, first_move, same_answer

SAME = {
    "exact": [("yes", " yes"), ("a  b", "a  b\n"), ("", " ")],
    "number": [
        ("So 5 + 67 = 72.\n#### 72", "#### 72"),
        ("72", "#### 72"),
        ("The answer is $1,234.50.", "#### 1234.5"),
        ("#### 1,000,000", "#### 1000000"),
        ("#### -5", "it falls to -5"),
        ("#### \u22125 degrees", "-5"),
        ("it costs -$3", "#### -3"),
        ("8-3=5", "#### 5"),
        ("between 3-5", "#### 5"),
        ("10 - 3", "#### 3"),
        ("0.50", "#### .5"),
        ("72%", "#### 72"),
        ("12 apples. #### 12 #### 13", "13"),
        ("1,2,3", "3"),
        ("-0", "0"),
    ],
    "move": [
        (" Qxc1+", " Qxc1"),
        ("Qf5!?", " Qf5"),
        ("e8=Q#", "e8Q"),
        ("0-0-0", "O-O-O+"),
        ("22... Qxc1+ 23. Kxc1", " Qxc1+"),
        ("1.e4", "e4"),
        ("R1xa3 and wins", "R1xa3"),
    ],
}
DIFFERENT = {
    "exact": [("yes", "Yes"), ("a b", "a  b"), ("", "a")],
    "number": [
        ("#### 72", "#### 73"),
        ("", "#### 1"),
        ("no number", "no number at all"),
        ("#### ", "#### 5"),
        ("5 and then #### nothing", "5"),
        ("-5", "5"),
        ("1.5", "15"),
    ],
    "move": [
        ("Qxc1", "Rxc1"),
        ("O-O", "O-O-O"),
        ("Nbd7", "Nd7"),
        ("e8=Q", "e8=N"),
        ("", "e4"),
        ("resigns", "resigns too"),
        ("Qxc1xx", "Qxc1"),
        ("take on c1", "Qxc1"),
    ],
}
ROWS = [(name, pair) for name in CHECKERS for pair in SAME[name]]
OTHER_ROWS = [(name, pair) for name in CHECKERS for pair in DIFFERENT[name]]


@pytest.mark.parametrize(("name", "pair"), ROWS)
def test_says_the_same(name, pair):
    check = find_checker(name)
    assert check(*pair) is True
    assert check(*pair[::-1]) is True


@pytest.mark.parametrize(("name", "pair"), OTHER_ROWS)
def test_says_something_else(name, pair):
    check = find_checker(name)
    assert check(*pair) is False
    assert check(*pair[::-1]) is False


@pytest.mark.parametrize("digits", [1, 30, 400])
def test_numbers_are_compared_exactly(digits):
    number = int("9" * digits)
    assert final_number(f"{number:,}") == Decimal(number)
    assert not CHECKERS["number"](str(number), str(number - 1))


def test_first_moves():
    assert first_move(" Qxc1+") == "Qxc1"
    assert first_move("0-0") == "O-O"
    assert first_move("exd8=Q+") == "exd8Q"
    assert first_move("12. ") is None
    assert first_move("i9") is None


def test_equal_texts_always_say_the_same():
    same = same_answer(SimpleNamespace(checked_by="number"))
    assert same("I do not know", "I do not know")
    assert not same("I do not know", "I don't")
    assert same_answer(object())("a ", "a")


def test_a_checker_of_somebody_elses_and_none(tmp_path, monkeypatch):
    (tmp_path / "their_checks.py").write_text(
        "def shorter(completion, truth, *, by=0):\n    return len(completion) + by <= len(truth)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert find_checker("their_checks:shorter(by=1)")("a", "ab")
    assert not find_checker("their_checks:shorter(by=2)")("a", "ab")
    with pytest.raises(ConfigError, match="no checker 'nunber'; did you mean number"):
        find_checker("nunber")
