"""The published originals through the protocol, end to end: counts, balance, groups, time."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from surpass.data.catalog import DATA_SETS
from surpass.data.loading import find, load
from surpass.tasks import find_task, protocol

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SURPASS_SHARED_DATA", ROOT / "../shared/data"))
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the folder of published data is not here: set SURPASS_SHARED_DATA"
    ),
]
LEARNED = ("weak", "student", "validation")
SECONDS = 60
"""Far more than is needed (SST-2, the longest, takes three)."""

# Folder, then of each class how many to learn from and to test on.
CHOICES = {
    "sst2": ("sst2", (29643, 29643), (428, 428)),
    "sciq": ("sciq", (11620, 11620), (1000, 1000)),
    "ethics_justice": ("ethics", (9959, 11822), (1350, 1350)),
    "ethics_deontology": ("ethics", (8374, 9788), (1786, 1786)),
    "ethics_virtue": ("ethics", (2412, 2412), (995, 995)),
    "ethics_utilitarianism": ("ethics", (13577, 13577), (4802, 4802)),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    folder, learned, tested = CHOICES[name]
    start = time.perf_counter()
    task = find_task(f"{name}(source='{DATA / folder}')")
    parts = {part: task.examples(part=part, size=None, seed=0) for part in task.parts}
    assert time.perf_counter() - start < SECONDS

    labels = {part: Counter(tables.truth["truth"].to_pylist()) for part, tables in parts.items()}
    total = sum((labels[part] for part in LEARNED), Counter())
    assert (total[0], total[1]) == learned
    assert (labels["test"][0], labels["test"][1]) == tested
    assert max(total.values()) <= 0.55 * total.total()
    for part, share in protocol.LEARNED.items():
        assert labels[part].total() == pytest.approx(share * total.total(), rel=0.3)
        if learned[0] == learned[1]:
            assert labels[part][0] == labels[part][1]

    texts = {part: set(tables.inputs["text"].to_pylist()) for part, tables in parts.items()}
    num_kept = sum(map(len, texts.values()))
    assert num_kept == total.total() + labels["test"].total() == len(set.union(*texts.values()))

    loaded = load(find(DATA_SETS[name], str(DATA / folder)))
    num_read = sum(map(len, loaded.items.values()))
    dropped = dict(parts["weak"].notes)
    assert num_read + sum(loaded.notes.values()) == num_kept + sum(dropped.values())

    part_of = {text: part for part, own in texts.items() for text in own}
    of_group, of_question = defaultdict(set), defaultdict(list)
    tests = {item.text for item in loaded.items["test"]}
    for item in {item.text: item for item in loaded.items["train"] if item.text not in tests}.values():
        if item.text in part_of:
            of_group[item.group].add(part_of[item.text])
            of_question[item.question].append(item.label)
    assert {len(found) for found in of_group.values()} == {1}
    if name == "sciq":
        assert all(found.count(0) == found.count(1) for found in of_question.values())
    assert not tests & set.union(*(texts[part] for part in LEARNED))


def test_preferences():
    start = time.perf_counter()
    task = find_task(f"hh(source='{DATA / 'hh_rlhf_test'}')")
    parts = {part: task.examples(part=part, size=None, seed=0) for part in task.parts}
    assert time.perf_counter() - start < SECONDS
    assert sum(len(tables.inputs) for tables in parts.values()) == 8552 - 11 - 36
    assert parts["weak"].notes == {
        "pairs with an empty completion": 11,
        "pairs whose completions are equal": 36,
    }
    pairs = load(find(DATA_SETS["hh"], str(DATA / "hh_rlhf_test"))).items["train"]
    chosen = {(pair.prompt + pair.chosen, pair.prompt + pair.rejected): pair.group for pair in pairs}
    part_of: dict[str, str] = {}
    for part, tables in parts.items():
        truth = tables.truth["truth"].to_pylist()
        assert abs(2 * sum(truth) - len(truth)) <= 1
        for texts, right in zip(tables.inputs["texts"].to_pylist(), truth, strict=True):
            group = chosen[texts[right], texts[1 - right]]
            assert part_of.setdefault(group, part) == part
