"""Steps of solutions as examples: classes, parts by problem, balance, and what is refused."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from surpass.errors import ConfigError, DataError
from surpass.reasoning.solutions import Solution, cut_ratings
from surpass.tasks import naming
from surpass.tasks.naming import find_task
from surpass.tasks.process import PUBLISHED, PublishedProcessTask
from surpass.tasks.process_table import (
    CONTRADICTED,
    REPEATED,
    UNRATED,
    class_of,
    problem_key,
    step_table,
)


def solution(problem, number, ratings, **more):
    steps = tuple(f"step {place} of {number} for {problem}" for place in range(len(ratings)))
    return Solution(
        problem_id=str(problem),
        problem=f"problem {problem}",
        steps=steps,
        ratings=cut_ratings(ratings),
        **more,
    )


def many(problems=60, each=3):
    shapes = ([1, 1, -1, None], [1, 1, 1], [1, 0, 1, 1], [-1, None], [1, 0, -1])
    return [
        solution(problem, number, shapes[(problem + number) % len(shapes)])
        for problem in range(problems)
        for number in range(each)
    ]


def table_of(solutions, *, num_classes=2, neutral="correct", split_seed=0, **more):
    return step_table(
        "these",
        solutions,
        num_classes=num_classes,
        neutral=neutral,
        split_seed=split_seed,
        notes={},
        **more,
    )


def drawn(table, part, size=None, seed=0, mix="all"):
    return table.drawn(part=part, size=size, seed=seed, mix=mix)


@pytest.mark.parametrize(
    ("num_classes", "neutral", "expected"),
    [
        (2, "correct", [1, 1, 0, None]),
        (2, "wrong", [1, 0, 0, None]),
        (2, "drop", [1, None, 0, None]),
        (3, "correct", [2, 1, 0, None]),
    ],
)
def test_the_class_of_a_rating(num_classes, neutral, expected):
    assert [class_of(rating, num_classes, neutral) for rating in (1, 0, -1, None)] == expected


def test_all_solutions_of_a_problem_are_in_one_part_and_parts_share_nothing():
    table = table_of(many())
    part_of = {}
    for one, part in zip(table.solutions, table.parts, strict=True):
        assert part_of.setdefault(problem_key(one), part) == part
    assert set(part_of.values()) == {"weak", "student", "validation", "test"}
    ids = [set(drawn(table, part).inputs["id"].to_pylist()) for part in dict.fromkeys(table.parts)]
    assert sum(map(len, ids)) == len(set().union(*ids))


def test_a_problem_stays_in_its_part_when_others_come_and_white_space_makes_no_other():
    parts = {}
    for solutions in (many(), [*reversed(many()), *many(90)[180:]]):
        table = table_of(solutions)
        for one, part in zip(table.solutions, table.parts, strict=True):
            assert parts.setdefault(one.id, part) == part
    assert problem_key(solution("a  b ", 0, [1])) == problem_key(solution("a b", 0, [1]))


def test_steps_of_a_solution_stand_in_order_with_all_that_is_before_them():
    table = table_of(many())
    given = drawn(table, "student")
    rows = given.inputs.to_pylist()
    truths = dict(zip(given.truth["id"].to_pylist(), given.truth["truth"].to_pylist(), strict=True))
    names = [row["solution"] for row in rows]
    # A solution's rows are one stretch.
    assert len(set(names)) == sum(a != b for a, b in zip(names, [None, *names], strict=False))
    by_id = {one.id: one for one in table.solutions}
    for row in rows:
        one = by_id[row["solution"]]
        assert row["id"] == one.step_id(row["step"])
        assert tuple(row["before"]) == one.steps[: row["step"]]
        assert (row["text"], row["problem"]) == (one.steps[row["step"]], one.problem)
        assert row["candidates"] == [0, 1]
        assert truths[row["id"]] == class_of(one.ratings[row["step"]], 2, "correct")
    for one in by_id.values():
        steps = [row["step"] for row in rows if row["solution"] == one.id]
        assert steps == sorted(steps)
        assert all(one.ratings[step] is not None for step in steps)


def test_size_counts_solutions_and_a_smaller_one_is_a_prefix():
    table = table_of(many())
    for mix in ("all", "balanced"):
        whole = drawn(table, "weak", mix=mix).inputs
        for size in (0, 1, 5):
            some = drawn(table, "weak", size, mix=mix).inputs
            assert len(set(some["solution"].to_pylist())) == size
            assert some.equals(whole.slice(0, some.num_rows))
    assert drawn(table, "weak", 5).inputs.equals(drawn(table, "weak", 5).inputs)
    assert not drawn(table, "weak", 5, seed=1).inputs.equals(drawn(table, "weak", 5).inputs)
    with pytest.raises(ConfigError, match="ask for fewer"):
        drawn(table, "weak", 10_000)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_balanced_parts_have_as_many_of_each_class(num_classes):
    table = table_of(many(), num_classes=num_classes)
    for part in dict.fromkeys(table.parts):
        whole = drawn(table, part)
        some = drawn(table, part, mix="balanced")
        counts = Counter(some.truth["truth"].to_pylist())
        rarest = min(Counter(whole.truth["truth"].to_pylist()).values())
        assert counts == dict.fromkeys(range(num_classes), rarest)
        assert set(some.inputs["id"].to_pylist()) < set(whole.inputs["id"].to_pylist())


def test_what_is_left_out_is_counted():
    twice = solution(1, 0, [1, -1])
    other = Solution(problem_id="1", problem=twice.problem, steps=twice.steps, ratings=(1, 1))
    unrated = Solution(problem_id="2", problem="problem 2", steps=("a", "b"))
    again = many()[5]
    table = table_of([*many(), again, unrated, twice, other])
    assert table.notes[REPEATED] == 1
    assert table.notes[CONTRADICTED] == 2
    assert table.notes[UNRATED] == 1
    assert again.id in table.ids
    assert twice.id not in table.ids
    assert table_of(many(), neutral="drop").notes["neutral steps"] == sum(
        one.ratings.count(0) for one in many()
    )


def test_a_test_of_its_own_takes_its_problems_from_the_others():
    own = frozenset(problem_key(one) for one in many(10))
    table = table_of(many(), test=own)
    for one, part in zip(table.solutions, table.parts, strict=True):
        assert (problem_key(one) in own) == (part == "test")


def test_data_without_a_class_are_refused():
    right = [solution(problem, 0, [1, 1]) for problem in range(50)]
    with pytest.raises(DataError, match="class 'wrong'"):
        table_of(right)
    with pytest.raises(DataError, match="class 'neutral'"):
        table_of([one for one in many() if 0 not in one.ratings], num_classes=3)
    with pytest.raises(DataError, match="no solution with a rated step"):
        table_of([Solution(problem_id="1", problem="p", steps=("a",))])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("classes=4", "2 .wrong, correct. or 3"),
        ("neutral=maybe", "one of correct, wrong, drop"),
        ("classes=3, neutral=drop", "class of their own"),
    ],
)
def test_settings_that_make_no_task(settings, message):
    with pytest.raises(ConfigError, match=message):
        find_task(f"process(path=x.jsonl, {settings})")


def processbench(path, count=120):
    rows = [
        {
            "id": f"gsm8k-{n}",
            "generator": "nobody",
            "problem": f"What is {n} + {n}?",
            "steps": [f"It is {n} and {n}.", f"That is {2 * n + (n % 2)}.", "Done."],
            "final_answer_correct": n % 2 == 0,
            "label": 1 if n % 2 else -1,
        }
        for n in range(count)
    ]
    path.write_text(json.dumps(rows))
    return path


def test_a_task_from_a_file_knows_it_by_its_content(tmp_path):
    path = processbench(tmp_path / "gsm8k.json")
    task = find_task(f"process(path={path}, form=processbench)")
    assert task.class_names == ("wrong", "correct")
    assert task.num_classes == 2
    assert task.mixes == ("all", "balanced")
    assert task.families == {"causal", "encoder"}
    (digest,) = task.digests().values()
    given = task.examples(part="test", size=5, seed=0)
    assert len(set(given.inputs["solution"].to_pylist())) == 5
    processbench(path, 121)
    (other,) = task.digests().values()
    assert digest != other
    with pytest.raises(ConfigError, match="no mix 'even'"):
        task.examples(part="test", size=5, seed=0, mix="even")
    with pytest.raises(ConfigError, match="there is no"):
        find_task(f"process:{tmp_path}/nothing.jsonl").digests()
    with pytest.raises(ConfigError, match="no form 'trl'"):
        find_task(f"process(path={path}, form=trl)")


def test_published_sets_are_named(tmp_path):
    for name in ("gsm8k", "math", "olympiadbench", "omnimath"):
        processbench(tmp_path / f"{name}.json")
    task = find_task(f"processbench(source={tmp_path})")
    assert task.name == "processbench"
    assert task.examples(part="weak", size=None, seed=0).notes[REPEATED] == 3 * 120
    assert tuple(name for name in naming._BUILT_IN if naming._BUILT_IN[name].said.get("name")) == PUBLISHED
    with pytest.raises(ConfigError, match="no set of solutions 'gsm8k'"):
        PublishedProcessTask(name="gsm8k")


def test_a_file_of_ones_own_with_what_is_wrong_in_it(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [
        {"problem": f"p {n}", "steps": ["a", "b", "c"], "ratings": [1, -1, None] if n % 2 else [1, 1, 1]}
        for n in range(80)
    ]
    rows += [{"problem": "q", "steps": []}, {"problem": "r", "steps": ["a", " "]}, {"steps": ["a"]}]
    rows += [{"problem": "s", "steps": ["a"], "ratings": [5]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    notes = find_task(f"process:{path}").examples(part="weak", size=None, seed=0).notes
    assert {
        "rows without steps",
        "rows with a step of nothing",
        "rows that do not read like the form",
        "rows with a rating outside its set",
        "lines that are no JSON",
    } <= notes.keys()


def prm800k(path, problems, *, finish="solution"):
    def line(problem):
        ratings = [1, 0, -1] if problem % 2 else [1, 0, 1]
        steps = [
            {
                "completions": [{"text": f"step {place} for {problem}", "rating": rating, "flagged": None}],
                "human_completion": None,
                "chosen_completion": 0,
            }
            for place, rating in enumerate(ratings)
        ]
        return {
            "labeler": "x",
            "timestamp": "2022-07-17T16:56:51",
            "generation": None,
            "is_quality_control_question": False,
            "is_initial_screening_question": False,
            "question": {"problem": f"problem {problem}", "ground_truth_answer": "1"},
            "label": {
                "steps": steps,
                "total_time": 1,
                "finish_reason": "found_error" if problem % 2 else "solution",
            },
        }

    path.write_text("".join(json.dumps(line(problem)) + "\n" for problem in problems))


@pytest.mark.parametrize("classes", [2, 3])
def test_prm800k_keeps_its_own_test(tmp_path, classes):
    prm800k(tmp_path / "phase2_train.jsonl", range(100))
    prm800k(tmp_path / "phase2_test.jsonl", range(90, 110))
    task = find_task(f"prm800k(source={tmp_path}, classes={classes})")
    tested = set(task.examples(part="test", size=None, seed=0).inputs["problem"].to_pylist())
    assert tested == {f"problem {problem}" for problem in range(90, 110)}
    for part in ("weak", "student", "validation"):
        given = task.examples(part=part, size=None, seed=0)
        assert tested.isdisjoint(given.inputs["problem"].to_pylist())
        assert set(given.truth["truth"].to_pylist()) == set(range(classes))
    assert task.digests().keys() == {"train", "test"}
