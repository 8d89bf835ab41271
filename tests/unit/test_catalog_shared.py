"""The published originals: as many rows as their authors say, balanced as they say; no text tells."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

from surpass.data.base import Choice
from surpass.data.catalog import DATA_SETS
from surpass.data.loading import Loaded, find, load

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SURPASS_SHARED_DATA", ROOT / "../shared/data"))
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the folder of published data is not here: set SURPASS_SHARED_DATA"
    ),
]

# Folder, then wrong and right items of train and test. Right ones are as many as there are questions; of
# wrong ones, those that say the same as another candidate are missing (SciQ: 34 of 35,037).
CHOICES = {
    "boolq": ("boolq", (759, 1241), (1237, 2033)),
    "cosmos_qa": ("curriculum_nli", (4674, 4372), (7027, 2726)),
    "dream": ("dream", (12231, 6116), (4082, 2041)),
    "ethics_justice": ("ethics", (9961, 11830), (1350, 1354)),
    "ethics_deontology": ("ethics", (8374, 9790), (1810, 1786)),
    "ethics_virtue": ("ethics", (25830, 2415), (3980, 995)),
    "ethics_utilitarianism": ("ethics", (13738, 13738), (4808, 4808)),
    "anli_r2": ("anli_r2", (666, 334), (666, 334)),
    "cola": ("cola", (2528, 6023), (324, 719)),
    "sst2": ("sst2", (29780, 37569), (428, 444)),
    "hellaswag": ("curriculum_nli", (10000, 10000), (5000, 3518)),
    "mctaco": ("mctaco", (6244, 3198), (2554, 1229)),
    "openbookqa": ("openbookqa", (14868, 4957), (1500, 500)),
    "piqa": ("curriculum_nli", (5000, 5000), (919, 919)),
    "sciq": ("sciq", (35003, 11679), (2991, 1000)),
    "sciq_support": ("sciq", (31413, 10481), (2647, 884)),
    "social_iqa": ("curriculum_nli", (4002, 2001), (3848, 1924)),
    "wic": ("wic", (2714, 2714), (319, 319)),
}


def read(name: str, folder: str) -> Loaded:
    return load(find(DATA_SETS[name], str(DATA / folder)))


def balanced(items: list[Choice]) -> int:
    """How many rows are left with as many right as wrong candidates of each question."""
    labels = defaultdict(list)
    for item in items:
        labels[item.question].append(item.label)
    return sum(2 * min(of_one.count(0), of_one.count(1)) for of_one in labels.values())


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    folder, *expected = CHOICES[name]
    loaded = read(name, folder)
    for role, counts in zip(("train", "test"), expected, strict=True):
        items = loaded.items[role]
        labels = [item.label for item in items]
        assert (labels.count(0), labels.count(1)) == counts
        assert all(item.text and item.group for item in items)
        for item in items:
            if item.question and name != "ethics_utilitarianism":
                assert item.text.startswith(f"{item.question}\nProposed ")
        assert len({bool(item.question) for item in items}) == 1
        if items[0].question:
            assert balanced(items) > 0.65 * 2 * counts[1]
    if name == "sciq_support":
        assert loaded.notes == {"examples with an empty text": 5248}
    else:
        assert loaded.notes == {}


@pytest.mark.parametrize("name", ["ethics_virtue", "sciq", "dream", "mctaco", "openbookqa"])
def test_a_group_has_all_rows_of_its_question(name):
    groups = defaultdict(set)
    for item in read(name, CHOICES[name][0]).items["train"]:
        groups[item.question or item.text.partition("\n")[0]].add(item.group)
    assert {len(of_one) for of_one in groups.values()} == {1}


def test_pairs():
    loaded = read("hh", "hh_rlhf_test")
    pairs = loaded.items["train"]
    assert len(pairs) == 8552 - 11
    assert loaded.notes == {"pairs with an empty completion": 11}
    assert sum(pair.chosen == pair.rejected for pair in pairs) == 36
    for pair in pairs:
        assert pair.prompt.startswith("Human: ")
        assert pair.prompt.endswith("\n\nAssistant:")
        assert pair.prompt.startswith(pair.group)
    # Some answers go on with turns of their own: the models that wrote them made them up.
    completions = [text for pair in pairs for text in (pair.chosen, pair.rejected)]
    assert sum("\n\nAssistant:" in text for text in completions) == 17


def test_completions():
    loaded = read("gsm8k", "gsm8k")
    assert [len(loaded.items[role]) for role in ("train", "test")] == [7473, 1319]
    first = loaded.items["train"][0]
    assert first.prompt.startswith("Question: Natalia sold clips to 48 of her friends")
    assert first.completion == (
        " Natalia sold 48/2 = 24 clips in May.\n"
        "Natalia sold 48+24 = 72 clips altogether in April and May.\n#### 72"
    )
    assert not any("<<" in item.completion for role in loaded.items.values() for item in role)
