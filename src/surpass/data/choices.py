"""What the forms of all choice data sets share: labels and texts of a row, and a question's candidates.

A text is its content, then what has to be judged, a line each:

    Passage about glaciers ...
    Question: What moves a glacier?
    Proposed answer: gravity

The candidate is always last, so that the texts of one question differ in nothing else. Whatever says
which candidate is right goes into labels alone. A text that lacks a part is "", which the loader drops and
counts: a question without words, or a candidate that is only spaces, cannot be judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surpass.data.base import Choice, Row
from surpass.errors import DataError

ASK_ANSWER = "Is the proposed answer right? Answer with 1 if it is, else with 0."

PARQUET = "refs/convert/parquet"
"""The hub's branch of Parquet files, for repositories that have only a loading script."""

BINARY = {"0": 0, "1": 1}
RECAST_COLUMNS = ("premise", "hypothesis", "gold_label")
BOOLEAN = {"false": 0, "true": 1, "0": 0, "1": 1}


def label_of(row: Row, column: str, labels: Mapping[str, int] = BINARY) -> int:
    """The class of a row.

    Args:
        row: The row.
        column: Where it says its class: a truth value, a whole number or a word.
        labels: What may stand there, in small letters, and the class that it means.

    Raises:
        DataError: Something else stands there, such as the -1 of a split whose labels are hidden.
    """
    value = row[column]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    written = str(value).strip().lower()
    if written not in labels:
        raise DataError(
            f"{column} is {row[column]!r} and has to be one of {', '.join(labels)}; "
            "use a split with known labels"
        )
    return labels[written]


def text_of(row: Row, column: str) -> str:
    """The text in a column, without spaces around it; "" where there is none.

    Raises:
        DataError: It is no text.
    """
    return trimmed(row[column], column)


def trimmed(value: Any, what: str) -> str:
    """A text without spaces around it; "" for None.

    Raises:
        DataError: It is no text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{what} is {repr(value)[:80]}; it has to be a text")
    return value.strip()


def lines(*parts: str | tuple[str, str]) -> str:
    """Parts of a text, a line each; a pair is a title and what it titles. "" where a part is empty."""
    said = [part if isinstance(part, str) else part[1] for part in parts]
    if not all(said):
        return ""
    return "\n".join(part if isinstance(part, str) else f"{part[0]}: {part[1]}" for part in parts)


def opening(text: str, num: int) -> str:
    """The first words of a text, in small letters: what near-duplicates share."""
    return " ".join(text.lower().split()[:num])


def question_items(
    before: Sequence[str | tuple[str, str]],
    candidates: Sequence[str],
    right: int | None,
    *,
    group: str,
    title: str = "Proposed answer",
) -> list[Choice]:
    """One item for each candidate of a question, in their order.

    A wrong candidate that says the same as the right one or as an earlier one is no further candidate and is
    left out: else one text would be both right and wrong, or count twice.

    Args:
        before: The content and the question.
        candidates: At least one.
        right: The place of the right one; None where it is not among them.
        group: What must stay together.
        title: What a candidate is called.
    """
    question = lines(*before)
    said = {candidates[right]} if right is not None else set()
    items = []
    for place, candidate in enumerate(candidates):
        if place == right or candidate not in said:
            said.add(candidate)
            text = lines(*before, (title, candidate))
            items.append(Choice(text, int(place == right), group, question))
    return items


def place_of(answer: Any, names: Sequence[str], what: str) -> int:
    """The place of an answer among the names of the candidates.

    Raises:
        DataError: It is none of them.
    """
    written = str(answer).strip()
    if written not in names:
        raise DataError(
            f"{what} is {answer!r} and has to be one of {', '.join(names)}; use a split with known answers"
        )
    return list(names).index(written)


def texts_of(values: Any, what: str) -> list[str]:
    """Candidates, without spaces around them.

    Raises:
        DataError: They are no list of texts, or none.
    """
    if not isinstance(values, list) or not values:
        raise DataError(f"{what} is {repr(values)[:80]}; it has to be a list of texts")
    return [trimmed(value, f"{what}[{place}]") for place, value in enumerate(values)]


def fields_of(value: Any, names: Sequence[str], what: str) -> Mapping[str, Any]:
    """A nested value that has all of these fields.

    Raises:
        DataError: It has not.
    """
    if not isinstance(value, Mapping) or not set(names) <= set(value):
        raise DataError(f"{what} is {repr(value)[:80]}; it has to have {' and '.join(names)}")
    return value


def list_of(value: Any, what: str) -> list[Any]:
    """A nested list.

    Raises:
        DataError: It is none.
    """
    if not isinstance(value, list):
        raise DataError(f"{what} is {repr(value)[:80]}; it has to be a list")
    return value


def lettered(choices: Any, answer: Any) -> tuple[list[str], int]:
    """Candidates that have letters, and the place of the right one.

    Args:
        choices: {"text": [...], "label": [...]}, as on the hub, or [{"text": ..., "label": ...}, ...].
        answer: The letter of the right one.

    Raises:
        DataError: Choices of another make, or the answer is none of the letters.
    """
    if isinstance(choices, list):
        each = [fields_of(choice, ("text", "label"), "a choice") for choice in choices]
        texts, letters = ([choice[name] for choice in each] for name in ("text", "label"))
    else:
        both = fields_of(choices, ("text", "label"), "choices")
        texts, letters = both["text"], both["label"]
    texts, letters = texts_of(texts, "choices.text"), texts_of(letters, "choices.label")
    if len(texts) != len(letters):
        raise DataError(f"choices has {len(texts)} texts and {len(letters)} labels; each needs both")
    return texts, place_of(answer, letters, "answerKey")


def recast_items(
    row: Row,
    *,
    title: str,
    premise_title: str = "",
    group_words: int | None = None,
    matched: bool = True,
) -> list[Choice]:
    """The item of a row of the recasts as inference: premise, hypothesis and gold_label.

    The hypothesis is one candidate, and the premise the question (context and question run together).

    Args:
        row: The row.
        title: What a candidate is called.
        premise_title: What the premise is called, if anything.
        group_words: Rows whose premises share so many first words stay together; None: equal premises.
        matched: Whether as many right as wrong candidates of each premise are to be kept. Not where most
            premises have one candidate only.

    Source:
        Chen and Gao 2022, "Curriculum: A Broad-Coverage Benchmark for Linguistic Phenomena in Natural
        Language Understanding".
    """
    premise = text_of(row, "premise")
    before = (premise_title, premise) if premise_title else premise
    text = lines(before, (title, text_of(row, "hypothesis")))
    label = label_of(row, "gold_label", {"not-entailed": 0, "entailed": 1})
    group = premise if group_words is None else opening(premise, group_words)
    return [Choice(text, label, group, lines(before) if matched else "")]
