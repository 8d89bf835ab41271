"""Readers of solutions: each form as it is published, and each way in which a row can be wrong."""

from __future__ import annotations

import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surpass.data.solutions_catalog import FORMS
from surpass.data.solutions_reading import read_problems, read_solutions
from surpass.errors import ConfigError, DataError


def written(path, rows):
    text = "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def read(tmp_path):
    def reading(rows, form, **options):
        return read_solutions(written(tmp_path / "rows.jsonl", rows), form, **options)

    return reading


def completion(text, rating, **more):
    return {"text": text, "rating": rating, "flagged": None, **more}


def step(*completions, chosen=0, human=None):
    return {"completions": list(completions), "human_completion": human, "chosen_completion": chosen}


def line(*steps, finish="solution", question=None, **more):
    return {
        "labeler": "340d89bc",
        "timestamp": "2023-01-22T04:34:27.052924",
        "generation": 9,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {
            "problem": "1 + 1 + 1?",
            "ground_truth_solution": "\\boxed{3}",
            "ground_truth_answer": "3",
            **(question or {}),
        },
        "label": {"steps": list(steps), "total_time": 5, "finish_reason": finish},
        **more,
    }


def generated(*steps, answer="3"):
    return {
        "pre_generated_steps": list(steps),
        "pre_generated_answer": answer,
        "pre_generated_verifier_score": 0.1,
    }


class TestPrm800k:
    def test_a_whole_solution_of_phase_2(self, read):
        last = "So 3.\n\n# Answer\n\n3"
        row = line(
            step(completion("a", 1)),
            step(completion("b", 0, flagged=True)),
            step(completion(last, 1)),
            question=generated("a", "b", last),
        )
        found = read([row], "prm800k")
        (solution,) = found.solutions
        assert solution.problem == "1 + 1 + 1?"
        assert solution.steps == ("a", "b", last)
        assert solution.ratings == (1, 0, 1)
        assert (solution.answer, solution.reference, solution.correct) == ("3", "3", None)
        assert solution.source == "prm800k-2-9"
        assert found.notes == {"steps that a labeler was not sure of, kept": 1}

    def test_an_error_ends_what_is_known(self, read):
        row = line(
            step(completion("a", 1)),
            step(completion("b", -1), chosen=None),
            finish="found_error",
            question=generated("a", "b", "c\n\n# Answer\n\n4", answer="4"),
        )
        (solution,) = read([row], "prm800k").solutions
        assert solution.steps == ("a", "b", "c\n\n# Answer\n\n4")
        assert solution.ratings == (1, -1, None)
        assert solution.first_error == 1
        assert solution.answer == "4"

    def test_ratings_behind_an_error_are_cut(self, read):
        row = line(step(completion("a", -1)), step(completion("b", 1)))
        (solution,) = read([row], "prm800k").solutions
        assert solution.ratings == (-1, None)

    @pytest.mark.parametrize("human", ["by hand", {"text": "by hand", "rating": None, "source": "human"}])
    def test_phase_1_goes_on_with_what_was_chosen(self, read, human):
        row = line(
            step(completion("a1", -1), completion("a2", 1), chosen=1),
            step(completion("b1", -1), completion("b2", None), chosen=None, human=human),
            step(completion("# Answer\n\n3", 1)),
            generation=None,
        )
        found = read([row], "prm800k")
        (solution,) = found.solutions
        assert solution.steps == ("a2", "by hand", "# Answer\n\n3")
        assert solution.ratings == (1, None, 1)
        assert solution.answer == "3"
        assert solution.source == "prm800k-1"
        assert found.notes == {"steps that a labeler wrote, kept": 1, "steps without a rating, kept": 1}

    def test_each_candidate_is_a_labelled_step(self, read):
        row = line(
            step(completion("a1", -1), completion("a2", 1), chosen=1),
            step(completion("b1", 0), completion("b2", None), completion("b3", -1), chosen=None, human="h"),
            step(completion("c1", -1), completion("c2", -1), chosen=None),
            finish="found_error",
        )
        found = read([row], "prm800k-candidates").solutions
        assert [(one.steps, one.ratings) for one in found] == [
            (("a1",), (-1,)),
            (("a2",), (1,)),
            (("a2", "b1"), (None, 0)),
            (("a2", "b3"), (None, -1)),
            (("a2", "h", "c1"), (None, None, -1)),
            (("a2", "h", "c2"), (None, None, -1)),
        ]
        assert len({one.id for one in found}) == 6
        (whole,) = read([row], "prm800k").solutions
        assert (whole.steps, whole.ratings) == (("a2", "h", "c1"), (1, None, -1))

    def test_filters_are_counted(self, read):
        good = step(completion("a", 1))
        rows = [
            line(good),
            line(good, is_quality_control_question=True),
            line(good, is_initial_screening_question=True, generation=-1),
            line(good, finish="give_up"),
            line(good, finish="bad_problem"),
            line(finish="bad_problem"),
        ]
        found = read(rows, "prm800k")
        assert len(found.solutions) == 1
        assert found.notes == {
            "lines of quality control, left out": 1,
            "lines of screening, left out": 1,
            "lines that were given up, left out": 1,
            "lines of bad problems, left out": 2,
            "solutions without a final answer, kept": 1,
        }
        assert found.named == {}

    @pytest.mark.parametrize(
        ("row", "kind"),
        [
            (line(), "rows without steps"),
            (line(step(completion("a", 2))), "rows with a rating outside its set"),
            (line(step(completion("a", True))), "rows with a rating outside its set"),
            (line(step(completion(None, 1))), "rows with a step that is null"),
            (line(step(completion(" ", 1))), "rows with a step of nothing"),
            (line(step(completion("a", 1), chosen=None)), "rows with a step that is null"),
            (line(step(chosen=0)), "rows with a step that is null"),
            (line(step(completion("a", 1), human=" ", chosen=None)), "rows with a step of nothing"),
            (
                line(step(completion("a", -1), chosen=None), step(completion("b", 1))),
                "rows with a step that is null",
            ),
            (line(step(completion("a", 1)), finish="other"), "rows that do not read like the form"),
            (line(step(completion("a", 1)), question={"problem": ""}), "rows without a problem"),
            (line("a"), "rows that do not read like the form"),
            ({"question": {}, "label": []}, "rows that do not read like the form"),
            ({"question": {}}, "rows that do not read like the form"),
        ],
    )
    def test_what_is_wrong_is_counted_and_named(self, read, row, kind):
        found = read([line(step(completion("a", 1))), row], "prm800k")
        assert len(found.solutions) == 1
        assert found.notes[kind] == 1
        assert "rows.jsonl, line 2: " in found.named[kind][0]
        with pytest.raises(DataError, match=r"line 2: .* read it without strict"):
            read([line(step(completion("a", 1))), row], "prm800k", strict=True)


SHEPHERD = {
    "input": "Buzz has 3 slices. Step 1: 3 + 1 = 4. ки\nStep 2: 4 + 1 = 6. ки\nStep 3: The answer is: 6 ки",
    "label": "Buzz has 3 slices. Step 1: 3 + 1 = 4. +\nStep 2: 4 + 1 = 6. -\nStep 3: The answer is: 6 -",
    "task": "GSM8K",
}


class TestMathShepherd:
    def test_a_row(self, read):
        (solution,) = read([SHEPHERD], "math-shepherd").solutions
        assert solution.problem == "Buzz has 3 slices."
        assert solution.steps == ("Step 1: 3 + 1 = 4.", "Step 2: 4 + 1 = 6.", "Step 3: The answer is: 6")
        assert solution.ratings == (1, -1, None)
        assert (solution.answer, solution.correct, solution.source) == ("6", False, "GSM8K")

    def test_signs_in_the_text_are_no_labels(self, read):
        row = {
            "input": "What is - 1 + 2?\nStep 1: - 1 + 2 = 1 ки",
            "label": "What is - 1 + 2?\nStep 1: - 1 + 2 = 1 +",
        }
        (solution,) = read([row], "math-shepherd").solutions
        assert (solution.problem, solution.ratings, solution.correct) == ("What is - 1 + 2?", (1,), True)

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"input": "no tag"}, "rows without steps"),
            ({"label": "Buzz has"}, "rows whose labels do not fit their steps"),
            ({"label": SHEPHERD["label"].replace("4. +", "4. *")}, "rows with a rating outside its set"),
            ({"input": SHEPHERD["input"] + " more"}, "rows whose labels do not fit their steps"),
            ({"input": None}, "rows that do not read like the form"),
            (
                {"input": "P Step 1: a ки\n ки", "label": "P Step 1: a +\n +"},
                "rows with a step of nothing",
            ),
            ({"input": "Step 1: a ки", "label": "Step 1: a +"}, "rows without a problem"),
        ],
    )
    def test_what_is_wrong(self, read, changes, kind):
        assert read([SHEPHERD, {**SHEPHERD, **changes}], "math-shepherd").notes[kind] == 1


BENCH = {
    "id": "gsm8k-0",
    "generator": "Qwen2-7B-Instruct",
    "problem": "1 + 1?",
    "steps": ["a", "b\nstill b", "\\boxed{3}"],
    "final_answer_correct": False,
    "label": 1,
}


class TestProcessBench:
    def test_a_file_as_published(self, tmp_path):
        right = {**BENCH, "label": -1, "final_answer_correct": True}
        (tmp_path / "math.json.xz").write_bytes(lzma.compress(json.dumps([BENCH, right]).encode()))
        wrong, good = read_solutions(str(tmp_path / "math.json.xz"), "processbench").solutions
        assert wrong.ratings == (1, -1, None)
        assert (wrong.first_error, wrong.answer, wrong.correct) == (1, "3", False)
        assert wrong.source == "Qwen2-7B-Instruct"
        assert good.ratings == (1, 1, 1)
        assert (good.first_error, good.is_fully_rated, good.correct) == (-1, True, True)
        assert wrong.problem_id == good.problem_id

    def test_a_folder_as_published(self, tmp_path):
        for name in ("gsm8k", "math", "olympiadbench", "omnimath"):
            (tmp_path / f"{name}.json").write_text(json.dumps([{**BENCH, "problem": name}]))
        found = read_solutions(str(tmp_path), "processbench").solutions
        assert [solution.problem for solution in found] == ["gsm8k", "math", "olympiadbench", "omnimath"]
        with pytest.raises(ConfigError, match="no files of train"):
            read_solutions(str(tmp_path), "processbench", roles=["train"])

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"label": 3}, "rows with a rating outside its set"),
            ({"label": None}, "rows with a rating outside its set"),
            ({"label": True}, "rows with a rating outside its set"),
            ({"steps": []}, "rows without steps"),
            ({"steps": None}, "rows without steps"),
            ({"steps": ["a", None, "b"]}, "rows with a step that is null"),
            ({"steps": ["a", "", "b"]}, "rows with a step of nothing"),
            ({"steps": ["a", 5, "b"]}, "rows that do not read like the form"),
            ({"steps": 5}, "rows that do not read like the form"),
            ({"steps": ["x" * 100_000, "b"]}, "rows that are too long"),
            ({"final_answer_correct": "no"}, "rows that do not read like the form"),
        ],
    )
    def test_what_is_wrong(self, read, changes, kind):
        found = read([{**BENCH, **changes}, BENCH], "processbench")
        assert len(found.solutions) == 1
        assert found.notes == {kind: 1}


class TestStepwise:
    def test_rows(self, read):
        rows = [
            {"prompt": "p", "completions": ["a", "b", "c"], "labels": [True, False, True]},
            {"prompt": "p", "completions": ["a"], "labels": [1.0]},
            {"prompt": "p", "completions": ["a", "b"], "labels": [True]},
            {"prompt": "p", "completions": ["a"], "labels": [0.5]},
            {"prompt": "p", "completions": ["a"], "labels": None},
        ]
        found = read(rows, "stepwise")
        assert [solution.ratings for solution in found.solutions] == [(1, -1, None), (1,)]
        assert found.notes["rows whose labels do not fit their steps"] == 2
        assert found.notes["rows with a rating outside its set"] == 1

    def test_parquet(self, tmp_path):
        rows = [{"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
        (solution,) = read_solutions(str(tmp_path / "rows.parquet"), "stepwise").solutions
        assert solution.ratings == (1, -1)

    def test_a_clone_of_a_hub_repository(self, tmp_path):
        row = SHEPHERD
        (tmp_path / "data").mkdir()
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "data" / "train-00000-of-00001.parquet")
        (solution,) = read_solutions(str(tmp_path), "math-shepherd").solutions
        assert solution.first_error == 1


class TestOwn:
    def test_all_that_can_be_said(self, read):
        rows = [
            {"problem": "p", "steps": "a\n\nb\n#### 5"},
            {"problem": "p", "steps": ["a", "b"], "ratings": [1, None], "answer": 7, "reference": 7.5},
            {"problem": "p", "steps": ["a", "b"], "labels": [True, 0], "correct": False, "problem_id": 3},
            {"problem": "p", "steps": ["a", "b"], "first_error": 0, "source": "me"},
            {"problem": "p", "steps": ["a", "b"], "first_error": -1, "ratings": None},
        ]
        found = read(rows, "solutions").solutions
        assert found[0].steps == ("a", "b", "#### 5")
        assert (found[0].ratings, found[0].answer) == (None, "5")
        assert (found[1].ratings, found[1].answer, found[1].reference) == ((1, None), "7", "7.5")
        assert (found[2].ratings, found[2].correct, found[2].problem_id) == ((1, -1), False, "3")
        assert (found[3].ratings, found[3].source) == ((-1, None), "me")
        assert found[4].ratings == (1, 1)
        assert len({solution.problem_id for solution in found}) == 2

    @pytest.mark.parametrize(
        ("row", "kind"),
        [
            ({"ratings": [1], "first_error": 0}, "rows whose labels do not fit their steps"),
            ({"ratings": [1, 1]}, "rows whose labels do not fit their steps"),
            ({"ratings": 1}, "rows whose labels do not fit their steps"),
            ({"ratings": [7]}, "rows with a rating outside its set"),
            ({"ratings": ["1"]}, "rows with a rating outside its set"),
            ({"first_error": 1}, "rows with a rating outside its set"),
            ({"first_error": True}, "rows with a rating outside its set"),
            ({"problem": None}, "rows without a problem"),
            ({"answer": ["5"]}, "rows that do not read like the form"),
            ({"correct": 1}, "rows that do not read like the form"),
        ],
    )
    def test_what_is_wrong(self, read, row, kind):
        good = {"problem": "p", "steps": ["\\boxed{1}"]}
        assert read([good, {**good, **row}], "solutions").notes == {kind: 1}

    def test_lines_that_are_no_json_are_named_by_their_number(self, read):
        good = {"problem": "p", "steps": ["\\boxed{1}"]}
        found = read([good, "{", "", "[1]", good, '{"problem": "p", "steps": ["\\ud835"]}'], "solutions")
        assert len(found.solutions) == 3
        assert found.notes["lines that are no JSON"] == 1
        assert "line 2" in found.named["lines that are no JSON"][0]
        assert "line 4" in found.named["rows that do not read like the form"][0]

    def test_the_first_few_are_named(self, read):
        good = {"problem": "p", "steps": ["\\boxed{1}"]}
        found = read([good, *[{**good, "steps": []}] * 9], "solutions")
        assert found.notes == {"rows without steps": 9}
        assert len(found.named["rows without steps"]) == 5

    def test_compressed_and_with_a_mark_of_its_encoding(self, tmp_path):
        content = "\ufeff" + json.dumps({"problem": "p", "steps": ["a"]})
        (tmp_path / "own.jsonl.gz").write_bytes(gzip.compress(content.encode()))
        assert len(read_solutions(str(tmp_path / "own.jsonl.gz")).solutions) == 1
        (tmp_path / "own.json").write_text(content)
        assert len(read_solutions(str(tmp_path / "own.json")).solutions) == 1

    def test_nothing_is_an_error(self, tmp_path, read):
        with pytest.raises(DataError, match=r"has nothing to read as solutions \(rows without steps: 1"):
            read([{"problem": "p", "steps": []}], "solutions")
        (tmp_path / "empty.jsonl").write_text("")
        with pytest.raises(DataError, match="there are no rows"):
            read_solutions(str(tmp_path / "empty.jsonl"))
        with pytest.raises(DataError, match="has the columns x; solutions needs problem, steps"):
            read([{"x": 1}], "solutions")

    def test_what_does_not_exist(self, tmp_path):
        with pytest.raises(ConfigError, match=rf"no form 'other'.*{', '.join(FORMS)}"):
            read_solutions("x", "other")
        with pytest.raises(ConfigError, match="there is no"):
            read_solutions(str(tmp_path / "none.jsonl"))
        with pytest.raises(ConfigError, match="roles="):
            read_solutions(written(tmp_path / "a.jsonl", [{"problem": "p", "steps": ["a"]}]), roles=["dev"])
        with pytest.raises(ConfigError, match="allowed are math, gsm8k"):
            read_problems("x", "other")


class TestProblems:
    def test_math_in_both_forms(self, tmp_path):
        rows = [
            {
                "problem": "p",
                "solution": "So\nit is $\\boxed{\\frac{1}{2}}$.",
                "answer": "\\frac{1}{2}",
                "subject": "Algebra",
                "level": 2,
                "unique_id": "test/algebra/1.json",
            },
            {"problem": "q", "level": "Level 3", "type": "Algebra", "solution": "\\boxed{7}", "idx": 1},
            {"problem": "r", "level": "Level ?", "answer": "16"},
            {"problem": "s", "answer": ""},
            {"problem": "t", "solution": "no box"},
            {"problem": "u", "answer": "1", "level": "hard"},
        ]
        path = written(tmp_path / "math.jsonl", rows)
        found = read_problems(path, "math")
        assert [one.reference for one in found.problems] == ["\\frac{1}{2}", "7", "16"]
        assert [one.level for one in found.problems] == [2, 3, None]
        assert [one.subject for one in found.problems] == ["Algebra", "Algebra", ""]
        assert found.problems[0].problem_id == "test/algebra/1.json"
        assert found.notes == {
            "problems without a true answer": 2,
            "rows that do not read like the form": 1,
        }
        solutions = read_solutions(path, "math")
        assert [one.steps for one in solutions.solutions] == [
            ("So", "it is $\\boxed{\\frac{1}{2}}$."),
            ("\\boxed{7}",),
        ]
        assert all(one.correct and one.is_fully_rated for one in solutions.solutions)
        assert solutions.notes["problems without a solution, left out"] == 1

    def test_gsm8k(self, tmp_path):
        rows = [
            {"question": "q", "answer": "2 + 2 = <<2+2=4>>4\nTimes 300 is 1,200.\n#### 1,200"},
            {"question": "q", "answer": "nothing"},
        ]
        path = written(tmp_path / "train.jsonl", rows)
        found = read_problems(path, "gsm8k")
        assert [one.reference for one in found.problems] == ["1,200"]
        assert found.problems[0].solution == "2 + 2 = 4\nTimes 300 is 1,200.\n#### 1,200"
        assert found.notes == {"problems without a true answer": 1}
        (solution,) = read_solutions(path, "gsm8k").solutions
        assert solution.steps == ("2 + 2 = 4", "Times 300 is 1,200.", "#### 1,200")
        assert solution.answer == solution.reference == "1,200"
