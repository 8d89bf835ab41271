"""Whether a completion says what it should: one function each, and one line in `CHECKERS`.

A checker takes a completion and the right one. It is also asked whether student and supervisor say the same,
so it may not rely on the second to be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

from surpass.calls import find

Checker = Callable[[str, str], bool]

# A minus right behind a digit, a letter or a bracket, or with a space behind it, is no sign: "8-3", "x - 1".
_NUMBER = re.compile(r"(?:(?<![\w)])([-\u2212]))?[$€£]?((?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
_MARK = "####"
_SAN = re.compile(r"(?:\d+\.+\s*)?([NBRQK]?[a-h]?[1-8]?x?[a-h][1-8](?:=?[NBRQ])?|[O0]-[O0](?:-[O0])?)[+#!?]*")


def exact(completion: str, truth: str) -> bool:
    """The same text, apart from white space at both ends."""
    return completion.strip() == truth.strip()


def number(completion: str, truth: str) -> bool:
    """The same final number: that behind ####, else the last one there is (Cobbe et al. 2021, GSM8K).

    Commas between thousands, signs of currencies and a full stop behind it do not count, and 72 equals 72.0.
    A text without a number is equal to none.
    """
    wanted = final_number(truth)
    return wanted is not None and final_number(completion) == wanted


def final_number(text: str) -> Decimal | None:
    """The number that a text ends with, as `number` finds it."""
    _, mark, behind = text.rpartition(_MARK)
    found = _NUMBER.findall(behind if mark else text)
    if not found:
        return None
    minus, digits = found[0] if mark else found[-1]
    value = Decimal(digits.replace(",", ""))
    return -value if minus else value


def move(completion: str, truth: str) -> bool:
    """The same first move in standard algebraic notation; signs of check, mate and praise do not count."""
    wanted = first_move(truth)
    return wanted is not None and first_move(completion) == wanted


def first_move(text: str) -> str | None:
    """The move that a text begins with, without signs and a number before it; None where there is no move."""
    found = _SAN.match(text.strip())
    if found is None or text.strip()[found.end() : found.end() + 1].strip():
        return None
    return found[1].replace("0", "O").replace("=", "")


CHECKERS: dict[str, Checker] = {
    "exact": exact,
    "move": move,
    "number": number,
}


def find_checker(text: str) -> Checker:
    """The checker that a text names, or `module:function` of somebody else's.

    Raises:
        ConfigError: There is none, or it has no such setting.
    """
    return find(text, CHECKERS, "checker")


def same_answer(task: object) -> Checker:
    """Whether two completions of a task's prompts say the same, by its `checked_by`; equal ones do."""
    check = find_checker(getattr(task, "checked_by", "exact"))
    return lambda first, second: first == second or check(first, second)
