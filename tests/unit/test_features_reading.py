"""States read back from the files of a pass, which are written by hand here."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from reference.language import save_tiny
from reference.studies import some_examples
from surpass.errors import DataError
from surpass.stages import Context, Features
from surpass.store.artifact import Artifact
from surpass.train import features as module
from surpass.train.features import lost_tokens, own_head, read_states, shape_of_states, states_of

NUM, WIDTH = 23, 6
SHARDS = (5, 1, 10, 7)
IDS = [f"e{number * 7 % NUM}" for number in range(NUM)]
"""In the order of the files; it is not that of their numbers."""

PLAIN = Features(source="linear:4", examples=some_examples())


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_remembered", type(module._remembered)())
    monkeypatch.setattr(module, "_open", type(module._open)())


class Pass:
    """A folder as `Features` leaves it; `states` are the tensors of each read-out."""

    def __init__(self, folder: Path, *states: np.ndarray, read_outs: Any = ((None, None),)) -> None:
        self.states, self.folder, start = states, folder, 0
        folder.mkdir()
        for number, size in enumerate(SHARDS):
            part = {
                str(place): np.ascontiguousarray(each[start : start + size])
                for place, each in enumerate(states)
            }
            save_file(part, folder / f"states-{number:05d}.safetensors")
            start += size
        lost = pa.array([name in ("e3", "e4") for name in IDS])
        pq.write_table(pa.table({"id": IDS, "lost": lost}), folder / "index.parquet")
        files = {path.name: {} for path in folder.iterdir()}
        manifest = {"files": files, "said": {"read_outs": [list(each) for each in read_outs]}}
        self.context = Context(
            find=lambda stage: Artifact("features", stage.id, folder, manifest), out=folder, work=folder
        )

    def row(self, name: str, place: int = 0) -> np.ndarray:
        return self.states[place][IDS.index(name)]


def some(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.fixture(params=["in memory", "in files"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "in files":
        monkeypatch.setattr(module, "KEPT_BYTES", WIDTH * 4)
        monkeypatch.setattr(module, "_TOUCHED_BYTES", 1 << 17)
    return request.param


@pytest.mark.usefixtures("kept")
class TestRows:
    @pytest.mark.parametrize("shape", [(WIDTH,), (2, WIDTH)])
    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("seed", range(3))
    def test_in_the_order_of_the_ids(self, tmp_path, shape, dtype, seed):
        written = Pass(tmp_path / "pass", some(NUM, *shape, dtype=dtype))
        asked = list(np.random.default_rng(seed).permutation(IDS)[: NUM - 4 * seed])
        found = read_states(written.context, PLAIN, asked)
        assert found.dtype == torch.float32
        assert shape_of_states(written.context, PLAIN) == shape
        np.testing.assert_array_equal(found.numpy(), np.stack([written.row(name) for name in asked]))

    def test_some_of_them_again_and_again(self, tmp_path):
        written = Pass(tmp_path / "pass", some(NUM, WIDTH))
        known = states_of(written.context, PLAIN, IDS[::-1])
        assert len(known) == NUM
        for rows in (np.arange(NUM), np.array([3]), np.array([7, 0, 22, 7]), np.array([], np.int64)):
            expected = [written.row(IDS[::-1][row]) for row in rows]
            np.testing.assert_array_equal(known[rows].numpy(), np.array(expected).reshape(-1, WIDTH))

    @pytest.mark.parametrize("size", [1, 4, NUM - 1, NUM, 100])
    def test_in_chunks(self, tmp_path, size):
        written = Pass(tmp_path / "pass", some(NUM, WIDTH))
        known = states_of(written.context, PLAIN, IDS[3:])
        parts = list(known.chunks(size))
        assert [part.start for part, _ in parts] == list(range(0, NUM - 3, size))
        assert max(len(states) for _, states in parts) <= size
        np.testing.assert_array_equal(
            torch.cat([states for _, states in parts]).numpy(), written.states[0][3:]
        )

    def test_one_that_is_missing_is_named(self, tmp_path):
        written = Pass(tmp_path / "pass", some(NUM, WIDTH))
        with pytest.raises(DataError, match=r"'nobody'") as caught:
            read_states(written.context, PLAIN, [*IDS, "nobody"])
        assert " 0 more" not in str(caught.value)
        with pytest.raises(DataError, match=r"'nobody' and 1 more"):
            read_states(written.context, PLAIN, ["nobody", IDS[0], "neither"])

    def test_nobody(self, tmp_path):
        written = Pass(tmp_path / "pass", some(NUM, WIDTH))
        assert read_states(written.context, PLAIN, []).shape == (0, WIDTH)


class TestReadOuts:
    @pytest.fixture(scope="module")
    @classmethod
    def encoder(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        return f"dir:{save_tiny(tmp_path_factory.mktemp('models') / 'bert', 'bert')}"

    def test_each_model_is_given_its_own(self, tmp_path, encoder):
        wanted = ((None, None), (None, "first"), (1, None), (2, "mean"))
        written = Pass(
            tmp_path / "pass", *(some(NUM, WIDTH, seed=seed) for seed in range(4)), read_outs=wanted
        )
        for place, settings in enumerate(("", "(pooling=first)", "(layer=1)", "(layer=2, pooling=mean)")):
            features = Features(source=f"{encoder}{settings}", examples=some_examples())
            found = read_states(written.context, features, IDS).numpy()
            np.testing.assert_array_equal(found, written.states[place])

    def test_one_that_was_not_read_is_no_other(self, tmp_path, encoder):
        """A pass over other layers must not be taken for it."""
        written = Pass(
            tmp_path / "pass", some(NUM, WIDTH), some(NUM, WIDTH), read_outs=((1, None), (2, None))
        )
        features = Features(source=encoder, examples=some_examples())
        with pytest.raises((DataError, ValueError)):
            read_states(written.context, features, IDS)


class TestMemory:
    def test_the_same_examples_are_read_once(self, tmp_path, monkeypatch):
        written = Pass(tmp_path / "pass", some(NUM, WIDTH))
        first = states_of(written.context, PLAIN, IDS)
        assert states_of(written.context, PLAIN, list(IDS)) is first
        assert states_of(written.context, PLAIN, IDS[::-1]) is not first
        monkeypatch.setattr(module.States, "take", lambda self, rows: pytest.fail("read again"))
        assert len(states_of(written.context, PLAIN, IDS)[np.arange(3)]) == 3

    def test_no_more_is_remembered_than_allowed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "KEPT_BYTES", 2 * NUM * WIDTH * 4)
        written = Pass(tmp_path / "pass", some(NUM, WIDTH))
        for start in range(8):
            states_of(written.context, PLAIN, IDS[start:])
            held = [known for known in module._remembered.values() if known._held is not None]
            assert sum(known._held.nbytes for known in held) <= module.KEPT_BYTES
        assert states_of(written.context, PLAIN, IDS[7:]) is not None
        assert len(module._remembered) < 8

    def test_what_is_too_large_is_not_held(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "KEPT_BYTES", NUM * WIDTH * 4 - 1)
        written = Pass(tmp_path / "pass", some(NUM, WIDTH))
        assert states_of(written.context, PLAIN, IDS)._held is None
        assert states_of(written.context, PLAIN, IDS[1:])._held is not None

    def test_what_was_read_is_let_go(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "KEPT_BYTES", 0)
        monkeypatch.setattr(module, "_TOUCHED_BYTES", 5 * module._MAPPED_AROUND)
        written = Pass(tmp_path / "pass", some(NUM, WIDTH))
        let_go: list[int] = []
        monkeypatch.setattr(module._Shard, "let_go", lambda self: let_go.append(1))
        known = states_of(written.context, PLAIN, IDS)
        known[np.arange(4)]
        assert not let_go
        known[np.arange(8)]
        assert len(let_go) >= len(SHARDS)

    @pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
    def test_resident_memory_stays_small(self, tmp_path, monkeypatch):
        """64 MB of states, of which a few are read at a time, out of order."""
        rows, width = 1 << 15, 512
        monkeypatch.setattr(module, "KEPT_BYTES", 1 << 20)
        monkeypatch.setattr(module, "_TOUCHED_BYTES", 4 << 20)
        folder = tmp_path / "pass"
        folder.mkdir()
        names = [f"n{number}" for number in range(rows)]
        for number in range(4):
            block = np.full((rows // 4, width), number, np.float32)
            save_file({"0": block}, folder / f"states-{number:05d}.safetensors")
        pq.write_table(pa.table({"id": names}), folder / "index.parquet")
        files = {path.name: {} for path in folder.iterdir()}
        manifest = {"files": files, "said": {"read_outs": [[None, None]]}}
        context = Context(
            find=lambda s: Artifact("features", s.id, folder, manifest), out=folder, work=folder
        )
        known = states_of(context, PLAIN, names)
        del block
        gc.collect()
        before, most = resident(), 0
        for part in np.split(np.random.default_rng(0).permutation(rows), 256):
            known[part]
            most = max(most, resident() - before)
        assert most < 24 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_who_lost_tokens(tmp_path):
    written = Pass(tmp_path / "pass", some(NUM, WIDTH))
    assert lost_tokens(written.context, PLAIN, IDS) == 2
    assert lost_tokens(written.context, PLAIN, ["e3", "e5"]) == 1
    assert lost_tokens(written.context, PLAIN, ["e5"]) == lost_tokens(written.context, PLAIN, []) == 0
    images = Pass(tmp_path / "images", some(NUM, WIDTH))
    pq.write_table(pa.table({"id": IDS}), images.folder / "index.parquet")
    assert lost_tokens(images.context, PLAIN, IDS) == 0


def test_a_head_of_its_own(tmp_path):
    assert own_head(Pass(tmp_path / "none", some(NUM, WIDTH)).context, PLAIN) is None
    written = Pass(tmp_path / "one", some(NUM, WIDTH))
    save_file({"weight": some(2, WIDTH)}, written.folder / "head.safetensors")
    written.context.find(PLAIN).manifest["files"]["head.safetensors"] = {}
    np.testing.assert_array_equal(own_head(written.context, PLAIN)["weight"], some(2, WIDTH))  # type: ignore[index]
