"""Frozen states out of the artifacts of `Features`, row by row.

Files are mapped into memory, and what has been read of them is let go again, so that states may be larger
than memory. (Only the format's header is read here; its library would copy whole tensors.)

Shape suffixes: N examples, D features.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from torch import Tensor

from surpass.errors import DataError
from surpass.models.names import ReadOut, read_name
from surpass.models.sources import resolve
from surpass.store.artifact import Artifact

if TYPE_CHECKING:
    from surpass.stages import Context, Features

Rows = npt.NDArray[np.int64]

KEPT_BYTES = 1 << 30
"""What this process remembers of states at most; more are read from their files whenever they are wanted."""

_TOUCHED_BYTES = 128 << 20
_MAPPED_AROUND = 1 << 21
"""Bytes that the system may map with one row."""

_OPEN = 64

_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


def own_read_out(features: Features) -> ReadOut:
    """Where the head of the model reads its states."""
    named = read_name(features.model)
    return ReadOut(named.layer, named.pooling)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


class _Shard:
    """One tensor of a file, mapped into memory."""

    def __init__(self, path: Path, name: str) -> None:
        header, begin = _header(path)
        entry = header[name]
        shape, dtype = tuple(entry["shape"]), _TYPES[entry["dtype"]]
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        count = int(np.prod(shape))
        start = begin + entry["data_offsets"][0]
        values = np.frombuffer(self._map, dtype=dtype, count=count, offset=start)
        self.values: npt.NDArray[Any] = values.reshape(shape)

    def let_go(self) -> None:
        """Drop what has been read from the memory of this process."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


class States:
    """The states of an artifact of `Features`, at one of its read-outs.

    Attributes:
        lost: Ids of the examples that are longer than what the model reads.
    """

    def __init__(self, artifact: Artifact, number: int) -> None:
        self.id = f"{artifact.id} {number}"
        # Without threads a small file is read in a fraction of the time.
        index = pq.read_table(artifact.file("index.parquet"), use_threads=False)
        self._ids = index["id"].combine_chunks()
        lost = index.filter(index["lost"]) if "lost" in index.column_names else index.slice(0, 0)
        self.lost = lost["id"].combine_chunks()
        names = sorted(name for name in artifact.manifest["files"] if name.startswith("states-"))
        self._shards = [_Shard(artifact.file(name), str(number)) for name in names]
        self._starts = np.cumsum([0] + [len(shard.values) for shard in self._shards])
        self._touched = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row: (D,), or (2, D) of a pair."""
        shape: tuple[int, ...] = self._shards[0].values.shape[1:]
        return shape

    def rows(self, ids: Sequence[str] | pa.Array) -> Rows:
        """Where the states of these examples are.

        Raises:
            DataError: Some are not there.
        """
        wanted = ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())
        found = pc.index_in(wanted, self._ids)
        if found.null_count:
            missing = wanted.filter(pc.is_null(found))[0].as_py()
            more = f" and {found.null_count - 1} more" if found.null_count > 1 else ""
            raise DataError(f"there are no states of {missing!r}{more}; use features of all examples")
        rows: Rows = found.to_numpy().astype(np.int64)
        return rows

    def take(self, rows: Rows) -> Tensor:
        """States of some rows, float32, in their order."""
        # Memory of torch's, whose place it always aligns alike: products may round differently elsewhere.
        given = torch.empty(len(rows), *self.shape)
        taken = given.numpy()
        shard_N = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(shard_N).tolist():
            (places,) = np.nonzero(shard_N == number)
            taken[places] = self._shards[number].values[rows[places] - self._starts[number]]
            self._touched += places.size * max(int(np.prod(self.shape)) * 4, _MAPPED_AROUND)
            if self._touched > _TOUCHED_BYTES:
                self._let_go()
        return given

    def _let_go(self) -> None:
        for shard in self._shards:
            shard.let_go()
        self._touched = 0


class Known:
    """The states of some examples, in their order: in memory, or in their files where that is too much."""

    def __init__(self, states: States, rows: Rows) -> None:
        self._states, self._rows = states, rows
        self.nbytes = len(rows) * int(np.prod(states.shape)) * 4
        self._held = states.take(rows) if self.nbytes <= KEPT_BYTES else None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row: (D,), or (2, D) of a pair."""
        return self._states.shape

    @property
    def held(self) -> Tensor | None:
        """All of them, float32, where they are in memory."""
        return self._held

    def __getitem__(self, rows: Rows) -> Tensor:
        """States of some of them, float32."""
        if self._held is not None:
            return self._held.index_select(0, torch.from_numpy(rows))
        return self._states.take(self._rows[rows])

    def chunks(self, size: int) -> Iterator[tuple[slice, Tensor]]:
        """All of them, so many at a time."""
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self._held[part] if self._held is not None else self._states.take(self._rows[part])


_remembered: OrderedDict[str, Known] = OrderedDict()
_open: OrderedDict[str, States] = OrderedDict()


def _opened(context: Context, features: Features) -> tuple[str, States]:
    """The states that an artifact has of these features, and a name for them."""
    artifact = context.find(features)
    wanted, said = own_read_out(features), [ReadOut(*each) for each in artifact.manifest["said"]["read_outs"]]
    if wanted not in said:
        raise DataError(f"there are no states of {resolve(features.model).short_name}; run again")
    number = said.index(wanted)
    name = f"{artifact.path} {number}"
    if name not in _open:
        _open[name] = States(artifact, number)
        while len(_open) > _OPEN:
            _open.popitem(last=False)
    return name, _open[name]


def shape_of_states(context: Context, features: Features) -> tuple[int, ...]:
    """The shape of the states of one example: (D,), or (2, D) of a pair."""
    return _opened(context, features)[1].shape


def states_of(context: Context, features: Features, ids: Sequence[str]) -> Known:
    """The states of some examples, out of the artifact of these features or of a pass that holds them too.

    Raises:
        DataError: Some are not there.
    """
    name, states = _opened(context, features)
    rows = states.rows(ids)
    key = f"{name} {sha256(rows.tobytes()).hexdigest()}"
    if key not in _remembered:
        _remembered[key] = Known(states, rows)
    _remembered.move_to_end(key)
    while len(_remembered) > 1 and sum(known.nbytes for known in _remembered.values()) > KEPT_BYTES:
        _remembered.popitem(last=False)
    return _remembered[key]


def read_states(context: Context, features: Features, ids: Sequence[str]) -> Tensor:
    """The states of some examples, float32 (N, D) or (N, 2, D), in their order."""
    known = states_of(context, features, ids)
    return known[np.arange(len(known))]


def own_head(context: Context, features: Features) -> dict[str, Tensor] | None:
    """The head that the model has of its own; None where it is drawn anew, as at another layer."""
    if isinstance(features.source, str) and own_read_out(features) != ReadOut():
        return None
    artifact = context.find(features)
    return (
        load_file(artifact.file("head.safetensors"))
        if "head.safetensors" in artifact.manifest["files"]
        else None
    )


def lost_tokens(context: Context, features: Features, ids: Sequence[str]) -> int:
    """How many of these examples are longer than what the model reads of them."""
    lost = _opened(context, features)[1].lost
    return int(pc.sum(pc.is_in(pa.array(ids, pa.string()), lost)).as_py() or 0) if len(lost) else 0
