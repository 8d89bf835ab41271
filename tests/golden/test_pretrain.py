"""Pretraining of a tiny rung: its trajectory does not depend on what happens on the way."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reference.random_games import random_pgn
from surpass.errors import ConfigError, DataError, Stopped
from surpass.ladder import games as games_module
from surpass.ladder import pretrain as module
from surpass.ladder.games import collect
from surpass.ladder.pretrain import BATCH, RUNGS, Rung, find_rung, pretrain
from surpass.models.card import describe, read_card
from surpass.models.policy import Policy, PolicyConfig

STEPS = 14
TINY = Rung(PolicyConfig(channels=8, blocks=1, key_dim=4), positions=BATCH * STEPS, learning_rate=0.01)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setattr(module, "WARMUP_STEPS", 4)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    path = tmp_path_factory.mktemp("games") / "games.pgn"
    path.write_text(random_pgn(range(30), plies=60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(games_module, "HOLDOUT_ONE_IN", 5)
        return collect([path])


@pytest.fixture(scope="module")
def undisturbed(games, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WARMUP_STEPS", 4)
        torch.set_num_threads(1)
        return pretrain("tiny", games, tmp_path_factory.mktemp("undisturbed"), rung=TINY)


def run(games, folder, **options):
    return pretrain("tiny", games, folder, rung=TINY, **options)


def stop_after(steps):
    """Says yes when it is asked before step number `steps`."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps


def interrupt(games, folder, steps, **options):
    with pytest.raises(Stopped, match=f"tiny stopped after step .* of {STEPS}"):
        run(games, folder, stop=stop_after(steps), **options)
    return folder / "tiny.checkpoint.safetensors"


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("stops", [(0,), (5,), (3, 1, 6)])
def test_interrupted_is_undisturbed(games, tmp_path, undisturbed, stops):
    for steps in stops:
        interrupt(games, tmp_path, steps)
    assert json.loads(metadata(tmp_path / "tiny.checkpoint.safetensors")["position"])["step"] == sum(stops)
    assert not (tmp_path / "tiny.safetensors").exists()
    assert run(games, tmp_path).read_bytes() == undisturbed.read_bytes()
    checkpoints = [
        load_file(path.with_name("tiny.checkpoint.safetensors")) for path in (undisturbed, tmp_path / "x")
    ]
    assert all(torch.equal(checkpoints[0][name], value) for name, value in checkpoints[1].items())


def test_saving_often_and_running_again_change_nothing(games, tmp_path, undisturbed):
    for _ in range(2):
        assert run(games, tmp_path, checkpoint_seconds=0.0).read_bytes() == undisturbed.read_bytes()


def test_surroundings_change_nothing(games, tmp_path, undisturbed):
    torch.manual_seed(1234)
    before = torch.random.get_rng_state()
    assert run(games, tmp_path).read_bytes() == undisturbed.read_bytes()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_seed_matters(games, tmp_path, undisturbed):
    other = load_file(run(games, tmp_path, seed=1))
    assert not torch.equal(other["stem.weight"], load_file(undisturbed)["stem.weight"])


def test_two_threads_give_nearly_the_same(games, tmp_path):
    """At a small rate: AdamW's first steps are of its size however small a gradient is, and noise too."""
    slow = Rung(TINY.config, positions=BATCH * 8, learning_rate=1e-3)
    expected = load_file(pretrain("tiny", games, tmp_path / "one", rung=slow))
    torch.set_num_threads(2)
    for name, value in load_file(pretrain("tiny", games, tmp_path / "two", rung=slow)).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-4)


def test_loss_falls_and_progress_is_told(games, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REPORT_STEPS", 3)
    told = []
    run(games, tmp_path, report=told.append)
    assert [progress.step for progress in told] == [3, 6, 9, 12, 14]
    assert {progress.num_steps for progress in told} == {STEPS}
    assert told[-1].loss < told[0].loss - 0.1
    assert all(progress.positions_per_second > 0 for progress in told)


@pytest.mark.parametrize("num_positions", [BATCH, 3 * BATCH - 1, 3 * BATCH, 3 * BATCH + 1])
def test_order_draws_every_position_once_per_epoch(num_positions):
    order, per_epoch = module._Order(num_positions, seed=7), num_positions // BATCH
    epochs = []
    for epoch in range(2):
        rows = [order.rows(epoch * per_epoch + place) for place in range(per_epoch)]
        assert all(len(part) == BATCH and (np.diff(part) > 0).all() for part in rows)
        drawn = np.concatenate(rows)
        assert len(set(drawn.tolist())) == per_epoch * BATCH > num_positions - BATCH
        assert 0 <= drawn.min() <= drawn.max() < num_positions
        epochs.append(drawn.tolist())
    if num_positions > BATCH:
        assert epochs[0] != epochs[1]
    late = module._Order(num_positions, seed=7).rows(2 * per_epoch - 1)
    np.testing.assert_array_equal(late, rows[-1])


def test_weights_and_card(games, undisturbed):
    policy = Policy(TINY.config)
    policy.load_state_dict(load_file(undisturbed))
    card = read_card(undisturbed)
    assert card["config"] == {"channels": 8, "blocks": 1, "key_dim": 4}
    assert card["parameters"] == sum(value.numel() for value in policy.parameters())
    assert card["flops"] == TINY.config.flops
    assert card["training"]["flops"] == 3 * TINY.config.flops * TINY.positions
    assert card["training"]["games"] == int((~games.holdout).sum())
    assert 0 < card["holdout"]["move_accuracy"] < 1
    assert 0 < card["holdout"]["nats"] < 5
    assert f"of {card['holdout']['positions']:,} moves matched" in describe(card)


def test_without_held_out_games(games, tmp_path):
    none_held = type(games)(**{**vars(games), "holdout": np.zeros(len(games), bool)})
    card = read_card(run(none_held, tmp_path))
    assert card["holdout"] == {"positions": 0, "move_accuracy": None, "nats": None}
    assert "no games" in describe(card)


def test_checkpoint_of_another_recipe_is_refused(games, tmp_path):
    path = interrupt(games, tmp_path, 2)
    fewer = type(games)(**{**vars(games), "holdout": ~games.holdout})
    longer = Rung(TINY.config, positions=TINY.positions * 2)
    before = path.read_bytes()
    for other, rung, seed in ((games, TINY, 1), (fewer, TINY, 0), (games, longer, 0)):
        with pytest.raises(ConfigError, match="of another recipe, seed or games: delete it"):
            pretrain("tiny", other, tmp_path, rung=rung, seed=seed)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "nothing", "weights", "other shape"])
def test_damaged_checkpoint(games, tmp_path, undisturbed, damage):
    path = tmp_path / "tiny.checkpoint.safetensors"
    whole = undisturbed.with_name(path.name).read_bytes()
    path.write_bytes({"cut": whole[:-9], "nothing": b""}.get(damage, undisturbed.read_bytes()))
    if damage == "other shape":
        save_file({"policy.stem.weight": torch.zeros(3)}, path, {"step": "1"})
    with pytest.raises(DataError, match=r"cannot go on from .* delete it to begin anew") as caught:
        run(games, tmp_path)
    assert "\n" not in str(caught.value)


def test_too_few_games(games, tmp_path):
    few = type(games)(**{**vars(games), "holdout": np.arange(len(games)) > 2})
    with pytest.raises(ConfigError, match=f"fewer than one batch of {BATCH}: give more games"):
        run(few, tmp_path)


def test_rungs():
    with pytest.raises(ConfigError, match="no rung 'chess-9'; there are: chess-1, "):
        find_rung("chess-9")
    compute = [rung.flops for rung in RUNGS.values()]
    assert list(RUNGS) == [f"chess-{place}" for place in range(1, 7)]
    assert all(2 < above / below < 9 for below, above in pairwise(compute))
