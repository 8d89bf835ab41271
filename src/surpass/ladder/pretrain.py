"""Behaviour cloning of human games: one rung of the ladder from a file of games.

Every position of every game is drawn once, in random order, before any is drawn again (but for
the last ones of each round, fewer than a batch). The loss is cross-entropy over the moves that the
pieces' movement allows: what is legal needs no learning. Order and initial weights follow from the
seed, and training goes on after a stop to the same bits.

Shape suffixes: N positions, B packed bytes (34), S squares (64), L moves of each (the longest row).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from surpass.allocator import keep_freed
from surpass.disk import atomic_write, disk_errors
from surpass.errors import ConfigError, Stopped
from surpass.ladder.games import Games, Positions, positions_of
from surpass.models.planes import attacks, decode, input_planes
from surpass.models.policy import Policy, PolicyConfig, config_metadata, fold
from surpass.models.pseudo_legal import pseudo_legal
from surpass.train.checkpoint import load_checkpoint, save_checkpoint

BATCH = 256
WARMUP_STEPS = 100
FIRST_PLY = 8
HOLDOUT_POSITIONS = 20_000
REPORT_STEPS = 50


@dataclass(frozen=True)
class Rung:
    """How a rung is made.

    Attributes:
        config: Shape of the policy.
        positions: How many positions it is trained on.
        learning_rate: Peak, after warm-up; then linearly down to zero.
    """

    config: PolicyConfig
    positions: int
    learning_rate: float = 2e-3

    @property
    def flops(self) -> float:
        """Training compute: three forward passes' worth (forward and backward) for each position."""
        return 3.0 * self.config.flops * self.positions


RUNGS = {
    "chess-1": Rung(PolicyConfig(channels=4, blocks=1, key_dim=4), positions=300_000, learning_rate=5e-3),
    "chess-2": Rung(PolicyConfig(channels=8, blocks=1, key_dim=8), positions=400_000, learning_rate=5e-3),
    "chess-3": Rung(PolicyConfig(channels=16, blocks=2, key_dim=16), positions=500_000, learning_rate=4e-3),
    "chess-4": Rung(PolicyConfig(channels=24, blocks=3, key_dim=24), positions=700_000, learning_rate=3e-3),
    "chess-5": Rung(PolicyConfig(channels=32, blocks=5), positions=900_000, learning_rate=3e-3),
    "chess-6": Rung(PolicyConfig(channels=64, blocks=8), positions=1_300_000),
}


class Progress(NamedTuple):
    """Where training stands; the loss is that of the last batch, in nats."""

    step: int
    num_steps: int
    loss: float
    positions_per_second: float


class _Order:
    """Positions without replacement, reshuffled when all were drawn; a function of seed and step."""

    def __init__(self, num_positions: int, seed: int) -> None:
        self.num_positions, self.seed, self.epoch = num_positions, seed, -1

    def rows(self, step: int) -> npt.NDArray[np.int64]:
        """The rows of one batch, int64 (BATCH), ascending."""
        epoch, place = divmod(step, self.num_positions // BATCH)
        if epoch != self.epoch:
            self.order = np.random.default_rng((self.seed, epoch)).permutation(self.num_positions)
            self.epoch = epoch
        return np.sort(self.order[place * BATCH : (place + 1) * BATCH])


def _logits(policy: Policy, boards_NB: Tensor, moves_N: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the moves that the pieces' movement allows, float32 (N, L), and where the played ones are."""
    position = decode(boards_NB)
    attacks_NSS = attacks(position)
    moves_NL = pseudo_legal(position, attacks_NSS)
    played_NL = moves_NL == moves_N[:, None]
    assert bool(played_NL.any(1).all())
    logits_NL = policy.chosen(policy.trunk(input_planes(position, attacks_NSS)), moves_NL)
    return logits_NL, played_NL.int().argmax(1)


def _batch(positions: Positions, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    moves = torch.from_numpy(positions.moves_P[rows].astype(np.int64))
    return torch.from_numpy(positions.boards_PB[rows]), moves


class _Training:
    """A policy on its way: what a checkpoint holds."""

    def __init__(self, rung: Rung, seed: int) -> None:
        self.rung, self.seed = rung, seed
        self.step, self.num_steps = 0, max(1, rung.positions // BATCH)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = Policy(rung.config, normalised=True)
        self.optimizer = torch.optim.AdamW(
            self.policy.parameters(), weight_decay=0.01, betas=(0.9, 0.98), fused=True
        )

    def update(self, boards_NB: Tensor, moves_N: Tensor) -> Tensor:
        """Make one step, and return its loss."""
        warm, left = (self.step + 1) / WARMUP_STEPS, (self.num_steps - self.step) / self.num_steps
        self.optimizer.param_groups[0]["lr"] = self.rung.learning_rate * min(1.0, warm, left)
        loss = nn.functional.cross_entropy(*_logits(self.policy, boards_NB, moves_N))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        return loss

    def run(
        self,
        positions: Positions,
        *,
        save: Callable[[], None],
        save_seconds: float,
        report: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        """Make all steps that are left, or those until `stop` says yes; save now and then, and at the end."""
        self.policy.train()
        order = _Order(len(positions), self.seed)
        start, began, saved = self.step, time.monotonic(), time.monotonic()
        while self.step < self.num_steps and not stop():
            loss = self.update(*_batch(positions, order.rows(self.step)))
            if self.step % REPORT_STEPS == 0 or self.step == self.num_steps:
                speed = (self.step - start) * BATCH / (time.monotonic() - began)
                report(Progress(self.step, self.num_steps, loss.item(), speed))
            if time.monotonic() - saved > save_seconds:
                save()
                saved = time.monotonic()
        save()

    def save(self, path: Path, recipe: str) -> None:
        """Write a checkpoint whole or not at all."""
        save_checkpoint(path, self.policy, self.optimizer, {"step": self.step, "recipe": recipe}, {})

    def load(self, path: Path, recipe: str) -> None:
        """Go on from a checkpoint.

        Raises:
            ConfigError: The checkpoint is another recipe's.
            DataError: The file is damaged or no checkpoint.
        """
        position, _ = load_checkpoint(path, self.policy, self.optimizer)
        if position["recipe"] != recipe:
            raise ConfigError(
                f"{path} is of another recipe, seed or games: delete it, or write to another folder"
            )
        self.step = int(position["step"])


@torch.no_grad()
def move_accuracy(policy: Policy, positions: Positions) -> tuple[float, float]:
    """Share of moves matched (0 to 1) and cross-entropy in nats, over pseudo-legal moves."""
    policy.eval()
    hits, loss = 0, 0.0
    for start in range(0, len(positions), 512):
        boards_NB, moves_N = _batch(positions, np.arange(start, min(start + 512, len(positions))))
        logits_NL, place_N = _logits(policy, boards_NB, moves_N)
        hits += int((logits_NL.argmax(1) == place_N).sum())
        loss += float(nn.functional.cross_entropy(logits_NL, place_N, reduction="sum"))
    return hits / len(positions), loss / len(positions)


def _recipe(rung: Rung, seed: int, games: Games) -> str:
    """A digest of all that decides what a checkpoint grows into."""
    text = json.dumps([asdict(rung), seed, games.digest], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _write_weights(path: Path, name: str, rung: Rung, seed: int, games: Games, policy: Policy) -> None:
    """Measure the policy on the held-out games and write it, folded, with its card."""
    holdout = positions_of(games, holdout=True, first_ply=FIRST_PLY, max_positions=HOLDOUT_POSITIONS)
    accuracy, nats = move_accuracy(policy, holdout) if len(holdout) else (None, None)
    folded = fold(policy)
    card = {
        "name": name,
        "config": config_metadata(rung.config),
        "parameters": sum(value.numel() for value in folded.parameters()),
        "flops": rung.config.flops,
        "training": {**asdict(rung), "flops": rung.flops, "seed": seed, "games": int((~games.holdout).sum())},
        "holdout": {"positions": len(holdout), "move_accuracy": accuracy, "nats": nats},
    }
    state = {entry: value.contiguous() for entry, value in folded.state_dict().items()}
    atomic_write(path, to_bytes(state, {"card": json.dumps(card, sort_keys=True)}))


def find_rung(name: str) -> Rung:
    """The recipe of a rung.

    Raises:
        ConfigError: There is no such rung.
    """
    if name not in RUNGS:
        raise ConfigError(f"no rung {name!r}; there are: {', '.join(RUNGS)}")
    return RUNGS[name]


def pretrain(
    name: str,
    games: Games,
    folder: Path,
    *,
    rung: Rung | None = None,
    seed: int = 0,
    checkpoint_seconds: float = 120.0,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a rung, or go on with it, and write its weights.

    Args:
        name: A key of `RUNGS`.
        games: What to learn from.
        folder: Where weights `NAME.safetensors` and the checkpoint go.
        rung: Another recipe than the one in `RUNGS`.
        seed: Initial weights and order.
        checkpoint_seconds: How often to save, in seconds.
        report: Called every 50 steps and after the last.
        stop: Asked before every step; when it says yes, a checkpoint is saved and training ends.

    Returns:
        The path of the weights.

    Raises:
        ConfigError: There is no such rung, there are too few games for one batch, or the folder
            holds the checkpoint of another recipe.
        StoreError: The folder cannot be written.
        DataError: The checkpoint is damaged.
        Stopped: `stop` said yes.
    """
    rung = rung or find_rung(name)
    checkpoint, weights = folder / f"{name}.checkpoint.safetensors", folder / f"{name}.safetensors"
    training, recipe = _Training(rung, seed), _recipe(rung, seed, games)
    if checkpoint.exists():
        training.load(checkpoint, recipe)
    positions = positions_of(games, holdout=False, first_ply=FIRST_PLY)
    if len(positions) < BATCH:
        raise ConfigError(f"{len(positions)} positions are fewer than one batch of {BATCH}: give more games")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    keep_freed()
    save = partial(training.save, checkpoint, recipe)
    training.run(positions, save=save, save_seconds=checkpoint_seconds, report=report, stop=stop)
    if training.step < training.num_steps:
        raise Stopped(f"{name} stopped after step {training.step} of {training.num_steps}; it can go on")
    _write_weights(weights, name, rung, seed, games, training.policy)
    return weights
