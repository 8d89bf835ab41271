"""Behaviour cloning of human games: one rung of the ladder from a file of games.

Every position of every game is drawn once, in random order, before any is drawn again. The loss
is cross-entropy over the moves that the pieces' movement allows: what is legal needs no learning.
Order and initial weights follow from the seed, and training goes on after a stop to the same bits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from surpass.disk import atomic_write
from surpass.errors import ConfigError
from surpass.ladder.games import Games, Positions, positions_of
from surpass.models.planes import attacks, decode, pseudo_legal
from surpass.models.policy import Policy, PolicyConfig, config_metadata, fold

BATCH = 256
WARMUP_STEPS = 100
FIRST_PLY = 8
HOLDOUT_POSITIONS = 20_000
IMPOSSIBLE = -1e4


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
    "chess-1": Rung(PolicyConfig(channels=8, blocks=1, key_dim=8), positions=400_000, learning_rate=5e-3),
    "chess-2": Rung(PolicyConfig(channels=16, blocks=2, key_dim=16), positions=500_000, learning_rate=4e-3),
    "chess-3": Rung(PolicyConfig(channels=24, blocks=3, key_dim=24), positions=700_000, learning_rate=3e-3),
    "chess-4": Rung(PolicyConfig(channels=32, blocks=5), positions=900_000, learning_rate=3e-3),
    "chess-5": Rung(PolicyConfig(channels=48, blocks=6), positions=1_000_000),
    "chess-6": Rung(PolicyConfig(channels=64, blocks=8), positions=1_300_000),
}


class Progress(NamedTuple):
    """Where training stands."""

    step: int
    num_steps: int
    loss: float
    positions_per_second: float


class _Order:
    """Positions without replacement, reshuffled when all were drawn; a function of seed and step."""

    def __init__(self, num_positions: int, seed: int) -> None:
        self.num_positions, self.seed, self.epoch = num_positions, seed, -1

    def rows(self, step: int) -> np.ndarray:
        epoch, place = divmod(step, self.num_positions // BATCH)
        if epoch != self.epoch:
            self.order = np.random.default_rng((self.seed, epoch)).permutation(self.num_positions)
            self.epoch = epoch
        return np.sort(self.order[place * BATCH : (place + 1) * BATCH])


def _masked_logits(policy: Policy, boards_NB: Tensor) -> Tensor:
    position = decode(boards_NB)
    attacks_NSS = attacks(position)
    logits_NM = policy.score(position, attacks_NSS)
    return logits_NM.masked_fill(~pseudo_legal(position, attacks_NSS), IMPOSSIBLE)


def _batch(positions: Positions, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    moves = torch.from_numpy(positions.moves_P[rows].astype(np.int64))
    return torch.from_numpy(positions.boards_PB[rows]), moves


def _save_checkpoint(path: Path, policy: Policy, optimizer: torch.optim.AdamW, step: int) -> None:
    tensors = {f"policy.{name}": value.contiguous() for name, value in policy.state_dict().items()}
    for place, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{place}.{name}": value.contiguous() for name, value in state.items()}
    atomic_write(path, save(tensors, {"step": str(step)}))


def _load_checkpoint(path: Path, policy: Policy, optimizer: torch.optim.AdamW) -> int:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
    tensors = load_file(path)
    policy.load_state_dict({name[7:]: value for name, value in tensors.items() if name.startswith("policy.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, place, entry = name.split(".")
            state.setdefault(int(place), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return step


@torch.no_grad()
def move_accuracy(policy: Policy, positions: Positions) -> tuple[float, float]:
    """Share of moves matched (0 to 1) and cross-entropy in nats, over pseudo-legal moves."""
    policy.eval()
    hits, loss = 0, 0.0
    for start in range(0, len(positions), 512):
        boards_NB, moves_N = _batch(positions, np.arange(start, min(start + 512, len(positions))))
        logits_NM = _masked_logits(policy, boards_NB)
        hits += int((logits_NM.argmax(1) == moves_N).sum())
        loss += float(nn.functional.cross_entropy(logits_NM, moves_N, reduction="sum"))
    return hits / len(positions), loss / len(positions)


def pretrain(
    name: str,
    games: Games,
    folder: Path,
    *,
    rung: Rung | None = None,
    seed: int = 0,
    checkpoint_seconds: float = 120.0,
    report: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train a rung, or go on with it, and write its weights.

    Args:
        name: A key of `RUNGS`.
        games: What to learn from.
        folder: Where weights `NAME.safetensors` and the checkpoint go.
        rung: Another recipe than the one in `RUNGS`.
        seed: Initial weights and order.
        checkpoint_seconds: How often to save, in seconds.
        report: Called every 50 steps.

    Returns:
        The path of the weights.

    Raises:
        ConfigError: There is no such rung, or there are too few games for one batch.
    """
    if rung is None:
        if name not in RUNGS:
            raise ConfigError(f"no rung {name!r}; there are: {', '.join(RUNGS)}")
        rung = RUNGS[name]
    positions = positions_of(games, holdout=False, first_ply=FIRST_PLY)
    if len(positions) < BATCH:
        raise ConfigError(f"{len(positions)} positions are fewer than one batch of {BATCH}: give more games")
    torch.manual_seed(seed)
    policy = Policy(rung.config, normalised=True)
    optimizer = torch.optim.AdamW(policy.parameters(), weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    order, num_steps = _Order(len(positions), seed), max(1, rung.positions // BATCH)
    checkpoint, weights = folder / f"{name}.checkpoint.safetensors", folder / f"{name}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    start = _load_checkpoint(checkpoint, policy, optimizer) if checkpoint.exists() else 0
    policy.train()
    began = saved = time.monotonic()
    for step in range(start, num_steps):
        rate = min(1.0, (step + 1) / WARMUP_STEPS, (num_steps - step) / num_steps)
        optimizer.param_groups[0]["lr"] = rung.learning_rate * rate
        boards_NB, moves_N = _batch(positions, order.rows(step))
        loss = nn.functional.cross_entropy(_masked_logits(policy, boards_NB), moves_N)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 50 == 49:
            speed = (step + 1 - start) * BATCH / (time.monotonic() - began)
            report(Progress(step + 1, num_steps, loss.item(), speed))
        if time.monotonic() - saved > checkpoint_seconds:
            _save_checkpoint(checkpoint, policy, optimizer, step + 1)
            saved = time.monotonic()
    _save_checkpoint(checkpoint, policy, optimizer, num_steps)
    holdout = positions_of(games, holdout=True, first_ply=FIRST_PLY, max_positions=HOLDOUT_POSITIONS)
    accuracy, nats = move_accuracy(policy, holdout)
    card = {
        "name": name,
        "config": config_metadata(rung.config),
        "parameters": sum(value.numel() for value in fold(policy).parameters()),
        "training": {**asdict(rung), "flops": rung.flops, "seed": seed, "games": int((~games.holdout).sum())},
        "holdout": {"positions": len(holdout), "move_accuracy": accuracy, "nats": nats},
    }
    state = {entry: value.contiguous() for entry, value in fold(policy).state_dict().items()}
    atomic_write(weights, save(state, {"card": json.dumps(card, sort_keys=True)}))
    return weights
