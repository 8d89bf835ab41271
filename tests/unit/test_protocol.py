from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import protocol as reference
from surpass.errors import DataError
from surpass.tasks import protocol
from surpass.tasks.protocol import Cut, Entry
from surpass.tasks.tables import PROPORTIONS, draw

LEARNED_PARTS = ("weak", "student", "validation")
short = st.text("abü\n", min_size=1, max_size=3)
rows_of_none = st.builds(Entry, short, st.integers(0, 1), st.text("gh", max_size=2))
candidates = st.builds(Entry, short, st.integers(0, 1), st.just("g"), st.sampled_from(["q", "r", "s"]))
pools = st.lists(rows_of_none, max_size=30) | st.lists(candidates, max_size=30)
seeds = st.integers(0, 5)


def by_part(entries: list[Entry], cut: Cut) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {part: [] for part in PROPORTIONS}
    for row, part in zip(cut.rows, cut.parts, strict=True):
        found[part].append(entries[row])
    return {part: sorted(rows) for part, rows in found.items()}


def balanced(entries: list[Entry], cut: Cut, seed: int, num_classes: int = 2) -> tuple[Cut, dict[str, int]]:
    chosen = [entries[row] for row in cut.rows]
    kept, dropped = protocol.balance(
        [entry.key for entry in chosen],
        [entry.label for entry in chosen],
        cut.parts,
        num_classes=num_classes,
        seed=seed,
    )
    return Cut([cut.rows[row] for row in kept], [cut.parts[row] for row in kept], cut.notes), dropped


def many(num: int, *, right: int, groups: int = 10**9, start: int = 0) -> list[Entry]:
    """Rows of which so many are right."""
    return [Entry(f"t{n}", int(n - start < right), f"g{n % groups}") for n in range(start, start + num)]


@given(pools, pools, seeds)
@settings(max_examples=300)
def test_does_what_its_twin_does(train, test, seed):
    cut = protocol.cut(train, test, seed=seed)
    entries = [*train, *test]
    slow = reference.cut(train, test, seed)
    assert by_part(entries, cut) == {part: sorted(rows) for part, rows in slow.items()}
    after, _ = balanced(entries, cut, seed)
    slow = reference.balanced(slow, 2, seed)
    assert by_part(entries, after) == {part: sorted(rows) for part, rows in slow.items()}


@given(pools, pools, seeds, st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_what_always_holds(train, test, seed, rng):
    entries = [*train, *test]
    cut = protocol.cut(train, test, seed=seed)
    after, dropped = balanced(entries, cut, seed)
    found = by_part(entries, after)
    assert len(entries) == len(after.rows) + sum(cut.notes.values()) + sum(dropped.values())
    assert min([*cut.notes.values(), *dropped.values(), 1]) > 0
    learned = [entry for part in LEARNED_PARTS for entry in found[part]]
    assert not {entry.key for entry in learned} & {entry.key for entry in test}
    assert len({entries[row].key for row in after.rows}) == len(after.rows)
    own_parts = LEARNED_PARTS if test else tuple(PROPORTIONS)
    part_of = {(entry.group, part) for part in own_parts for entry in found[part]}
    assert len(part_of) == len({group for group, _ in part_of})
    labels = Counter(entry.label for entry in found["test"])
    assert labels[0] == labels[1]
    shuffled_train, shuffled_test = rng.sample(train, len(train)), rng.sample(test, len(test))
    moved = [*shuffled_train, *shuffled_test]
    again, dropped_again = balanced(moved, protocol.cut(shuffled_train, shuffled_test, seed=seed), seed)
    assert (by_part(moved, again), again.notes, dropped_again) == (found, cut.notes, dropped)


class TestCut:
    def test_repeated_and_contradicted(self):
        train = [
            Entry("a", 1, "g2"),
            Entry("a", 1, "g1"),
            Entry("b", 0, "g"),
            Entry("b", 1, "g"),
            Entry("c", 0, "g"),
        ]
        cut = protocol.cut(train, [], seed=0)
        assert [train[row] for row in cut.rows] == [Entry("a", 1, "g1"), Entry("c", 0, "g")]
        assert cut.notes == {protocol.REPEATED: 1, protocol.CONTRADICTED: 2}

    def test_a_training_row_that_is_a_test_row(self):
        train = [Entry("a", 1, "g"), Entry("b", 0, "shared"), Entry("c", 1, "g")]
        test = [Entry("a", 0, "other"), Entry("x", 0, "shared"), Entry("c", 0, "h"), Entry("c", 1, "h")]
        cut = protocol.cut(train, test, seed=0)
        entries = [*train, *test]
        # A row of the test that is dropped for its labels is no row to learn from either.
        assert [entries[row].key for row in cut.rows] == ["b", "a", "x"]
        assert cut.notes == {protocol.IN_TEST: 2, protocol.CONTRADICTED: 2}

    def test_as_many_right_as_wrong(self):
        wrong = [Entry(f"{question}{n}", 0, question, question) for question in "pqr" for n in range(4)]
        right = [Entry(f"{question} right", 1, question, question) for question in "pq"]
        right += [Entry("q also", 1, "q", "q")]
        cut = protocol.cut([*wrong, *right], [], seed=3)
        chosen = [[*wrong, *right][row] for row in cut.rows]
        counts = Counter((entry.question, entry.label) for entry in chosen)
        assert counts == {("p", 0): 1, ("p", 1): 1, ("q", 0): 2, ("q", 1): 2}
        assert cut.notes == {protocol.UNMATCHED: 9}
        others = {tuple(protocol.cut([*wrong, *right], [], seed=seed).rows) for seed in range(20)}
        assert len(others) > 5

    def test_shares(self):
        rows = many(4000, right=2000)
        for test, shares in (
            ([], PROPORTIONS),
            ([Entry("x", 0, "x")], {**protocol.LEARNED, "test": 1 / 4000}),
        ):
            counts = Counter(protocol.cut(rows, test, seed=0).parts)
            for part, share in shares.items():
                assert counts[part] == pytest.approx(4000 * share, abs=120)

    def test_another_seed_is_another_cut(self):
        rows = many(100, right=50)
        assert protocol.cut(rows, [], seed=0) == protocol.cut(rows, [], seed=0)
        assert protocol.cut(rows, [], seed=0).parts != protocol.cut(rows, [], seed=1).parts

    @pytest.mark.parametrize("train", [[], [Entry("", 0, "")]])
    def test_nothing_much(self, train):
        cut = protocol.cut(train, [], seed=0)
        assert len(cut.rows) == len(train)
        assert cut.notes == {}


class TestBalance:
    @pytest.mark.parametrize(
        ("right", "is_left"), [(54, True), (55, True), (56, False), (45, True), (44, False)]
    )
    def test_above_55_in_100(self, right, is_left):
        rows = many(100, right=right)
        parts = ["weak"] * 100
        kept, dropped = protocol.balance(
            [row.key for row in rows], [row.label for row in rows], parts, num_classes=2, seed=0
        )
        least = min(right, 100 - right)
        assert len(kept) == (100 if is_left else 2 * least)
        assert dropped == ({} if is_left else {protocol.UNBALANCED: 100 - 2 * least})
        assert kept == sorted(kept)

    def test_the_test_always_and_the_others_as_one(self):
        parts = ["weak"] * 10 + ["student"] * 10 + ["test"] * 11
        labels = [0] * 7 + [1] * 3 + [0] * 3 + [1] * 7 + [0] * 5 + [1] * 6
        keys = [str(row) for row in range(31)]
        kept, dropped = protocol.balance(keys, labels, parts, num_classes=2, seed=0)
        assert (len(kept), dropped) == (30, {protocol.UNBALANCED_TEST: 1})
        labels[3] = 1
        labels[:2] = labels[10:13] = [1] * 3
        labels = labels[:31]
        learned = Counter(labels[:20])
        assert learned[1] > 11
        kept, dropped = protocol.balance(keys, labels, parts, num_classes=2, seed=0)
        for part in ("weak", "student", "test"):
            counts = Counter(labels[row] for row in kept if parts[row] == part)
            assert counts[0] == counts[1]
        assert sum(dropped.values()) == 31 - len(kept)

    def test_three_classes(self):
        keys, parts = [str(row) for row in range(300)], ["weak"] * 300
        even = [0] * 110 + [1] * 100 + [2] * 90
        uneven = [0] * 111 + [1] * 99 + [2] * 90
        assert len(protocol.balance(keys, even, parts, num_classes=3, seed=0)[0]) == 300
        kept, _ = protocol.balance(keys, uneven, parts, num_classes=3, seed=0)
        assert Counter(uneven[row] for row in kept) == {0: 90, 1: 90, 2: 90}

    def test_which_ones_depends_on_the_seed_alone(self):
        rows = many(60, right=10)
        columns = ([row.key for row in rows], [row.label for row in rows], ["test"] * 60)
        kept = [protocol.balance(*columns, num_classes=2, seed=seed)[0] for seed in (0, 0, 1)]
        assert kept[0] == kept[1] != kept[2]
        assert {rows[row].key for row in kept[0]} > {f"t{n}" for n in range(10)}


class TestErrors:
    def check(self, train, test=(), notes=None):
        cut = protocol.cut(train, test, seed=0)
        labels = [[*train, *test][row].label for row in cut.rows]
        protocol.require_examples(
            "mine", labels, cut.parts, classes=("wrong", "right"), notes=notes or cut.notes
        )

    def test_enough(self):
        self.check(many(200, right=100))

    def test_a_class_without_examples(self):
        with pytest.raises(
            DataError, match=r"mine has no example of class 'right' at all \(weak: \d+ wrong, 0 ri"
        ):
            self.check(many(100, right=0))

    def test_an_empty_part(self):
        with pytest.raises(
            DataError, match="mine is too small for its split: no example of class 'wrong' in"
        ) as caught:
            self.check(many(40, right=20, groups=2), notes={"rows": 3})
        assert "left out: 3 rows" in str(caught.value)
        assert "use more data, or another split_seed" in str(caught.value)

    def test_a_class_missing_in_the_test(self):
        with pytest.raises(
            DataError, match=r"no example of class 'wrong' in part 'test'.*test: 0 wrong, 2 right"
        ):
            self.check(many(200, right=100), many(2, right=2, start=500))

    def test_nothing_at_all(self):
        with pytest.raises(DataError, match="mine has no example of class 'wrong' at all"):
            self.check([])

    def test_classes_that_do_not_matter(self):
        with pytest.raises(
            DataError, match=r"no example in part 'student' \(weak: 1; student: 0; validation: 0; t"
        ):
            protocol.require_examples("mine", [0], ["weak"], classes=("pair",), notes={})


def test_half_characters_are_left_out_and_counted():
    items = {
        "train": (("fine ü😀", 0, "g", ""), ("half \ud83d", 1, "g", "")),
        "test": (("t", 0, "\udc00", ""),),
    }
    found = protocol.pools(items, {"others": 2})
    assert found.train == [("fine ü😀", 0, "g", "")]
    assert found.test == []
    assert found.notes == {"others": 2, protocol.NO_UNICODE: 2}


class TestTurns:
    @given(st.lists(st.integers(0, 2), max_size=40), seeds)
    def test_does_what_its_twin_does(self, labels, seed):
        ids = [f"row {row}" for row in range(len(labels))]
        rows = draw(
            ids,
            np.array(["test"] * len(ids), np.str_),
            part="test",
            size=None,
            seed=seed,
            turns_N=np.array(labels, np.int16),
        )
        slow = reference.in_turn(list(zip(ids, labels, strict=True)), seed)
        assert [ids[row] for row in rows] == slow

    def test_even_prefixes_are_balanced_and_places_say_nothing(self):
        ids = [str(row) for row in range(2000)]
        labels_N = np.array(random.Random(0).sample([0, 1] * 1000, 2000), np.int16)
        parts_N = np.array(["test"] * 2000)

        def drawn(size):
            rows = draw(ids, parts_N, part="test", size=size, seed=1, turns_N=labels_N)
            return labels_N[rows].tolist()

        found = drawn(None)
        for size in range(2001):
            assert abs(2 * sum(found[:size]) - size) == size % 2
        assert drawn(77) == found[:77]
        assert drawn(0) == []
        assert 400 < sum(found[::2]) < 600
