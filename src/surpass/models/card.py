"""The model card in a weights file's header, read without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from surpass.errors import DataError

_LONGEST_HEADER = 100_000_000


def read_card(path: Path) -> dict[str, Any]:
    """What the ladder wrote about a weights file: name, shape, parameters, training.

    Raises:
        DataError: The file is missing, cut short, or no weights file of the ladder.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("no safetensors header")
            header = json.loads(file.read(length))
            size = path.stat().st_size
        card = json.loads(header.pop("__metadata__")["card"])
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if not isinstance(card, dict):
            raise TypeError("its card is no table")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        reason = str(error) if isinstance(error, OSError) else "it has no card"
        raise DataError(
            f"{path} is no weights file of the ladder ({reason}); use `surpass ladder train`"
        ) from None
    if size != 8 + length + end:
        raise DataError(f"{path} is cut short: {size} of {8 + length + end} bytes; copy or train it again")
    return card


def describe(card: dict[str, Any]) -> str:
    """A model card as a few lines of text.

    Raises:
        DataError: The card lacks an entry.
    """
    try:
        config, training, holdout = card["config"], card["training"], card["holdout"]
        lines = {
            "name": card["name"],
            "parameters": f"{card['parameters']:,}",
            "channels": str(config["channels"]),
            "blocks": str(config["blocks"]),
            "key width": str(config["key_dim"]),
            "trained on": f"{training['positions']:,} positions of {training['games']:,} games",
            "learning rate": f"{training['learning_rate']:g} at its peak",
            "seed": str(training["seed"]),
            "compute": f"{training['flops']:.3g} FLOP",
            "held out": "no games",
        }
        if holdout["positions"]:
            share, nats = holdout["move_accuracy"], holdout["nats"]
            lines["held out"] = f"{share:.1%} of {holdout['positions']:,} moves matched, {nats:.3f} nats"
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the model card lacks {error}; write the weights with `surpass ladder train`"
        ) from None
    return "\n".join(f"{name:<13}  {value}" for name, value in lines.items())
