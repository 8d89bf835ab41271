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
        card: dict[str, Any] = json.loads(header.pop("__metadata__")["card"])
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise DataError(f"{path} is no weights file of the ladder ({error}); use `surpass ladder train`") from None
    if size != 8 + length + end:
        raise DataError(f"{path} is cut short: {size} of {8 + length + end} bytes; copy or train it again")
    return card
