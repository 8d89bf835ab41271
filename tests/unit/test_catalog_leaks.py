"""The truth never reaches a text: which candidate is right changes labels, and nothing else.

Elsewhere, OpenBookQA gave itself away: the right answer was written as its letter, a wrong one as its text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from reference.catalog import ROWS_BY_TRUTH
from surpass.data.base import Choice
from surpass.data.catalog import DATA_SETS


def items(name: str, form: int, rows: list[dict]) -> list:
    return [item for row in rows for item in DATA_SETS[name].forms[form].items(row)]


def without_labels(read: Callable[[dict], list], made: tuple[Callable[[int], list[dict]], int]) -> list[list]:
    """For each truth that the rows may have, all items but for their labels, in order of their texts."""
    make, num_truths = made
    return [
        sorted(item._replace(label=0) for row in make(truth) for item in read(row))
        for truth in range(num_truths)
    ]


CHOICES = [(name, form) for name, form in ROWS_BY_TRUTH if DATA_SETS[name].kind == "choice"]


def test_every_form_of_a_choice_is_here():
    known = {
        (name, place)
        for name, data_set in DATA_SETS.items()
        if data_set.kind == "choice"
        for place in range(len(data_set.forms))
    }
    assert set(CHOICES) == known


@pytest.mark.parametrize(("name", "form"), CHOICES)
def test_another_truth_changes_labels_only(name, form):
    made = ROWS_BY_TRUTH[name, form]
    unlabelled = without_labels(DATA_SETS[name].forms[form].items, made)
    assert all(of_truth == unlabelled[0] for of_truth in unlabelled)
    labelled = [sorted(items(name, form, made[0](truth))) for truth in range(made[1])]
    assert all(one != other for place, one in enumerate(labelled) for other in labelled[:place])


@pytest.mark.parametrize(("name", "form"), CHOICES)
def test_candidates_of_a_question_differ_only_at_the_end(name, form):
    make, num_truths = ROWS_BY_TRUTH[name, form]
    by_question = defaultdict(list)
    for item in items(name, form, make(num_truths - 1)):
        if item.question:
            by_question[item.question].append(item)
    for question, asked in by_question.items():
        assert len({item.group for item in asked}) == 1
        if name == "ethics_utilitarianism":
            one, other = (item.text for item in asked)
            first, second = (line.partition(": ")[2] for line in one.split("\n"))
            assert other == f"First: {second}\nSecond: {first}"
            continue
        titles = {item.text.removeprefix(f"{question}\n").partition(": ")[0] for item in asked}
        assert titles in ({"Proposed answer"}, {"Proposed continuation"}, {"Proposed way"})
        assert all(item.text.startswith(f"{question}\n") for item in asked)


@pytest.mark.parametrize(("name", "form"), CHOICES)
def test_no_text_names_a_class_or_a_letter(name, form):
    make, num_truths = ROWS_BY_TRUTH[name, form]
    for truth in range(num_truths):
        for item in items(name, form, make(truth)):
            said = item.text.rpartition(": ")[2]
            assert said not in {"A", "B", "C", "D", "0", "1", "2", "3", *DATA_SETS[name].classes}


def test_the_known_leak_would_be_found():
    """A form that writes the right answer as its letter is caught by what every form is put through above."""

    def leaking(row: dict) -> list[Choice]:
        choices, right = row["choices"], row["answerKey"]
        said = [
            letter if letter == right else text
            for letter, text in zip(choices["label"], choices["text"], strict=True)
        ]
        return [Choice(f"{row['question_stem']} {text}", int(text == right), "") for text in said]

    assert len({tuple(of_truth) for of_truth in without_labels(leaking, ROWS_BY_TRUTH["openbookqa", 0])}) == 3


@pytest.mark.parametrize("name", ["hh", "shp", "ultrafeedback"])
@pytest.mark.parametrize("form", [0, 1])
def test_another_preference_exchanges_the_completions(name, form):
    if (name, form) not in ROWS_BY_TRUTH:
        assert form == len(DATA_SETS[name].forms)
        return
    make, num_truths = ROWS_BY_TRUTH[name, form]
    one, other = (items(name, form, make(truth)) for truth in range(num_truths))
    assert [pair._replace(chosen=pair.rejected, rejected=pair.chosen) for pair in one] == other
    assert one != other
