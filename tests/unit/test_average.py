"""Models averaged from several."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from reference.bench import Bench, same_state, state_of, table_of
from reference.studies import CHESS
from surpass.errors import ConfigError
from surpass.models.moves import MoveChoice
from surpass.models.sources import resolve
from surpass.stages import TRUTH, Blend, Examples, Fit, Label, Stop, Truth
from surpass.store.artifact import Artifact
from surpass.tasks.planted import PlantedTask
from surpass.train.recipe import Recipe

TASK = PlantedTask(num_classes=3, num_features=6)
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.03)
EXAMPLES = Examples(task=TASK, part="student", size=40, seed=0)
HELD_OUT = Examples(task=TASK, part="validation", size=30, seed=0)
FIT = Fit(model="linear:6", examples=EXAMPLES, labels=TRUTH, recipe=RECIPE, seed=1)
BY_TRUTH = Stop(fit=FIT, examples=HELD_OUT, labels=TRUTH)
WEAK = Label(source="linear:2", examples=HELD_OUT)

POSITIONS = Examples(task=CHESS, part="validation", size=16, seed=0)
TUNED = Fit(model="ladder:chess-1", examples=POSITIONS, labels=TRUTH, recipe=RECIPE, seed=1)
OTHER = replace(TUNED, seed=2)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("tuned"))
    bench.run_all(TUNED)
    bench.run(OTHER)
    return bench


def arrays(artifact: Artifact) -> dict[str, np.ndarray]:
    return load_file(artifact.file("model.safetensors"))


def blend(*weights: float) -> Blend:
    fits = (TUNED, OTHER)[: len(weights) - 1]
    return Blend(model="ladder:chess-1", examples=POSITIONS, fits=fits, weights=weights)


class TestBlend:
    @pytest.mark.parametrize(
        "weights", [(0.5, 0.5), (0.25, 0.75), (0.2, 0.3, 0.5), (0.0, 0.5, 0.5), (-0.5, 1.5)]
    )
    def test_equals_the_slow_twin(self, tuned, weights):
        pretrained = {
            name: value.numpy() for name, value in MoveChoice.load(resolve(TUNED.model)).state_dict().items()
        }
        states = [pretrained, arrays(tuned.find(TUNED)), arrays(tuned.find(OTHER))]
        blended = arrays(tuned.run(blend(*weights)))
        assert blended.keys() == pretrained.keys()
        for name, found in blended.items():
            expected = np.zeros(found.size)
            for weight, state in zip(weights, states, strict=False):
                for place, value in enumerate(state[name].ravel().tolist()):
                    expected[place] += weight * value
            np.testing.assert_array_equal(found.ravel(), expected.astype(np.float32))

    @pytest.mark.parametrize(("weights", "which"), [((0.0, 1.0), TUNED), ((0.0, 0.0, 1.0), OTHER)])
    def test_at_the_ends_is_one_of_them(self, tuned, weights, which):
        assert same_state(state_of(tuned.run(blend(*weights))), state_of(tuned.find(which)))
        fitted = state_of(tuned.run(blend(1.0, 0.0)))
        assert same_state(fitted, MoveChoice.load(resolve(TUNED.model)).state_dict())

    def test_labels_like_any_model(self, tuned):
        at_the_end = Label(source=blend(0.0, 1.0), examples=POSITIONS)
        plain = Label(source=TUNED, examples=POSITIONS)
        assert table_of(tuned.run_all(at_the_end)).equals(table_of(tuned.run(plain)))

    @pytest.mark.parametrize("weights", [(0.5, 0.4), (1.0,), (0.2, 0.3, 0.5), (0.5, 0.5 + 1e-6)])
    def test_bad_weights(self, weights):
        with pytest.raises(
            ConfigError, match=r"must be 2 numbers that sum to 1: of the pretrained model, then"
        ):
            Blend(model=TUNED.model, examples=POSITIONS, fits=(TUNED,), weights=weights)


def test_sees_and_learns_from_what_its_fit_does():
    assert BY_TRUTH.model == FIT.model
    assert BY_TRUTH.teacher == FIT.teacher == TRUTH
    assert blend(0.5, 0.5).teacher == TRUTH
    taught = replace(FIT, labels=Truth(examples=EXAMPLES))
    assert Stop(fit=taught, examples=HELD_OUT, labels=WEAK).label.endswith("-stopped-by-linear-2")
    assert BY_TRUTH.label == f"{FIT.label}-stopped-by-truth"
    assert blend(0.25, 0.75).label == f"{TUNED.label}-blend-0.25-0.75"
    assert BY_TRUTH.sees(HELD_OUT) is blend(0.5, 0.5).sees(HELD_OUT) is HELD_OUT
