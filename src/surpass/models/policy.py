"""Chess policies: residual convolutions on the board seen from the side to move.

The head scores a move by what its two squares say of each other: a bilinear form of the features
at the square of origin and the square of arrival. Pretraining uses batch normalisation; what ships
and is fine-tuned has it folded into the convolutions (`fold`), so that a student's gradient never
depends on which other examples share its batch.

Shape suffixes: N positions, B packed bytes (34), C channels, M move numbers (4168), S squares (64), R squares
of all positions, L chosen moves of each position (the longest row).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from surpass.boards import NUM_MOVES, UNDERPROMOTIONS
from surpass.models.normalising import merged
from surpass.models.planes import NUM_PLANES, Position, attacks, decode, input_planes
from surpass.models.policy_gradients import Passed, features
from surpass.models.policy_head import Scoring

_STEPS = 3


@dataclass(frozen=True)
class PolicyConfig:
    """Shape of a policy.

    Attributes:
        channels: Width of the trunk.
        blocks: Residual blocks of two 3x3 convolutions.
        key_dim: Width of the bilinear head.
    """

    channels: int
    blocks: int
    key_dim: int = 32

    @property
    def flops(self) -> float:
        """Floating-point operations of one forward pass for one position (a multiply-add is two).

        Those of convolutions and keys and their products; decoding the position and scoring
        underpromotions are left out.
        """
        trunk = 9 * (NUM_PLANES * self.channels + 2 * self.blocks * self.channels**2)
        return 2.0 * 64 * (trunk + 2 * self.channels * self.key_dim + 64 * self.key_dim)


class Block(nn.Module):
    """relu(x + conv(relu(conv(x)))), each convolution normalised while pretraining."""

    def __init__(self, channels: int, *, normalised: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=not normalised)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=not normalised)
        self.norm1: nn.Module = nn.BatchNorm2d(channels) if normalised else nn.Identity()
        self.norm2: nn.Module = nn.BatchNorm2d(channels) if normalised else nn.Identity()
        if isinstance(self.norm2, nn.BatchNorm2d):
            nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, C, 8, 8) to the same shape."""
        hidden = torch.relu_(self.norm1(self.conv1(x)))
        return torch.relu_(self.norm2(self.conv2(hidden)).add_(x))


class Policy(nn.Module):
    """Scores every move number on a position."""

    def __init__(self, config: PolicyConfig, *, normalised: bool = False) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.stem = nn.Conv2d(NUM_PLANES, width, 3, padding=1, bias=not normalised)
        self.stem_norm: nn.Module = nn.BatchNorm2d(width) if normalised else nn.Identity()
        self.square_bias = nn.Parameter(torch.zeros(1, width, 8, 8))
        self.blocks = nn.ModuleList(Block(width, normalised=normalised) for _ in range(config.blocks))
        self.origin = nn.Linear(width, config.key_dim)
        self.target = nn.Linear(width, config.key_dim)
        self.underpromotion = nn.Linear(width, len(UNDERPROMOTIONS) * _STEPS)
        # As convolutions take them and give their gradients, so that none is copied on the way.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, boards_NB: Tensor) -> Tensor:
        """Logits of all move numbers, legal or not, float32 (N, 4168), of packed positions, uint8 (N, 34)."""
        position = decode(boards_NB)
        return self.score(position, attacks(position))

    def score(self, position: Position, attacks_NSS: Tensor) -> Tensor:
        """The same for decoded positions whose attacks are known."""
        return self.head(self.trunk(input_planes(position, attacks_NSS)))

    def trunk(self, planes: Tensor) -> Tensor:
        """Features of every square below the head, float32 (N, C, 8, 8), of `input_planes`."""
        x = torch.relu_(self.stem_norm(self.stem(planes)) + self.square_bias)
        for block in self.blocks:
            x = block(x)
        return x

    def head(self, trunk: Tensor) -> Tensor:
        """Logits of all move numbers, float32 (N, 4168), of the trunk's features."""
        squares_NSC = trunk.permute(0, 2, 3, 1).flatten(1, 2)
        origin = self.origin(squares_NSC) * self.config.key_dim**-0.5
        moves_NSS = origin @ self.target(squares_NSC).transpose(1, 2)
        under = self.underpromotion(squares_NSC[:, 48:56]).unflatten(2, (len(UNDERPROMOTIONS), _STEPS))
        logits_NM = torch.cat((moves_NSS.flatten(1), under.transpose(1, 2).flatten(1)), dim=1)
        assert logits_NM.shape[1] == NUM_MOVES
        return logits_NM

    def features(self, planes: Tensor) -> Tensor:
        """As `trunk`; without gradients in the way in which `moves` has them."""
        weights = None if torch.is_grad_enabled() else self._written()
        return self.trunk(planes) if weights is None else features(planes, weights)

    def moves(self, planes: Tensor, moves_NL: Tensor) -> Tensor:
        """Logits of some moves of each position, float32 (N, L), as `chosen` of `trunk`."""
        passed = None if torch.is_grad_enabled() else self.passed(planes, moves_NL, back=False)
        return self.chosen(self.trunk(planes), moves_NL) if passed is None else passed.logits_NL

    def passed(self, planes: Tensor, moves_NL: Tensor, *, back: bool = True) -> Passed | None:
        """The same with a way back that needs no autograd.

        None where autograd has to find it: norms have to be computed, weights are computed from others, or
        hooks of a layer wait to be called.
        """
        weights = self._written()
        return None if weights is None else Passed(planes, moves_NL, weights, back=back)

    def _written(self) -> list[nn.Parameter] | None:
        """The weights as `Passed` takes them; None where layers have to be called."""
        parameters, hooks = self._inside
        weights = [self.square_bias]
        for values in parameters:
            weight, bias = values.get("weight"), values.get("bias")
            if weight is None or bias is None:
                return None
            weights += weight, bias
        return None if any(hooks) else weights

    @cached_property
    def _inside(self) -> tuple[list[dict[str, nn.Parameter | None]], list[dict[int, Any]]]:
        """Of what has weights when it is folded, from below, these; and the hooks of all layers."""
        blocks: Any = self.blocks
        convolutions = [layer for block in blocks for layer in (block.conv1, block.conv2)]
        layers: list[nn.Module] = [self.stem, *convolutions, self.origin, self.target, self.underpromotion]
        each = [*layers, *self.blocks]
        hooks = [found for layer in each for found in (layer._forward_hooks, layer._forward_pre_hooks)]
        return [layer._parameters for layer in layers], hooks

    def chosen(self, trunk: Tensor, moves_NL: Tensor) -> Tensor:
        """Logits of some moves of each position, float32 (N, L), of the trunk's features.

        The same to rounding as those of `head`, a fortieth of which are of legal moves: only the two keys of
        each move are multiplied. Gradients can be had once, unless hooks of a layer wait to be called.

        Args:
            trunk: Features of every square, float32 (N, C, 8, 8).
            moves_NL: Move numbers, int64; below 0 where there is none, whose logit is -inf.
        """
        layers = self.origin, self.target, self.underpromotion
        if any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers):
            logits_NL = self.head(trunk).gather(1, moves_NL.clamp(min=0))
            return logits_NL.masked_fill(moves_NL < 0, -torch.inf)
        squares_RC = trunk.permute(0, 2, 3, 1).flatten(0, 2)
        weights = [weight for layer in layers for weight in (layer.weight, layer.bias)]
        return Scoring.apply(squares_RC, moves_NL, *weights)  # type: ignore[no-untyped-call, no-any-return]


@torch.no_grad()
def fold(policy: Policy) -> Policy:
    """The same function without normalisation layers, as evaluation mode computes it.

    Raises:
        ValueError: The policy has no normalisation layers.
    """
    if not isinstance(policy.stem_norm, nn.BatchNorm2d):
        raise ValueError("this policy is folded already")
    with torch.random.fork_rng(devices=[]):  # the initial weights it draws are thrown away
        folded = Policy(policy.config)
    state = {name: value for name, value in policy.state_dict().items() if "norm" not in name}
    pairs = [("stem", policy.stem, policy.stem_norm)]
    for place, block in enumerate(policy.blocks):
        pairs += [
            (f"blocks.{place}.conv{k}", getattr(block, f"conv{k}"), getattr(block, f"norm{k}"))
            for k in (1, 2)
        ]
    for name, conv, norm in pairs:
        state[f"{name}.weight"], state[f"{name}.bias"] = merged(conv, norm)
    folded.load_state_dict(state)
    return folded


def config_metadata(config: PolicyConfig) -> dict[str, int]:
    """The shape as plain numbers, for the header of a weights file."""
    return asdict(config)
