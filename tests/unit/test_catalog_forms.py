"""Rows of each hub schema and each published file give exactly the items that they should, or say why not."""

from __future__ import annotations

import pytest

from reference.catalog_cases import CASES
from surpass.data.base import Completion, Pair
from surpass.data.catalog import DATA_SETS
from surpass.errors import DataError


def items_of(name: str, row: dict) -> list:
    """As the loader does it: the first form whose columns are all there."""
    form = next(form for form in DATA_SETS[name].forms if all(column in row for column in form.columns))
    return form.items(row)


@pytest.mark.parametrize(("name", "row", "expected"), CASES.values(), ids=CASES)
def test_rows_of_every_schema(name, row, expected):
    assert items_of(name, row) == expected


def test_every_form_has_a_case():
    tried = {
        (name, next(form.columns for form in DATA_SETS[name].forms if set(form.columns) <= set(row)))
        for name, row, _ in CASES.values()
    }
    assert tried == {(name, form.columns) for name, known in DATA_SETS.items() for form in known.forms}


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] != "hh"])
def test_a_form_reads_nothing_but_its_columns_and_the_source(case):
    """What a form does not name may be missing; HellaSwag's source_id alone is read where it is there."""
    name, row, expected = CASES[case]
    columns = next(form.columns for form in DATA_SETS[name].forms if set(form.columns) <= set(row))
    bare = {column: row[column] for column in (*columns, "source_id") if column in row}
    if name == "ultrafeedback" and "chosen" in row:
        bare["prompt"] = row["prompt"]
    assert items_of(name, bare) == expected


BAD = [
    ("boolq", {"question": "q", "passage": "p", "answer": "maybe"}, "answer is 'maybe'"),
    ("cola", {"sentence": "s", "label": -1}, "label is -1 and has to be one of 0, 1; use a split with known"),
    ("sst2", {"sentence": "s", "label": ""}, "label is '' and has to be one of 0, 1"),
    ("sst2", {"sentence": "s", "label": 0.5}, "label is 0.5"),
    ("sst2", {"sentence": 7, "label": 1}, "sentence is 7; it has to be a text"),
    ("anli_r2", {"premise": "p", "hypothesis": "h", "label": -1}, "label is -1"),
    ("anli_r2", {"context": "p", "hypothesis": "h", "label": "-"}, "label is '-'.*0, 1, 2, e, n, c"),
    ("wic", {"word": "w", "sentence1": "a", "sentence2": "b", "label": -1}, "one of false, true, 0, 1"),
    ("paws", {"sentence1": "a", "sentence2": "b", "label": "same"}, "label is 'same'"),
    ("hellaswag", {"ctx": "c", "endings": ["a", "b"], "label": ""}, "label is '' and has to be one of 0, 1;"),
    ("hellaswag", {"ctx": "c", "endings": ["a", "b"], "label": "2"}, "label is '2'"),
    ("hellaswag", {"ctx": "c", "endings": "a b", "label": "0"}, "endings is 'a b'; it has to be a list"),
    ("hellaswag", {"ctx": "c", "endings": [], "label": "0"}, "endings is"),
    ("hellaswag", {"premise": "p", "hypothesis": "h", "gold_label": "-"}, "one of not-entailed, entailed"),
    ("piqa", {"goal": "g", "sol1": "a", "sol2": "b", "label": -1}, "label is -1"),
    (
        "cosmos_qa",
        {"context": "c", "question": "q", **{f"answer{n}": str(n) for n in range(4)}, "label": -1},
        "label is -1 and has to be one of 0, 1, 2, 3",
    ),
    (
        "social_iqa",
        {"context": "c", "question": "q", "answerA": "a", "answerB": "b", "answerC": "c", "label": "0"},
        "label is '0' and has to be one of 1, 2, 3",
    ),
    (
        "social_iqa",
        {"context": "c", "question": "q", "answerA": "a", "answerB": "b", "answerC": "c", "correct": ""},
        "correct is '' and has to be one of A, B, C",
    ),
    (
        "openbookqa",
        {"question_stem": "s", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "E"},
        "answerKey is 'E' and has to be one of A, B",
    ),
    (
        "openbookqa",
        {"question_stem": "s", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"},
        "choices has 2 texts and 1 labels",
    ),
    ("openbookqa", {"question_stem": "s", "choices": {"text": ["a"]}, "answerKey": "A"}, "text and label"),
    ("openbookqa", {"question_stem": "s", "choices": ["a"], "answerKey": "A"}, "a choice is 'a'; it has to"),
    ("openbookqa", {"question": "s", "answerKey": "A"}, "question is 's'; it has to have stem and choices"),
    (
        "quail",
        {"context": "c", "question": "q", "answers": ["a", "b"], "correct_answer_id": 4},
        "correct_answer_id is 4 and has to be one of 0, 1",
    ),
    (
        "dream",
        {"dialogue": ["a"], "dialogue_id": "1", "question": "q", "choice": ["x", "y"], "answer": "z"},
        "answer is 'z' and has to be one of x, y",
    ),
    ("dream", {"0": ["a"], "1": {}, "2": "1"}, "column 1 is {}; it has to be a list"),
    ("dream", {"0": ["a"], "1": ["q"], "2": "1"}, "a question is 'q'; it has to have question and choice"),
    ("mctaco", {"sentence": "s", "question": "q", "answer": "a", "label": "?"}, "one of 0, 1, no, yes"),
    ("multirc", {"paragraph": "p", "question": "q", "answer": "a", "label": -1}, "label is -1"),
    (
        "multirc",
        {"passage": {"text": "p", "questions": [{"question": "q", "answers": [{"text": "a"}]}]}},
        "an answer is {'text': 'a'}; it has to have text and label",
    ),
    ("multirc", {"passage": "p"}, "passage is 'p'; it has to have text and questions"),
    ("ethics_justice", {"scenario": "s", "label": "2"}, "label is '2'"),
    ("ethics_virtue", {"scenario": "Jo gave all away.", "label": "1"}, r"with \[SEP\] between them"),
    ("ethics_utilitarianism", {"baseline": "a ", "less_pleasant": "a"}, "both scenarios are 'a'"),
    (
        "amazon_polarity",
        {"class": "3", "title": "t", "content": "c"},
        "class is '3' and has to be one of 1, 2",
    ),
    ("hh", {"chosen": "a", "rejected": "b"}, "have to begin with the same turns"),
    (
        "hh",
        {"chosen": "Human: a\n\nAssistant: x", "rejected": "Human: b\n\nAssistant: y"},
        "have to begin with the same turns",
    ),
    (
        "shp",
        {"post_id": "x", "history": "h", "human_ref_A": "a", "human_ref_B": "b", "labels": 2},
        "labels is 2 and has to be one of 0, 1",
    ),
    (
        "ultrafeedback",
        {
            "prompt": "p",
            "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "o"}, {"role": "assistant", "content": "b"}],
        },
        "differ before their last message",
    ),
    (
        "ultrafeedback",
        {"prompt": "p", "chosen": [{"role": "user", "content": "p"}], "rejected": [{"role": "x"}]},
        "chosen does not end with a message of the assistant",
    ),
    ("ultrafeedback", {"prompt": "p", "chosen": [], "rejected": []}, "chosen does not end with a message"),
    ("ultrafeedback", {"prompt": "p", "chosen": [{"role": "user"}], "rejected": []}, "role and content"),
    (
        "ultrafeedback",
        {"prompt": "p", "chosen": [{"role": "cat", "content": "m"}], "rejected": []},
        "is by 'cat'; it has to be by one of user",
    ),
    ("ultrafeedback", {"prompt": "p", "chosen": 3, "rejected": "b"}, "chosen is 3; it has to be a list"),
    ("gsm8k", {"question": "q", "answer": "It is 3."}, "answer has no final number"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BAD)
def test_what_is_wrong_with_a_row_is_said(name, row, reason):
    with pytest.raises(DataError, match=reason):
        items_of(name, row)


def test_labels_may_be_written_in_any_way_that_means_the_same():
    for label in (1, 1.0, "1", " 1 "):
        assert items_of("sst2", {"sentence": "s", "label": label})[0].label == 1
    for label in (True, "True", "true", 1, "1"):
        assert (
            items_of("wic", {"word": "w", "sentence1": "a", "sentence2": "b", "label": label})[0].label == 1
        )


class TestOddCandidates:
    ROW = CASES["sciq"][1]

    def test_a_wrong_one_that_says_the_right_thing_is_left_out(self):
        items = items_of("sciq", self.ROW | {"distractor2": " gravity "})
        assert [(item.text.rpartition(": ")[2], item.label) for item in items] == [
            ("gravity", 1),
            ("wind", 0),
            ("fish", 0),
        ]

    def test_also_where_it_comes_before_the_right_one(self):
        row = {"ctx": "c", "endings": ["b", "a", "b"], "label": 2}
        assert [(item.text[-1], item.label) for item in items_of("hellaswag", row)] == [("a", 0), ("b", 1)]

    def test_a_wrong_one_counts_once(self):
        items = items_of("sciq", self.ROW | {"distractor2": "wind", "distractor3": "wind"})
        assert [item.text.rpartition(": ")[2] for item in items] == ["gravity", "wind"]

    def test_an_empty_one_gives_an_empty_text(self):
        items = items_of("sciq", self.ROW | {"distractor2": "  "})
        assert [bool(item.text) for item in items] == [True, True, False, True]

    def test_no_question_no_text(self):
        assert {item.text for item in items_of("sciq", self.ROW | {"question": ""})} == {""}
        assert {item.text for item in items_of("sciq_support", self.ROW | {"support": " "})} == {""}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("sst2", {"sentence": " ", "label": 1}),
        ("boolq", {"question": "", "passage": "p", "answer": True}),
        ("boolq", {"question": "?", "passage": "p", "answer": True}),
        ("boolq", {"question": "q", "passage": " ", "answer": True}),
        ("wic", {"word": "w", "sentence1": "", "sentence2": "b", "label": 0}),
        ("ethics_deontology", {"scenario": "s", "excuse": "", "label": 0}),
        ("ethics_virtue", {"scenario": "s [SEP] ", "label": 0}),
        ("ethics_utilitarianism", {"baseline": "", "less_pleasant": ""}),
        ("amazon_polarity", {"title": "t", "content": "", "label": 0}),
        ("mctaco", {"sentence": "s", "question": "q", "answer": "", "label": "no"}),
    ],
)
def test_a_text_that_lacks_a_part_is_empty(name, row):
    assert {item.text for item in items_of(name, row)} == {""}


def test_empty_completions_stay_empty():
    row = {"chosen": "Human: a\n\nAssistant: x", "rejected": "Human: a\n\nAssistant: "}
    assert items_of("hh", row) == [Pair("Human: a\n\nAssistant:", " x", "", "Human: a")]
    assert items_of("gsm8k", {"question": "q", "answer": ""}) == [Completion("Question: q\nAnswer:", "", "q")]
    assert items_of("gsm8k", {"question": "", "answer": "#### 1"})[0].prompt == ""
