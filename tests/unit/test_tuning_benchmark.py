"""The pieces of the benchmark of fine-tuning, on inputs so small that their numbers say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reference.language import inputs_of, save_tiny, some_texts, write_texts
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.store import Store
from surpass.tasks import find_task
from surpass.train.recipe import Recipe

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECIPE = Recipe(epochs=1, batch_size=32, learning_rate=1e-3)


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("models")
    return save_tiny(root / "weak", "bert", seed=1), save_tiny(root / "strong", "bert", seed=2)


def parts() -> Any:
    rivals = import_module("tuning_rivals")
    texts = some_texts(40)
    probs_NC = np.eye(2, dtype=np.float32)[np.arange(40) % 2]
    part = rivals.Part(texts, probs_NC)
    return rivals.Data(part, part, rivals.Part(texts[:10], probs_NC[:10]))


def test_needed_arithmetic_by_hand(folders):
    rates = import_module("tuning_rates")
    table = inputs_of(["w1 w2", "w3 w4 w5"])
    model = load_model(resolve(f"dir:{folders[0]}"), table)
    examples = model.encode(table)
    lengths = [len(row) for row in examples.tokens]
    config = model.body.config
    total = 0
    for length in lengths:
        for _ in range(config.num_hidden_layers):
            total += 4 * 2 * length * config.hidden_size**2  # queries, keys, values, output
            total += 2 * 2 * length * config.hidden_size * config.intermediate_size
            total += 2 * 2 * length * length * config.hidden_size  # scores, and what they weigh
    assert rates.needed(model, examples, 2) == total


def test_rates(folders):
    rates = import_module("tuning_rates")
    found = rates.rates(f"dir:{folders[0]}", inputs_of(some_texts(40)), 1, 32, "cpu")
    assert [each.bound for each in found] == [0.6, 0.7]
    assert all(0 < each.value < 1 for each in found)


def test_rivals_have_the_model_of_the_study(folders):
    rivals = import_module("tuning_rivals")
    torch.manual_seed(0)
    theirs = rivals.Model(folders[0]).eval()
    assert not any(layer.p for layer in theirs.modules() if isinstance(layer, nn.Dropout))
    texts = some_texts(5)
    table = inputs_of(texts)
    ours = load_model(resolve(f"dir:{folders[0]}(pooling=mean)"), table)
    ours.head.load_state_dict(theirs.head.state_dict())
    examples = ours.encode(table)
    for row, tokens in enumerate(examples.tokens):
        ids = torch.from_numpy(tokens)[None]
        with torch.no_grad():
            wanted = ours(examples, np.array([row]))
            torch.testing.assert_close(theirs(ids, torch.ones_like(ids))["logits"], wanted)


@pytest.mark.parametrize("who", range(3))
def test_each_rival_takes_as_many_steps_and_learns(folders, who, monkeypatch):
    pytest.importorskip("accelerate")
    studies, rivals = import_module("tuning_studies"), import_module("tuning_rivals")
    steps: list[int] = []
    step = torch.optim.AdamW.step

    def counted(self, *given, **named):
        steps.append(1)
        return step(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    learn, _ = list(studies.RIVALS.values())[who]
    models = tuple(f"dir:{folder}" for folder in folders)
    found = rivals.three_steps(learn, models, parts(), RECIPE, 0, ["naive", "gce", "lp_ft"])
    assert len(steps) == 6 * RECIPE.num_steps(40)
    assert set(found) == {"naive", "gce", "lp_ft"}
    assert all(0 <= value <= 1 for value in found["naive"])


def test_a_probe_of_a_rival_leaves_the_body_alone(folders):
    rivals = import_module("tuning_rivals")
    seen: list[tuple[bool, float]] = []

    def learn(model, tokenizer, part, loss, recipe, seed):
        assert model.head.weight.requires_grad
        seen.append((any(each.requires_grad for each in model.body.parameters()), recipe.learning_rate))
        return lambda texts: np.full((len(texts), 2), 0.5, np.float32)

    for name, way in rivals.WAYS.items():
        rivals.learned(learn, f"dir:{folders[0]}", parts().weak, way, RECIPE, 0)
        rate = RECIPE.learning_rate
        whole, head = (True, rate), (False, rate)
        wanted = {"naive": [whole], "probe(rate_factor=10)": [(False, 10 * rate)], "lp_ft": [head, whole]}
        assert seen == wanted[name]
        seen.clear()


@pytest.mark.parametrize("tuned", [False, True])
def test_labels_of_a_trainer_come_in_the_order_of_texts(folders, tuned):
    pytest.importorskip("accelerate")
    rivals = import_module("tuning_rivals")
    label = rivals.learned(
        rivals.with_trainer(tuned=tuned), f"dir:{folders[0]}", parts().weak, rivals.Way(), RECIPE, 0
    )
    texts = some_texts(90, seed=3)
    alone = np.concatenate([label([text]) for text in texts[:7]])
    np.testing.assert_allclose(label(texts)[:7], alone, atol=1e-5)


def test_the_study_reads_what_its_rivals_read(folders, tmp_path, monkeypatch):
    studies = import_module("tuning_studies")
    write_texts(tmp_path / "texts.jsonl", 300)
    sizes = studies.Sizes(train=32, test=20, epochs=1, seeds=2)
    monkeypatch.setattr(studies, "PAIR", tuple(f"dir:{folder}" for folder in folders))
    monkeypatch.setattr(studies, "find_task", lambda _: find_task(f"text:{tmp_path / 'texts.jsonl'}"))
    study = studies.tuned_study(tmp_path, sizes)
    data = studies.data_of(study, Store(tmp_path / "data"))
    assert [len(each.weak.texts) for each in data] == [32, 32]
    assert data[0].weak.texts != data[1].weak.texts
    assert data[0].test.texts == data[1].test.texts
    assert not set(data[0].weak.texts) & set(data[0].student.texts)
    ours = studies.Ours(study, tmp_path / "ours", 1)
    ours()
    theirs = studies.Theirs(import_module("tuning_rivals").one_by_one, data, study)
    theirs()
    assert {name: len(each) for name, each in ours.accuracies().items()} == {
        name: len(each) for name, each in theirs.accuracies().items()
    }


def test_many_methods_seed_by_seed(folders, tmp_path, monkeypatch):
    studies, rivals = import_module("tuning_studies"), import_module("tuning_rivals")
    write_texts(tmp_path / "texts.jsonl", 300)
    monkeypatch.setattr(studies, "PAIR", tuple(f"dir:{folder}" for folder in folders))
    monkeypatch.setattr(studies, "find_task", lambda _: find_task(f"text:{tmp_path / 'texts.jsonl'}"))
    monkeypatch.setattr(studies, "METHODS", ("naive", "lp_ft"))
    monkeypatch.setattr(studies, "with_trainer", lambda tuned: rivals.one_by_one)
    monkeypatch.setattr(studies, "_warm", lambda *_: None)
    apart, shared = studies.many(tmp_path, studies.Sizes(32, 20, 1, 2), tmp_path, 1, "cpu")
    turns = apart.details["turns"]
    assert len(turns) == 2
    for found, at in ((shared, 1), (apart, 2)):
        ours, theirs = (sum(turn[who].cpu for turn in turns) for who in (0, at))
        assert found.value == pytest.approx(theirs / ours)
        assert {len(each) for who in found.details["accuracies"].values() for each in who.values()} == {2}


def test_memory_is_measured_in_a_process_of_its_own(folders, monkeypatch):
    memory = import_module("tuning_memory")
    monkeypatch.setattr(memory, "LARGE", 16)
    monkeypatch.setattr(memory, "TOKENS", 8)
    found = memory.peaks([f"dir:{folder}" for folder in folders], 1)
    assert len(found) == 4
    said = found[0].details
    assert said["peak"] > said["before"] > said["weights"] > 0
    assert said["activations"] > 0


def test_states_kept_against_none(folders, monkeypatch):
    """Digits are held against each other there."""
    module = import_module("tuning_frozen")
    monkeypatch.setattr(module, "MODEL", f"dir:{folders[0]}")
    monkeypatch.setattr(module, "ADAPTER", "last(layers=1)")
    monkeypatch.setattr("surpass.train.below.FLOPS_PER_BYTE", {"memory": 0.0, "file": 0.0})
    found = module.compared(inputs_of(some_texts(12)), 1, "cpu", module.Setup(2, 2, 0.0))
    assert found.value == found.details["ratios"]["cpu"] > 0
    assert found.details["texts"] == 12
    assert "2 students of 2 epochs" in found.what
