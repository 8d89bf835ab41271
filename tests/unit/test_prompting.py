"""Prompts and generative fine-tuning as stages and methods, up to a whole study of tiny models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import surpass
from reference.language import inputs_of, next_token_loss, pairs_of, save_tiny, some_texts, write_texts
from surpass.engine.inline import run
from surpass.errors import ConfigError, NotApplicable, Stopped
from surpass.labels import completion_table, label_table, rows
from surpass.lineage import learns_truth
from surpass.methods import METHODS, Arms, find_method
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Adapt, Examples, Fit, Hint, Label, Prompt, Stop
from surpass.stages.base import Context
from surpass.store import Store
from surpass.study import Study
from surpass.tasks.chess import ChessTask
from surpass.tasks.text import TextTask
from surpass.train.language import pick_shots, run_adapt, run_prompt
from surpass.train.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=8, learning_rate=1e-3)
LANGUAGE = ("few_shot_weak", "few_shot_truth", "generative")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("language")
    save_tiny(root / "small", "gpt2", seed=1)
    save_tiny(root / "large", "llama", seed=2)
    write_texts(root / "texts.jsonl", 120)
    return root


@pytest.fixture(scope="module")
def task(root) -> TextTask:
    return TextTask(str(root / "texts.jsonl"))


@pytest.fixture(scope="module")
def study(root, task) -> Study:
    return Study(
        name="tiny",
        task=task,
        pairs=((f"dir:{root / 'small'}", f"dir:{root / 'large'}"),),
        methods=("naive", "zero_shot", *LANGUAGE, "imitation"),
        seeds=(0,),
        num_train=24,
        recipe=RECIPE,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def results(study, store):
    return surpass.run(study, store)


def examples_of(task, part: str = "student") -> Examples:
    return Examples(task=task, part=part, size=20, seed=0)


class TestStages:
    def test_prompt(self, root, task):
        prompt = Prompt(model=f"dir:{root / 'large'}", examples=examples_of(task), labels=TRUTH, seed=3)
        assert prompt.num_shots == 5
        assert prompt.label == "large-5-shots-truth-s3"
        assert prompt.truth_of == prompt.examples
        assert learns_truth(prompt, examples_of(task, "weak"))
        changes = [{"num_shots": 4}, {"seed": 4}, {"examples": examples_of(task, "weak")}]
        assert len({replace(prompt, **change).id for change in [{}, *changes]}) == 4
        for number in (0, -1, 1001):
            with pytest.raises(ConfigError, match=f"num_shots={number} must be from 1 to 1000"):
                replace(prompt, num_shots=number)

    def test_a_prompt_has_no_weights_to_begin_with(self, root, task):
        model = f"dir:{root / 'large'}"
        prompt = Prompt(model=model, examples=examples_of(task), labels=TRUTH, seed=3)
        with pytest.raises(ConfigError, match="prompt large-5-shots-truth-s3 has no weights to begin with"):
            Fit(model=model, examples=examples_of(task), labels=TRUTH, recipe=RECIPE, seed=0, start=prompt)

    def test_adapt(self, root, task):
        adapted = Adapt(model=f"dir:{root / 'large'}", examples=examples_of(task), seed=3)
        assert adapted.recipe == Recipe(epochs=1, learning_rate=1e-5)
        assert adapted.label == "large-texts-s3"
        assert adapted.truth_of is None
        assert not learns_truth(adapted, examples_of(task, "weak"))
        assert adapted.id != replace(adapted, seed=4).id != replace(adapted, recipe=RECIPE).id

    def test_the_model_counts_by_its_files(self, root, task, tmp_path):
        for entry in (root / "large").iterdir():
            (tmp_path / entry.name).write_bytes(entry.read_bytes())
        for stage in (
            Prompt(model=f"dir:{root / 'large'}", examples=examples_of(task), labels=TRUTH, seed=3),
            Adapt(model=f"dir:{root / 'large'}", examples=examples_of(task), seed=3),
        ):
            assert replace(stage, model=f"dir:{tmp_path}").id == stage.id
            assert replace(stage, model=f"dir:{root / 'small'}").id != stage.id

    def test_chess_has_no_texts(self, tmp_path):
        chess = Examples(task=ChessTask(), part="weak", size=10, seed=0)
        for stage in (
            Adapt(model="ladder:chess-1", examples=chess, seed=0),
            Prompt(model="ladder:chess-1", examples=chess, labels=TRUTH, seed=0),
        ):
            with pytest.raises(
                ConfigError, match="ladder:chess-1 is no causal language model; prompts and texts"
            ):
                run([stage], Store(str(tmp_path / stage.kind)))


class TestMethods:
    def test_language_models_have_them_all(self, study):
        w2s = study.setting(study.pairs[0], 0)
        weak, truth = (METHODS[name](w2s) for name in ("few_shot_weak", "few_shot_truth"))
        assert weak == replace(truth, labels=w2s.weak_labels)
        assert find_method("few_shot_weak(shots=3)")(w2s).num_shots == 3
        arms = METHODS["generative"](w2s)
        assert isinstance(arms, Arms)
        assert arms.student.start == arms.ceiling.start
        assert arms.student.start.recipe == RECIPE
        assert arms.student.labels == w2s.weak_labels
        assert arms.ceiling == replace(w2s.ceiling, start=arms.student.start)
        oracle = [learns_truth(stage, w2s.weak_examples) for stage in (weak, truth, arms.student)]
        assert oracle == [False, True, False]

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("few_shot_weak", "cannot be prompted"),
            ("few_shot_truth", "cannot be prompted"),
            ("generative", "cannot generate text"),
        ],
    )
    def test_others_leave_them_out(self, name, reason):
        chess = Study(name="chess", task=ChessTask(), pairs=(("ladder:chess-1", "ladder:chess-2"),))
        with pytest.raises(NotApplicable, match=f"chess-2 {reason}"):
            METHODS[name](chess.setting(chess.pairs[0], 0))


class TestStudy:
    def test_every_method_has_a_row(self, results, study):
        table = results.table
        assert table["method"].to_pylist() == list(study.methods)
        assert study.left_out == ()
        oracle = dict(zip(table["method"].to_pylist(), table["oracle"].to_pylist(), strict=True))
        assert [name for name, marked in oracle.items() if marked] == ["few_shot_truth"]
        ceilings = dict(zip(table["method"].to_pylist(), table["ceiling_score_id"].to_pylist(), strict=True))
        assert ceilings.pop("generative") not in ceilings.values()
        assert len(set(ceilings.values())) == 1
        assert len(set(table["student_score_id"].to_pylist())) == len(study.methods)

    def test_a_second_run_computes_nothing(self, results, study, store):
        assert run([score for row in study.rows() for score in row[4:7]], store) == 0

    def test_the_prompt(self, results, study, store):
        w2s = study.setting(study.pairs[0], 0)
        for method in ("few_shot_weak", "few_shot_truth"):
            stage = METHODS[method](w2s)
            said = json.loads(store.find("prompt", stage.id).file("prompt.json").read_text())
            examples = store.find("examples", w2s.student_examples.id)
            inputs = pq.read_table(examples.file("inputs.parquet"))
            if method == "few_shot_truth":
                truth = pq.read_table(examples.file("truth.parquet"))
                classes = dict(zip(truth["id"].to_pylist(), truth["truth"].to_pylist(), strict=True))
            else:
                labels = pq.read_table(store.find("label", w2s.weak_labels.id).file("labels.parquet"))
                classes = {
                    name: int(np.argmax(row))
                    for name, row in zip(labels["id"].to_pylist(), rows(labels), strict=True)
                }
            text_of = dict(zip(inputs["id"].to_pylist(), inputs["text"].to_pylist(), strict=True))
            assert said["ids"] == pick_shots(classes, 5, 0)
            assert said["answers"] == [classes[name] for name in said["ids"]]
            assert said["prefix"] == "".join(f"{text_of[name]} {classes[name]}\n\n" for name in said["ids"])

    def test_labels_of_a_prompted_model_are_those_behind_the_prefix(self, results, study, store):
        w2s = study.setting(study.pairs[0], 0)
        stage = METHODS["few_shot_weak"](w2s)
        label = Label(source=stage, examples=study.test_examples)
        found = rows(pq.read_table(store.find("label", label.id).file("labels.parquet")))
        prefix = json.loads(store.find("prompt", stage.id).file("prompt.json").read_text())["prefix"]
        inputs = pq.read_table(store.find("examples", study.test_examples.id).file("inputs.parquet"))
        model = load_model(resolve(w2s.strong_model), inputs)
        texts = inputs_of([prefix + text for text in inputs["text"].to_pylist()])
        logits_NC = model(model.encode(texts), np.arange(len(inputs)))
        np.testing.assert_allclose(np.stack(found), logits_NC.softmax(1).detach().numpy(), atol=1e-5)

    def test_a_fit_begins_where_generative_fine_tuning_ended(self, results, study, store):
        adapted = METHODS["generative"](study.setting(study.pairs[0], 0)).student.start
        artifact = store.find("adapt", adapted.id)
        state = load_file(artifact.file("model.safetensors"))
        assert pq.read_table(artifact.file("curve.parquet")).num_rows == 3
        inputs = inputs_of(["w1"])
        before = load_model(resolve(adapted.model), inputs)
        assert not torch.equal(state["head.weight"], before.head.weight)
        tokens = list(before.answers.tokens)
        assert torch.equal(state["head.weight"], state["unembedding_VD"][tokens])

    def test_hints_reach_the_student(self, results, study):
        student = METHODS["imitation"](study.setting(study.pairs[0], 0))
        assert isinstance(student.examples, Hint)


def test_other_methods_take_language_models(study, store):
    """Early stopping, low-rank changes, probes, averages, features: what stages do with any model."""
    methods = ("early_stop", "lora(rank=2)", "lp_ft", "wise_ft", "ema", "knn_relabel")
    small = study.replace(methods=methods, num_train=16, num_test=8, num_validation=4)
    assert surpass.run(small, store).table.num_rows == len(methods)
    assert any(isinstance(row.student, Stop) for row in small.rows())


def test_generative_fine_tuning_goes_on_where_it_stopped(study, store, tmp_path):
    adapted = replace(
        METHODS["generative"](study.setting(study.pairs[0], 0)).student.start,
        recipe=replace(RECIPE, epochs=3),
    )
    run([adapted.examples], store)

    def context(name: str, **settings) -> Context:
        out, work = tmp_path / name / "out", tmp_path / name / "work"
        for folder in (out, work):
            folder.mkdir(parents=True, exist_ok=True)
        return Context(find=lambda s: store.find(s.kind, s.id), out=out, work=work, **settings)

    run_adapt(adapted, context("whole"))
    with pytest.raises(Stopped):
        run_adapt(adapted, context("stopped", stop=iter([False] * 3 + [True]).__next__))
    assert (tmp_path / "stopped/work/checkpoint.safetensors").exists()
    run_adapt(adapted, context("stopped"))
    for name in ("model.safetensors", "curve.parquet"):
        whole, stopped = ((tmp_path / which / "out" / name).read_bytes() for which in ("whole", "stopped"))
        assert whole == stopped, name


class Desk:
    """Runs what stages run on tables as they are."""

    def __init__(self, folder: Path, inputs: pa.Table, labels: pa.Table | None = None) -> None:
        folder.mkdir()
        self.out = folder
        pq.write_table(inputs, folder / "inputs.parquet")
        if labels is not None:
            pq.write_table(labels, folder / "labels.parquet")
        found = SimpleNamespace(file=lambda name: folder / name)
        self.context = Context(find=lambda _: found, out=folder, work=folder)

    def adapt(self, model: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        stage = SimpleNamespace(
            model=model, examples=None, recipe=Recipe(epochs=1, batch_size=4, learning_rate=1e-3), seed=0
        )
        said = run_adapt(stage, self.context)
        return said, load_file(self.out / "model.safetensors")

    def prompt(self, model: str, shots: int = 2) -> dict[str, Any]:
        run_prompt(
            SimpleNamespace(model=model, examples=None, labels=None, num_shots=shots, seed=0), self.context
        )
        return json.loads((self.out / "prompt.json").read_text())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TestTexts:
    PAIRS = tuple(zip(some_texts(6, seed=1), some_texts(6, seed=2), strict=True))

    def test_both_of_a_pair_are_learned(self, root, tmp_path):
        model = f"dir:{root / 'large'}"
        said, state = Desk(tmp_path / "pairs", pairs_of(list(self.PAIRS))).adapt(model)
        single = [text for pair in self.PAIRS for text in pair]
        alone, one_by_one = Desk(tmp_path / "texts", inputs_of(single)).adapt(model)
        assert said["num_examples"] == 6
        assert said["num_steps"] == alone["num_steps"] == 3
        assert said["last_loss"] == alone["last_loss"]
        heads = state.pop("head.weight"), one_by_one.pop("head.weight")
        assert same(state, one_by_one)
        assert torch.equal(heads[0], heads[1][:1])

    def test_the_first_loss_is_the_mean_over_both(self, root, tmp_path):
        inputs = pairs_of(list(self.PAIRS[:2]))
        model = load_model(resolve(f"dir:{root / 'large'}"), inputs)
        rows = [row.tolist() for row in model.encode(inputs).tokens]
        said, _ = Desk(tmp_path / "pairs", inputs).adapt(f"dir:{root / 'large'}")
        assert said["last_loss"] == pytest.approx(next_token_loss(model._causal[0], rows), rel=1e-5)

    @pytest.mark.parametrize(
        "column", [{"hint": [[0.9, 0.1], [0.2, 0.8]] * 3}, {"ask": ["true or false ?"] * 6}]
    )
    def test_neither_hints_nor_questions_are(self, root, tmp_path, column):
        """A hint is a label in words; a question says the same everywhere."""
        model = f"dir:{root / 'small'}"
        texts = some_texts(6)
        plain = Desk(tmp_path / "plain", inputs_of(texts)).adapt(model)
        more = Desk(tmp_path / "more", inputs_of(texts, **column)).adapt(model)
        assert same(plain[1], more[1])
        assert plain[0] == more[0]

    def test_memory_that_is_saved_changes_rounding_only(self, root, tmp_path):
        model = f"dir:{root / 'large'}"
        desks = [Desk(tmp_path / name, inputs_of(some_texts(8))) for name in ("plain", "saving")]
        desks[1].context = replace(desks[1].context, save_memory=True)
        plain, saving = (desk.adapt(model) for desk in desks)
        assert plain[0]["last_loss"] == pytest.approx(saving[0]["last_loss"], rel=1e-4)


class TestShots:
    def test_end_with_the_question_and_the_answer(self, root, tmp_path):
        inputs = inputs_of(["w1", "w2", "w3"], ask=["true or false ?"] * 3)
        labels = label_table(["t0", "t1", "t2"], [np.eye(2, dtype=np.float32)[n % 2] for n in range(3)])
        desk = Desk(tmp_path / "desk", inputs, labels)
        said = desk.prompt(f"dir:{root / 'large'}")
        word = {"t0": "w1", "t1": "w2", "t2": "w3"}
        assert said["prefix"] == "".join(
            f"{word[name]}\ntrue or false ?\nAnswer: {answer}\n\n"
            for name, answer in zip(said["ids"], said["answers"], strict=True)
        )
        assert sorted(said["answers"]) == [0, 1]

    def test_of_prompts_are_completions(self, root, tmp_path):
        prompts = pa.table({"id": ["a", "b", "c"], "prompt": ["w1 :", "w2 :", "w3 :"]})
        desk = Desk(tmp_path / "desk", prompts, completion_table(["a", "b", "c"], [" w4", " w5", " w6"]))
        said = desk.prompt(f"dir:{root / 'large'}", 3)
        assert sorted(said["prefix"].split("\n\n")) == ["", "w1 : w4", "w2 : w5", "w3 : w6"]
        assert sorted(said["answers"]) == [" w4", " w5", " w6"]

    def test_pairs_have_no_place_for_them(self, root, tmp_path):
        labels = label_table(["p0"], [np.array([0.0, 1.0], np.float32)])
        desk = Desk(tmp_path / "desk", pairs_of([("w1", "w2")]), labels)
        with pytest.raises(ConfigError, match="a pair of texts is judged one by one"):
            desk.prompt(f"dir:{root / 'large'}", 1)
