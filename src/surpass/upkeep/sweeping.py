"""Removing what `upkeep` has planned, beside runs that go on and others that remove.

Whoever removes holds the stage's lease. An artifact is renamed out of sight and then deleted, so nobody sees
half of one; if a run turns out to read it, it is put back. A run that finds one gone computes it again.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from surpass.disk import disk_errors
from surpass.errors import StoreError
from surpass.stages import Features
from surpass.store import Store
from surpass.store.artifact import Damaged, glance, read
from surpass.store.far_upkeep import erase, hide, put_back
from surpass.store.layout import make_temporary
from surpass.store.records import KEPT, RECORD, keep_record
from surpass.store.urls import UrlStore
from surpass.store.usage import SHORT_ID
from surpass.store.uses import Claim
from surpass.upkeep.planning import DAMAGED, LEFT_OVER, SCRATCH, Entry, Plan, Rules

_GC = "gc"
_LOOKS = 5
_LOOK_SECONDS = 0.05
_GONE = "it was removed meanwhile"


class Swept(NamedTuple):
    """What has gone, and what stayed after all."""

    gone: list[Entry]
    stayed: list[Entry]


def sweep(store: Store, planned: Plan, rules: Rules) -> Swept:
    """Remove what was planned, as far as it is still there and unused.

    Args:
        store: Where it is.
        planned: What goes.
        rules: Those of the plan.

    Raises:
        StoreError: The store cannot be written, or another process sweeps it.
    """
    swept = Swept([], [])
    claim = store.claim(_GC, ())
    if claim is None:
        raise StoreError(f"another process removes artifacts of {store.where} now: try again when it is done")
    with claim, disk_errors(store.root):
        for entry in planned.goes:
            reason = _remove(store, entry, rules)
            if reason:
                swept.stayed.append(entry._replace(reason=reason))
            else:
                swept.gone.append(entry)
    return swept


def _remove(store: Store, entry: Entry, rules: Rules) -> str:
    """Remove one thing, or say why not."""
    if entry.what in (LEFT_OVER, DAMAGED):
        if isinstance(store, UrlStore):
            store.objects.remove(store.objects.below(str(entry.path)))
        else:
            _delete(store, Path(entry.path))
        return ""
    claim = store.claim(entry.id, ())
    if claim is None:
        return "another process is at it"
    with claim:
        if entry.what == SCRATCH:
            store.drop_work(entry.id)
            return ""
        if isinstance(store, UrlStore):
            return _remove_far(store, entry, rules, claim)
        return _remove_artifact(store, entry, rules, claim)


def _remove_far(store: UrlStore, entry: Entry, rules: Rules, claim: Claim) -> str:
    """The same in an object store: without its manifest, nobody finds an artifact."""
    if rules.keep_results and entry.kind not in (Features.kind, RECORD):
        artifact = store.part(entry.kind, entry.id, KEPT)
        if artifact is not None:
            keep_record(store, artifact)
    manifest = hide(store, entry.kind, entry.id)
    if manifest is None:
        return _GONE
    reason = _in_use(store, entry.id, rules) if claim.held() else "this process was away for too long"
    if reason:
        put_back(store, entry.kind, entry.id, manifest)
    else:
        erase(store, entry.kind, entry.id, manifest)
    return reason


def _remove_artifact(store: Store, entry: Entry, rules: Rules, claim: Claim) -> str:
    path = Path(entry.path)
    manifest = glance(path)
    if manifest is None or manifest["id"] != entry.id:
        return _GONE
    if rules.keep_results and entry.kind not in (Features.kind, RECORD):
        with suppress(Damaged):
            keep_record(store, read(path))
    temporary = make_temporary(store.root, f"gc-{entry.id[:SHORT_ID]}")
    hidden = temporary / "removed"
    try:
        os.rename(path, hidden)
        reason = _in_use(store, entry.id, rules) if claim.held() else "this process was away for too long"
        if reason and not path.exists():
            os.rename(hidden, path)
        return reason
    except FileNotFoundError:
        return _GONE
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _in_use(store: Store, id: str, rules: Rules) -> str:
    """Who reads an artifact now; a process that has just begun is given the time to say what it reads."""
    for look in range(_LOOKS):
        silent = ""
        for other in store.busy():
            uses = rules.reads.get(other.id) if other.uses is None else other.uses
            if other.id == id:
                continue
            if uses is None:
                silent = f"{other.who} computes {other.id[:8]}, and nothing says what that reads"
            elif id in uses:
                return f"{other.who} reads it"
        if not silent:
            break
        if look < _LOOKS - 1:
            time.sleep(_LOOK_SECONDS)
    return silent


def _delete(store: Store, path: Path) -> None:
    temporary = make_temporary(store.root, "gc")
    try:
        with suppress(FileNotFoundError):  # another process cleans up too
            os.rename(path, temporary / "removed")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
