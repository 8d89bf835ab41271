"""What killed processes leave beside the stages that they were at."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reference.faults import Raising
from reference.studies import Note
from surpass.disk import atomic_write
from surpass.engine import inline
from surpass.errors import DataError
from surpass.identity import digest_of, execution_field
from surpass.owner import Owner
from surpass.stages import Context
from surpass.store import Store
from surpass.store.layout import make_temporary, remove_temporary
from surpass.store.uses import tidy

MINE, DEAD, AWAY, LONE = (digest_of(name) for name in ("mine", "dead", "away", "lone"))


def dead_owner() -> Owner:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return replace(Owner.here(), pid=child, started="1")


def killed_at(store: Store, id: str) -> None:
    child = os.fork()
    if child == 0:
        store.claim(id, [MINE])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_leases_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    mine = store.claim(MINE, [LONE])
    assert mine is not None
    killed_at(store, DEAD)
    elsewhere = asdict(replace(Owner.here(), host="elsewhere")) | {"token": "1"}
    (store.leases / f"{AWAY}.lease").write_text(json.dumps(elsewhere))
    (store.leases / f"{LONE}.uses").write_text('{"uses": []}')
    (store.leases / ".a.claim").write_text(json.dumps(asdict(dead_owner()) | {"token": "a"}))
    (store.leases / ".b.claim").write_text(json.dumps(asdict(Owner.here()) | {"token": "b"}))
    (store.leases / ".c.uses").write_text("")
    (store.leases / ".d.uses").write_text("")
    os.utime(store.leases / ".d.uses", (0, 0))
    (store.leases / "gc.lease").write_text("{}")
    stays = {f"{MINE}.lease", f"{MINE}.uses", f"{AWAY}.lease", ".b.claim", ".c.uses", "gc.lease"}
    assert set(os.listdir(store.leases)) == {
        *stays,
        *(f"{DEAD}.lease", f"{DEAD}.uses", f"{LONE}.uses", ".a.claim", ".d.uses"),
    }
    removed = {Path(path).name for path in store.clean_tmp()}
    assert removed == {f"{DEAD}.lease", f"{LONE}.lease", ".a.claim", ".d.uses"}
    assert set(os.listdir(store.leases)) == stays
    assert mine.held()
    mine.release()


def test_a_store_without_leases_has_none_to_remove(tmp_path: Path) -> None:
    assert list(tidy(tmp_path / "none")) == []


def test_whose_a_temporary_folder_is_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    folder = make_temporary(store.root, "a")
    (folder / "files" / "x").write_text("x")
    kept = shutil.rmtree

    def interrupted(path: Path, **more: object) -> None:
        if path == folder:
            raise KeyboardInterrupt
        kept(path, ignore_errors=True)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remove_temporary(folder)
    assert os.listdir(folder) == ["owner.json"]
    monkeypatch.undo()
    remove_temporary(folder)
    assert not folder.exists()
    remove_temporary(folder)


@dataclass(frozen=True, kw_only=True)
class TakenOver(Note):
    """Its process sleeps for long: meanwhile another one takes over, finishes, and drops the scratch."""

    kind: ClassVar[str] = "taken_over"
    store: str = execution_field("")

    def run(self, context: Context) -> dict[str, Any]:
        if self.log and Path(self.log).exists():
            return super().run(context)
        store = Store(self.store)
        (store.leases / f"{self.id}.lease").unlink()
        Path(self.log).touch()
        assert inline.run([self], store) == 1
        context.work.rmdir()
        atomic_write(context.work / "gone" / "state", b"")
        raise AssertionError("it could be written")


def test_what_goes_wrong_after_a_takeover_is_no_failure(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    stage = TakenOver(name="a", log=str(tmp_path / "log"), store=str(store.root))
    assert inline.run([stage], store) == 0
    assert store.find(stage.kind, stage.id) is not None
    assert (tmp_path / "log").read_text() == "a\n"


def test_what_goes_wrong_while_the_lease_is_held_is_a_failure(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(DataError, match="it went wrong"):
        inline.run([Raising(name="a", log=str(tmp_path / "log"))], store)
