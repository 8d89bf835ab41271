"""One state of a text out of the states of its tokens.

Shape suffixes: N texts, T tokens (the longest row of the pass), D features.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from surpass.errors import DataError
from surpass.models.folders import POOLING

_NAMES = {"cls": "first", "mean": "mean", "lasttoken": "last"}
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


def pooling_of(folder: Path) -> str:
    """How an encoder's states are pooled: first, mean or last; the first token where nothing is said.

    Raises:
        DataError: The folder says something else.
    """
    path = folder / POOLING
    if not path.is_file():
        return "first"
    try:
        said = json.loads(path.read_text())
        modes = [mode for switch, mode in _SWITCHES.items() if said.get(switch)]
        modes += [said["pooling_mode"]] if isinstance(said.get("pooling_mode"), str) else []
    except (OSError, ValueError, AttributeError):
        raise DataError(f"{path} is damaged; copy it again") from None
    if len(modes) != 1 or modes[0] not in _NAMES:
        raise DataError(
            f"{path} asks for pooling by {' and '.join(modes) or 'nothing'}; one of {', '.join(_NAMES)} "
            "is known: set that, or delete the file for cls"
        )
    return _NAMES[modes[0]]


def pooled(states_NTD: Tensor, inside_NT: Tensor, how: str) -> Tensor:
    """The state of each text, (N, D); padding, 0 in the mask, has no part in it."""
    if how == "first":
        return states_NTD[:, 0]
    length_N = inside_NT.sum(dim=1)
    if how == "last":
        return states_NTD[torch.arange(len(length_N), device=length_N.device), length_N - 1]
    # Not a product with the mask: padding may be infinite.
    return states_NTD.masked_fill(inside_NT[:, :, None] == 0, 0.0).sum(dim=1) / length_N[:, None]
