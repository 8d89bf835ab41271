"""Every method against its slow twin: equal test probabilities, by stages and by hand.

The twins compute in float64. The largest error in any probability is 6e-7 here, and was below 1e-6 with four
other seeds, soft labels and hard ones; in none of them did a threshold or a rank fall differently.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from reference.bench import Bench, table_of
from reference.laboratory import Lab, Model, Part, linear
from reference.methods import TWINS
from surpass.calls import parse
from surpass.errors import ConfigError
from surpass.labels import rows
from surpass.methods import METHODS, find_method
from surpass.models.adapters import find_adapter
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.study import Study
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe
from surpass.train.run import INITIAL_WEIGHTS

TESTS = Path(__file__).parents[1]
TOLERANCE = 1e-5
APART = 2e-4

TASK = PlantedTask(num_features=20, imbalance=3.0)
RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.05, weight_decay=0.01)
SEED, NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 4, 160, 100, 150
LINEAR, HIDDEN = "linear:all", "mlp:allx8"

ALL_HEAD = {"probe", "lora", "probe_truth"}
"""Methods for which a linear student has nothing below the head; they have a student with a hidden layer."""

WITH_A_BODY = (*sorted(ALL_HEAD), "naive", "lp_ft", "ema", "wise_ft", "early_stop", "saliency")
WITH_A_BODY += ("fit_truth", "dfr", "dfr_weak")
WITH_SETTINGS = (
    *("naive(loss=confidence)", "strong_to_strong(iterations=1)", "ema(decay=0.5)", "wise_ft(share=0.8)"),
    *(
        "curriculum(frac=0.2)",
        "co_teaching(forget=0.5)",
        "imitation(loss=product)",
        "top_confident(frac=0.4)",
    ),
    *("small_loss_filter(keep=0.5)", "reliability_filter(keep=0.5)", "co_supervised(rounds=1)"),
    *("mix_truth(frac=0.6)", "truth_part(of=3)", "easy_to_hard(frac=0.3)"),
    *("divdis(heads=3)", "divdis(mutual=1.0)", "divdis(prior=0.0)"),
)

_NEEDS_LANGUAGE = "a prompt or a text has no meaning for vectors of numbers"
ELSEWHERE = {
    "zero_shot": (
        "it is the pretrained model as it is; no tabular model is pretrained",
        "unit/test_prompting.py",
    ),
    "few_shot_weak": (_NEEDS_LANGUAGE, "unit/test_prompting.py"),
    "few_shot_truth": (_NEEDS_LANGUAGE, "unit/test_prompting.py"),
    "generative": (_NEEDS_LANGUAGE, "unit/test_prompting.py"),
}
"""Methods that do not apply to the planted task: why, and where they are tested."""


EQUAL_HERE = frozenset({"divdis", "divdis_truth"})
"""The supervisor chooses the head that truth would choose; unit/test_diversify.py has a case apart."""


def study(strong: str, labels: str) -> Study:
    return Study(
        name="twins",
        task=TASK,
        pairs=(("linear:4", strong),),
        between=("linear:8", "linear:16"),
        seeds=(SEED,),
        labels=labels,
        num_train=NUM_TRAIN,
        num_test=NUM_TEST,
        num_validation=NUM_VALIDATION,
        recipe=RECIPE,
    )


def part(name: str, size: int, seed: int, skip: int = 0) -> Part:
    inputs, truth = (table.slice(skip) for table in TASK.examples(part=name, size=skip + size, seed=seed)[:2])
    return Part(
        ids=inputs["id"].to_pylist(),
        seen=np.array(inputs["features"].to_pylist()),
        truth=truth["truth"].to_pylist(),
        columns={column: inputs[column].to_pylist() for column in ("difficulty", "length")},
    )


def initial(strong: str) -> tuple[Model, Model]:
    """The random weights that a fit begins with, and those of its changes of low rank."""
    if strong == LINEAR:
        return linear(TASK.num_features), {}
    torch.manual_seed(SEED + INITIAL_WEIGHTS)
    model = load_model(resolve(strong), TASK.examples(part="student", size=1, seed=SEED).inputs)
    weights = {name: value.double().numpy().copy() for name, value in model.state_dict().items()}
    find_adapter("lora(rank=8)")(model)
    change = model.body.parametrizations.weight[0]
    low_rank = {"up": change.up_OR, "down": change.down_RI}
    return weights, {name: value.detach().double().numpy() for name, value in low_rank.items()}


@cache
def lab(strong: str, labels: str) -> Lab:
    weights, low_rank = initial(strong)
    return Lab(
        weak=part("weak", NUM_TRAIN, SEED),
        student=part("student", NUM_TRAIN, SEED),
        fresh=[part("student", NUM_TRAIN, SEED, skip=number * NUM_TRAIN) for number in (1, 2)],
        validation=part("validation", NUM_VALIDATION, 0),
        test=part("test", NUM_TEST, 0),
        weak_model=linear(4),
        between=[linear(8), linear(16)],
        strong_model=weights,
        low_rank=low_rank,
        recipe=RECIPE,
        seed=SEED,
        hard=labels == "hard",
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("twins"))


def by_stages(bench: Bench, method: str, strong: str, labels: str) -> np.ndarray:
    """The test probabilities of a method's student."""
    found = study(strong, labels)
    student = find_method(method)(found.setting(found.pairs[0], SEED))
    return np.array(rows(table_of(bench.run_all(found.score(student).labels))))


@cache
def by_hand(method: str, strong: str, labels: str) -> np.ndarray:
    name, settings = parse(method)
    return TWINS[name](lab(strong, labels), **settings)


def error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max())


ON_LINEAR = [(name, LINEAR, labels) for labels in ("soft", "hard") for name in TWINS if name not in ALL_HEAD]
CASES = [
    *ON_LINEAR,
    *((name, LINEAR, "soft") for name in WITH_SETTINGS),
    *((name, HIDDEN, "soft") for name in WITH_A_BODY),
]


@pytest.mark.parametrize(("method", "strong", "labels"), CASES)
def test_a_method_is_its_twin(bench, method, strong, labels):
    assert error(by_stages(bench, method, strong, labels), by_hand(method, strong, labels)) < TOLERANCE


def test_every_method_has_a_twin_or_a_reason():
    assert set(TWINS) | set(ELSEWHERE) == set(METHODS)
    assert not set(TWINS) & set(ELSEWHERE)
    for name, (reason, where) in ELSEWHERE.items():
        assert reason
        assert name in (TESTS / where).read_text()


def distance(one: str, other: str) -> float:
    """How far two methods are apart in the case that shows it best; without bound if they share none."""
    both = [case for name, *case in CASES if name == one and (other, *case) in CASES]
    return max((error(by_hand(one, *case), by_hand(other, *case)) for case in both), default=np.inf)


@pytest.mark.parametrize("method", [name for name in TWINS if name != "naive"])
def test_twins_are_told_apart(method):
    """So that no method passes for another."""
    twice = {frozenset({method, name}) for name in TWINS if name != method and distance(method, name) < APART}
    assert twice <= {EQUAL_HERE}


@pytest.mark.parametrize("method", WITH_SETTINGS)
def test_settings_change_something(method):
    assert error(by_hand(method, LINEAR, "soft"), by_hand(parse(method).name, LINEAR, "soft")) > APART


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_weights_lie_between(share):
    found = study(LINEAR, "soft")
    with pytest.raises(ConfigError, match=r"wise_ft\(share=.*\) must be from 0 \(pretrained\) to 1"):
        find_method(f"wise_ft(share={share})")(found.setting(found.pairs[0], SEED))
