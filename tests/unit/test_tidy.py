"""What killed processes leave beside the stages that they were at."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from surpass.identity import digest_of
from surpass.owner import Owner
from surpass.store import Store
from surpass.uses import tidy

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
