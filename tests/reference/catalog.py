"""Rows of every schema, one for every truth: equal but for what says which candidate is right."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import permutations
from typing import Any

Row = dict[str, Any]
Made = tuple[Callable[[int], list[Row]], int]


def told_by(column: str, values: list[Any], row: Row) -> Made:
    """Rows where a column alone says the truth."""
    return lambda truth: [{**copy.deepcopy(row), column: values[truth]}], len(values)


def moved(columns: tuple[str, ...], words: tuple[str, ...], row: Row) -> Made:
    """Rows where a candidate is right by the column that it stands in: the first one."""

    def make(truth: int) -> list[Row]:
        others = [word for place, word in enumerate(words) if place != truth]
        return [{**row, **dict(zip(columns, [words[truth], *others], strict=True))}]

    return make, len(words)


def one_row_each(
    column: str, wrong: Any, right: Any, candidate: str, words: tuple[str, ...], row: Row
) -> Made:
    """One row for each candidate, with a truth of its own."""

    def make(truth: int) -> list[Row]:
        return [
            {**row, candidate: word, column: right if place == truth else wrong}
            for place, word in enumerate(words)
        ]

    return make, len(words)


def nested_passage(truth: int) -> list[Row]:
    answers = [{"text": word, "label": int(place == truth)} for place, word in enumerate(WORDS)]
    return [{"passage": {"text": TEXT, "questions": [{"question": "What is it?", "answers": answers}]}}]


def nested_dialogue(truth: int) -> list[Row]:
    return [
        {
            "0": [TEXT],
            "1": [{"question": "What is it?", "choice": list(WORDS), "answer": WORDS[truth]}],
            "2": "d",
        }
    ]


def message(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": TEXT}, {"role": "assistant", "content": text}]


TEXT = "Some text to read."
WORDS = ("granite", "willow", "copper")
FOUR = (*WORDS, "velvet")
LETTERS = ["A", "B", "C"]
READ = {"context": TEXT, "question": "What is it?"}
RECAST = {"premise": TEXT, "idx": 0}
HUB_CHOICES = {"text": list(WORDS), "label": LETTERS}
NESTED = {
    "stem": "What is it?",
    "choices": [{"text": word, "label": LETTERS[n]} for n, word in enumerate(WORDS)],
}
SOCIAL = READ | dict(zip(("answerA", "answerB", "answerC"), WORDS, strict=True))
SCIENCE = ("correct_answer", "distractor1", "distractor2", "distractor3")
RECASTS = one_row_each("gold_label", "not-entailed", "entailed", "hypothesis", WORDS, RECAST)
ANSWERS = {"question": "What is it?"}

ROWS_BY_TRUTH: dict[tuple[str, int], Made] = {
    ("boolq", 0): told_by("answer", [False, True], {"passage": TEXT, "question": "is it"}),
    ("boolq", 1): told_by("label", [0, 1], {"passage": f"T -- {TEXT}", "question": "is it"}),
    ("boolq", 2): told_by("label", ["False", "True"], {"sentence": f"question: is it\npassage: T -- {TEXT}"}),
    ("cosmos_qa", 0): told_by(
        "label", [0, 1, 2, 3], READ | {f"answer{n}": word for n, word in enumerate(FOUR)}
    ),
    ("cosmos_qa", 1): RECASTS,
    ("dream", 0): told_by(
        "answer", list(WORDS), READ | {"dialogue": [TEXT], "dialogue_id": "d", "choice": list(WORDS)}
    ),
    ("dream", 1): (nested_dialogue, 3),
    ("ethics_justice", 0): told_by("label", ["0", "1"], {"scenario": TEXT}),
    ("ethics_deontology", 0): told_by("label", ["0", "1"], {"scenario": TEXT, "excuse": "But no."}),
    ("ethics_virtue", 0): told_by("label", [0, 1], {"scenario": f"{TEXT} [SEP] kind"}),
    ("ethics_utilitarianism", 0): moved(("baseline", "less_pleasant"), ("It rains.", "It snows."), {}),
    ("anli_r2", 0): told_by("label", [0, 1], {"premise": TEXT, "hypothesis": "It is."}),
    ("anli_r2", 1): told_by("label", ["e", "c"], {"context": TEXT, "hypothesis": "It is."}),
    ("cola", 0): (lambda truth: [{"sentence": TEXT, "label": truth, "mark": "" if truth else "*"}], 2),
    ("sst2", 0): told_by("label", [0, 1], {"sentence": TEXT}),
    ("hellaswag", 0): told_by("label", ["0", "1", "2"], {"ctx": TEXT, "endings": list(WORDS)}),
    ("hellaswag", 1): RECASTS,
    ("mctaco", 0): one_row_each("label", "no", "yes", "answer", WORDS, ANSWERS | {"sentence": TEXT}),
    ("openbookqa", 0): told_by("answerKey", LETTERS, {"question_stem": TEXT, "choices": HUB_CHOICES}),
    ("openbookqa", 1): told_by("answerKey", LETTERS, {"question": NESTED}),
    ("paws", 0): told_by("label", [0, 1], {"sentence1": "It is so.", "sentence2": "So it is."}),
    ("quail", 0): told_by("correct_answer_id", [0, 1, 2], READ | {"answers": list(WORDS)}),
    ("piqa", 0): told_by("label", [0, 1], {"goal": TEXT, "sol1": "granite", "sol2": "willow"}),
    ("piqa", 1): RECASTS,
    ("quartz", 0): told_by("answerKey", LETTERS, ANSWERS | {"para": TEXT, "choices": HUB_CHOICES}),
    ("quartz", 1): told_by("answerKey", LETTERS, {"para": TEXT, "question": NESTED}),
    ("sciq", 0): moved(SCIENCE, FOUR, ANSWERS),
    ("sciq_support", 0): moved(SCIENCE, FOUR, ANSWERS | {"support": TEXT}),
    ("social_iqa", 0): told_by("label", ["1", "2", "3"], SOCIAL),
    ("social_iqa", 1): told_by("correct", LETTERS, SOCIAL),
    ("social_iqa", 2): RECASTS,
    ("multirc", 0): one_row_each("label", 0, 1, "answer", WORDS, ANSWERS | {"paragraph": TEXT}),
    ("multirc", 1): (nested_passage, 3),
    ("wic", 0): told_by("label", [False, True], {"word": "it", "sentence1": TEXT, "sentence2": "It is."}),
    ("twitter_sentiment", 0): told_by("label", [0, 1], {"text": TEXT}),
    ("amazon_polarity", 0): told_by("label", [0, 1], {"title": "T", "content": TEXT}),
    ("amazon_polarity", 1): told_by("class", ["1", "2"], {"title": "T", "content": TEXT}),
    ("hh", 0): (
        lambda truth: [
            dict(zip(("chosen", "rejected"), order, strict=True))
            for place, order in enumerate(
                permutations([f"Human: a\n\nAssistant: {word}" for word in FOUR[:2]])
            )
            if place == truth
        ],
        2,
    ),
    ("shp", 0): told_by(
        "labels", [0, 1], {"post_id": "p", "history": TEXT, "human_ref_A": "granite", "human_ref_B": "willow"}
    ),
    ("ultrafeedback", 0): (
        lambda truth: [
            {"prompt": TEXT, "chosen": message(FOUR[truth]), "rejected": message(FOUR[1 - truth])}
        ],
        2,
    ),
    ("ultrafeedback", 1): moved(("chosen_response", "rejected_response"), FOUR[:2], {"instruction": TEXT}),
}
