r"""Answers brought into one written form, as the data of MATH need it: text in, text out.

`as_in_math` is the form in which MATH compares answers, `as_in_prm800k` the form in which PRM800K goes on to
computer algebra where that was not enough.

Source:
    Hendrycks et al. 2021 (MATH) and Lightman et al. 2023, the grader that was released with PRM800K. Differs:
    written anew from a description of what they do; held to the same verdicts by tests.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from surpass.reasoning.limited import WORKER

_TEXT = re.compile(r"\\text\{(.+?)\}")
_THOUSANDS = re.compile(r"([0-9]),([0-9]{3})(?![0-9])")
_UNITS = (
    "degree", "cm", "centimeter", "meter", "mile", "second", "minute", "hour", "day", "week", "month", "year",
    "foot", "feet", "inch", "yard",
)  # fmt: skip
# In this order, one after the other: a "centimeter" is a "centi" once meters are gone, as it always was.
_UNIT = [re.compile(rf"{unit}(?:es)?s? *(?:\^[0-9]+)?") for unit in _UNITS]
_AMOUNTS = {"million": "*10^6", "billion": "*10^9", "trillion": "*10^12"}
_DEGREES = re.compile(r"\^ *\\circ")
_SIGNS = {"√": "sqrt", "π": "pi", "∞": "inf", "\u222a": "U", "·": "*", "\u00d7": "*"}


def as_in_math(answer: str) -> str:
    r"""The form in which MATH compares answers.

    Gone are an enclosing \text{}, line breaks, \!, \left and \right, degrees, \$, \%, units in \text{ } at
    the right, a name of at most two characters before =, and spaces; \tfrac and \dfrac are \frac, arguments
    of \frac and \sqrt get their braces, a/b of whole numbers and 0.5 are fractions, and .5 is 0.5.
    """
    text = answer.strip()
    enclosed = re.search(r"^\\text\{(.+?)\}$", text)
    text = enclosed[1].strip() if enclosed else text
    for old, new in (
        ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""),
        ("\\right", ""), ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""),
    ):  # fmt: skip
        text = text.replace(old, new)
    head, *units = text.split("\\text{ ")
    if len(units) > 1:  # not a unit at the right: the text as it was is its own form
        return enclosed[1].strip() if enclosed else answer.strip()
    text = head.replace("\\%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = f"0{text}" if text[0] == "." else text
    sides = text.split("=")
    text = sides[1] if len(sides) == 2 and len(sides[0]) <= 2 else text
    text = re.sub(r"\\sqrt(?=[^{])(.)", r"\\sqrt{\1}", text)
    text = _braced_fractions(text.replace(" ", ""))
    if text == "0.5":
        return "\\frac{1}{2}"
    whole = re.fullmatch(r"(-?[0-9]+)/(-?[0-9]+)", text)
    if whole and text == f"{int(whole[1])}/{int(whole[2])}":
        return f"\\frac{{{whole[1]}}}{{{whole[2]}}}"
    return text


def _braced_fractions(text: str) -> str:
    r"""\frac12 and \frac1{72} with their braces; the text as it is where a \frac has too little behind it."""
    first, *rest = text.split("\\frac")
    pieces = [first]
    for piece in rest:
        if piece[:1] == "{":
            pieces.append(f"\\frac{piece}")
        elif len(piece) < 2:
            return text
        elif piece[1] == "{":
            pieces.append(f"\\frac{{{piece[0]}}}{piece[1:]}")
        else:
            pieces.append(f"\\frac{{{piece[0]}}}{{{piece[1]}}}{piece[2:]}")
    return "".join(pieces)


def as_in_prm800k(answer: str, *, seconds: float = 5.0) -> str | None:
    r"""The form in which PRM800K's grader compares answers that MATH's form leaves apart.

    Gone are an enclosing \text{}, dollars, per cent, 16 words of units, degrees, outer braces, spaces and
    upper case; "or" and "and" are commas, amounts are powers of ten, LaTeX is plain text as far as pylatexenc
    reads it, 7 3/4 is 7+3/4, and a number that is whole up to 1e-7 is written as one.

    Args:
        answer: An answer.
        seconds: Processor time for reading its LaTeX.

    Returns:
        The form; None where the time was not enough.
    """
    enclosed = re.search(r"^\\text\{(.+?)\}$", answer)
    text = enclosed[1] if enclosed else answer
    text = text.replace("\\%", "%").replace("\\$", "$").replace("$", "").replace("%", "")
    text = text.replace(" or ", " , ").replace(" and ", " , ")
    for word, power in _AMOUNTS.items():
        text = text.replace(word, power)
    for unit in _UNIT:
        text = unit.sub("", text)
    text = _DEGREES.sub("", text)
    if text[:1] == "{" and text[-1:] == "}":
        text = text[1:-1]
    text = re.sub(r",\\! *", "", text)
    text = _whole(text) or text
    if "\\" in text:
        plain = _plain(text, seconds)
        if plain is None:
            return None
        text = plain
    text = re.sub("- *", "-", text)
    text = re.sub(r"([0-9]) +([0-9])", r"\1+\2", text)
    text = re.sub("[ {}]", "", text).lower()
    return _whole(without_thousands(text)) or text


def without_thousands(text: str) -> str:
    """Without the commas in 1,000,000; those between the numbers of a list stay."""
    while (shorter := _THOUSANDS.sub(r"\1\2", text)) != text:
        text = shorter
    return text


def is_whole(text: str) -> bool:
    """Whether a text is a number within 1e-7 of a whole one, with commas between thousands or without."""
    return _whole(without_thousands(text)) is not None


def _whole(text: str) -> str | None:
    """A number that is whole up to 1e-7, written as one; None for every other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or abs(value - round(value)) > 1e-7:
        return None
    return str(round(value))


@lru_cache(maxsize=65536)
def _plain(latex: str, seconds: float) -> str | None:
    latex = latex.replace("\\tfrac", "\\frac").replace("\\dfrac", "\\frac").replace("\\frac", " \\frac")
    text = WORKER.ask("plain", latex, "", seconds=seconds)
    if not isinstance(text, str):  # what cannot be read stays LaTeX
        return None if text is None else latex
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    return text.strip()
