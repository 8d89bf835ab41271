"""One short fit, carried out in every way that must not matter: the same trajectory each time."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from processes import nursery
from surpass import Study, find_recipe, run
from surpass.errors import Stopped
from surpass.labels import rows, truth_labels
from surpass.losses import LOSSES
from surpass.models.adapters import find_adapter, settle
from surpass.models.moves import MoveChoice, MoveExamples
from surpass.models.sources import resolve
from surpass.results import Results
from surpass.stages import Score
from surpass.store import Store
from surpass.store.artifact import Artifact
from surpass.study import targets
from surpass.tasks.chess import ChessTask
from surpass.train.loop import Labels, Running, fit
from surpass.train.recipe import Recipe

NUM_EXAMPLES, NUM_STEPS = 128, 20
RECIPE = Recipe(epochs=5, batch_size=32, learning_rate=1e-3)
SMALL = ("pairs=1-2", "seeds=1", "num_train=64", "num_test=60", "epochs=2", "batch_size=16")

KINDS = ("xent", "confidence", "small_loss", "gce", "elr")
"""A loss of each kind: a target of labels alone, of logits, of the batch; per example, with memory."""

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def examples() -> tuple[MoveExamples, Labels]:
    tables = ChessTask().examples(part="student", size=NUM_EXAMPLES, seed=0)
    encoded = MoveChoice.encode(tables.inputs)
    probs = rows(truth_labels(tables.truth, encoded.num_candidates_N.tolist()))
    return encoded, Labels(probs, np.ones(NUM_EXAMPLES, np.float32))


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trajectory(
    examples: tuple[MoveExamples, Labels],
    *,
    loss: str = "xent",
    seed: int = 0,
    ema: float = 0.0,
    adapter: str = "full",
    running: Running | None = None,
) -> tuple[Tensor, State]:
    torch.manual_seed(0)
    model = MoveChoice.load(resolve("ladder:chess-1"))
    find_adapter(adapter)(model)
    losses = fit(model, *examples, loss=loss, recipe=RECIPE, seed=seed, ema=ema, running=running or Running())
    assert losses.shape == (NUM_STEPS,)
    settle(model)
    return losses, model.state_dict()


def apart(what: str, ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference, in nats; printed with the mean for whoever asks with -s."""
    difference = (ours - theirs).abs()
    print(f"{what}: max {difference.max():.1e}, mean {difference.mean():.1e} nats")  # noqa: T201
    return float(difference.max())


def same_bits(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("one_thread")
def test_learns(examples):
    losses, _ = trajectory(examples)
    assert losses.isfinite().all()
    assert losses[-4:].mean() < losses[:4].mean()


@pytest.mark.usefixtures("one_thread")
def test_number_of_threads_changes_rounding_only(examples):
    one, _ = trajectory(examples)
    torch.set_num_threads(2)
    two, _ = trajectory(examples)
    assert apart("one thread, two threads", one, two) < 1e-4


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("loss", "micro_batch"),
    [(loss, 8) for loss in LOSSES] + [(loss, size) for loss in KINDS for size in (1, 31)],
)
def test_micro_batches_change_rounding_only(examples, loss, micro_batch):
    whole, _ = trajectory(examples, loss=loss)
    parts, _ = trajectory(examples, loss=loss, running=Running(micro_batch=micro_batch))
    assert apart(f"{loss}, micro-batches of {micro_batch}", whole, parts) < 1e-5


@pytest.mark.usefixtures("one_thread")
def test_micro_batch_as_large_as_the_batch_is_the_batch(examples):
    assert torch.equal(trajectory(examples)[0], trajectory(examples, running=Running(micro_batch=32))[0])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "settings", [{"adapter": "frozen"}, {"adapter": "lora"}, {"ema": 0.9}, {"adapter": "lora", "ema": 0.9}]
)
def test_adapters_and_averages_in_micro_batches(examples, settings):
    whole, state = trajectory(examples, **settings)
    parts, other = trajectory(examples, running=Running(micro_batch=8), **settings)
    assert apart(f"{settings}, micro-batches of 8", whole, parts) < 1e-5
    assert all((state[name] - other[name]).abs().max() < 1e-4 for name in state)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("loss", ["xent", "confidence", "gce", "elr"])
def test_weights_of_labels_in_micro_batches(examples, loss):
    weight_N = np.random.default_rng(0).exponential(size=NUM_EXAMPLES).astype(np.float32)
    weighted = examples[0], Labels(examples[1].probs, weight_N)
    whole, _ = trajectory(weighted, loss=loss)
    parts, _ = trajectory(weighted, loss=loss, running=Running(micro_batch=8))
    assert apart(f"{loss}, weighted, micro-batches of 8", whole, parts) < 1e-5
    assert not torch.equal(whole, trajectory(examples, loss=loss)[0])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "elr"},
        {"ema": 0.9},
        {"adapter": "frozen"},
        {"adapter": "lora"},
        {"adapter": "lora", "ema": 0.9, "loss": "elr"},
    ],
)
@pytest.mark.parametrize("steps", [(1,), (7,), (19,), (1, 7, 19)])
def test_resumed_is_undisturbed_to_the_bit(examples, settings, steps, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    before = 0
    for step in steps:
        asked = iter(range(1, step - before + 1))
        running = Running(checkpoint=checkpoint, stop=lambda asked=asked, n=step - before: next(asked) == n)
        with pytest.raises(Stopped):
            trajectory(examples, running=running, **settings)
        before = step
    resumed, state = trajectory(examples, running=Running(checkpoint=checkpoint), **settings)
    fresh, fresh_state = trajectory(examples, **settings)
    assert torch.equal(resumed, fresh)
    assert same_bits(state, fresh_state)


@pytest.mark.usefixtures("one_thread")
def test_checkpoints_on_the_way_change_nothing(examples, tmp_path):
    running = Running(checkpoint=tmp_path / "checkpoint.safetensors", checkpoint_seconds=0)
    often, state = trajectory(examples, running=running)
    never, never_state = trajectory(examples)
    assert torch.equal(often, never)
    assert same_bits(state, never_state)


@pytest.mark.usefixtures("one_thread")
def test_seed_decides(examples):
    once, again, other = (trajectory(examples, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(once[0], again[0])
    assert same_bits(once[1], again[1])
    assert not torch.equal(once[0], other[0])
    assert not same_bits(once[1], other[1])


def digests(store: Path) -> dict[str, dict[str, str]]:
    """The sha256 of all files of a store, by stage and name; stages are told apart by their ids."""
    return {
        artifact.id: {name: file["sha256"] for name, file in artifact.manifest["files"].items()}
        for artifact in Store(store).artifacts()
    }


def test_two_processes_give_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        assert nursery().run("run", "chess", *SMALL, cwd=tmp_path / folder).code == 0
    one, two = (digests(tmp_path / folder / "surpass-store") for folder in ("one", "two"))
    assert any("model.safetensors" in files for files in one.values())
    assert one == two


@pytest.fixture(scope="module")
def small() -> Study:
    from surpass.overrides import override

    return override(find_recipe("chess"), SMALL)


@pytest.fixture(scope="module")
def stored(small, tmp_path_factory) -> tuple[Path, Results]:
    folder = tmp_path_factory.mktemp("stored") / "store"
    return folder, run(small, str(folder))


def of_student(small: Study, store: Store) -> dict[str, Artifact]:
    """The student's fit, labels and score."""
    score: Score = targets(small.rows()[0])[1]
    stages = {"fit": score.labels.source, "label": score.labels, "score": score}
    return {name: store.find(stage.kind, stage.id) for name, stage in stages.items()}


@pytest.mark.parametrize("lost", [("score",), ("label", "score"), ("fit", "label", "score")])
def test_recomputed_is_cached_to_the_bit(small, stored, lost, tmp_path):
    shutil.copytree(stored[0], tmp_path / "store")
    store = Store(tmp_path / "store")
    before = of_student(small, store)
    content = {a.path / f: (a.path / f).read_bytes() for a in before.values() for f in a.manifest["files"]}
    assert {path.name for path in content} >= {"model.safetensors", "labels.parquet", "score.json"}
    for name in lost:
        shutil.rmtree(before[name].path)
    again = run(small, Store(tmp_path / "store"))
    assert {path: path.read_bytes() for path in content} == content
    assert without_time(again) == without_time(stored[1])


def without_time(results: Results) -> list[dict]:
    """The rows, with None for numbers that are not defined: no NaN equals another."""
    return [
        {name: None if value != value else value for name, value in row.items() if name != "seconds"}
        for row in results.rows()
    ]


def test_another_seed_gives_other_bytes(small, stored, tmp_path):
    other = small.replace(seeds=(1,))
    run(other, str(tmp_path / "store"))
    ours, theirs = (
        of_student(study, Store(folder))["fit"].file("model.safetensors").read_bytes()
        for study, folder in ((small, stored[0]), (other, tmp_path / "store"))
    )
    assert ours != theirs
