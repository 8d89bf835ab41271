"""What of a store is no longer wanted, by rules; `sweeping` removes it.

Nothing goes that a living process computes or reads, nor weights that weights which stay begin with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from surpass.disk import disk_errors
from surpass.engine.graph import outstanding
from surpass.lineage import ancestry, reads
from surpass.stages import Features
from surpass.store import Store
from surpass.store.artifact import MANIFEST, glance
from surpass.store.far_artifacts import key_of
from surpass.store.far_upkeep import entries, scratch
from surpass.store.far_upkeep import left_over as far_left_over
from surpass.store.layout import kinds, left_over, sorted_entries
from surpass.store.urls import UrlStore
from surpass.store.usage import SHORT_ID, folder_bytes, last_change
from surpass.store.uses import Busy
from surpass.study import Study, targets

SCRATCH_SECONDS = 86400.0
"""Scratch and damaged artifacts are kept for so long where no age is given."""

ARTIFACT, SCRATCH, LEFT_OVER, DAMAGED = "artifact", "scratch", "left over", "damaged"
_WEIGHTS = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which artifacts go: those that every rule given here lets go; with no rule, none.

    Attributes:
        older_than: Seconds since they came into the store; None for any age.
        needed: Ids that stay because studies need them, or the studies' own; None for any.
        reads: What each stage of these studies reads, by id.
        keep_results: Whether only what holds weights or features goes. A record of what reports need stays.
    """

    older_than: float | None = None
    needed: frozenset[str] | None = None
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    keep_results: bool = False

    @property
    def any(self) -> bool:
        """Whether artifacts may go at all."""
        return self.older_than is not None or self.needed is not None or self.keep_results


class Entry(NamedTuple):
    """Something in the store.

    Attributes:
        what: `artifact`, `scratch`, `left over` or `damaged`.
        kind: Of an artifact.
        name: Its folder's.
        id: Of the stage; empty where there is none.
        path: Where it is: in an object store the key, or how the keys begin.
        bytes: Its size.
        reason: Why it goes, or stays.
    """

    what: str
    kind: str
    name: str
    id: str
    path: Path | str
    bytes: int
    reason: str


class Plan(NamedTuple):
    """What goes, what would go and is held, and the stages that living processes are at."""

    goes: list[Entry]
    held: list[Entry]
    busy: list[Busy]


def reachable(study: Study) -> frozenset[str]:
    """Ids of all stages that a study may ask for, and of the study itself.

    Features count as they are, and as passes that give several of them.
    """
    wanted = [stage for row in study.rows() for stage in targets(row)]
    ids = {id for target in wanted for id in ancestry(target)}
    ids |= {stage.id for stage in outstanding(wanted, lambda _: False).to_do}
    return frozenset(ids | {study.id})


def rules_for(
    studies: Sequence[Study], *, older_than: float | None = None, keep_results: bool = False
) -> Rules:
    """Rules that spare what some studies need; without studies, need plays no part."""
    if not studies:
        return Rules(older_than=older_than, keep_results=keep_results)
    known: dict[str, frozenset[str]] = {}
    for study in studies:
        graph = outstanding((s for row in study.rows() for s in targets(row)), lambda _: False)
        known |= {stage.id: frozenset(reads(graph.needs(stage))) for stage in graph.to_do}
    needed = frozenset().union(*map(reachable, studies))
    return Rules(older_than=older_than, needed=needed, reads=known, keep_results=keep_results)


class _Found(NamedTuple):
    """What the rules look at."""

    entry: Entry
    manifest: dict[str, Any]
    age: float

    @property
    def has_weights(self) -> bool:
        return any(name.endswith(_WEIGHTS) for name in self.manifest["files"])

    @property
    def stands_for(self) -> str:
        """The id that makes it needed: of a record, that of the original."""
        of = self.manifest.get("of")
        return str(of["id"]) if isinstance(of, dict) and "id" in of else self.entry.id


def plan(store: Store, rules: Rules, *, now: float | None = None) -> Plan:
    """Find out what goes; nothing is changed.

    Args:
        store: Where artifacts are.
        rules: What may go.
        now: The time, in seconds since 1970; by default that of the clock.

    Raises:
        StoreError: The store cannot be read.
    """
    now = time.time() if now is None else now
    with disk_errors(store.root):
        at_work = store.busy()
        there = _far_artifacts(store, now) if isinstance(store, UrlStore) else _artifacts(store, now)
        found = list(there) if rules.any else []
        chosen = {one.entry.path: one for one in found if _goes(one, rules)}
        reasons = _held(found, chosen, at_work, rules)
        goes = [one.entry for path, one in chosen.items() if path not in reasons]
        held = [one.entry._replace(reason=reasons[p]) for p, one in chosen.items() if p in reasons]
        others = _far_others(store, rules, now) if isinstance(store, UrlStore) else _others(store, rules, now)
        goes += [one for one in others if one.id not in {each.id for each in at_work} or not one.id]
    return Plan(goes, held, at_work)


def _artifacts(store: Store, now: float) -> Iterator[_Found]:
    for kind in kinds(store.root):
        for path in sorted_entries(store.root / kind):
            manifest = glance(path)
            if manifest is None:
                continue
            with suppress(FileNotFoundError, KeyError, TypeError, AttributeError):
                status = (path / MANIFEST).stat()
                size = status.st_size + sum(file["size"] for file in manifest["files"].values())
                entry = Entry(ARTIFACT, kind, path.name, str(manifest["id"]), path, size, "")
                yield _Found(entry, manifest, now - status.st_mtime)


def _far_artifacts(store: UrlStore, now: float) -> Iterator[_Found]:
    known = {(one.kind, one.id): one for one in entries(store)}
    for artifact in store.artifacts():
        one = known.get((artifact.kind, artifact.id))
        if one is not None:
            key = key_of(one.kind, one.id)
            entry = Entry(ARTIFACT, one.kind, artifact.path.name, one.id, key, one.bytes, "")
            yield _Found(entry, artifact.manifest, now - one.changed)


def _goes(one: _Found, rules: Rules) -> bool:
    if rules.older_than is not None and one.age <= rules.older_than:
        return False
    if rules.needed is not None and one.stands_for in rules.needed:
        return False
    return one.has_weights or not rules.keep_results


def _held(
    found: Iterable[_Found], chosen: Mapping[Path | str, _Found], at_work: Sequence[Busy], rules: Rules
) -> dict[Path | str, str]:
    """Why some of what was chosen stays all the same."""
    used: dict[str, str] = {}
    unknown = ""
    for one in at_work:
        used.setdefault(one.id, f"{one.who} is at it")
        uses = rules.reads.get(one.id) if one.uses is None else one.uses
        if uses is None:
            unknown = f"{one.who} computes {one.id[:8]}, and nothing says what that reads"
        used |= {id: f"{one.who} reads it" for id in uses or () if id not in used}
    reasons = {}
    for path, candidate in chosen.items():
        reason = used.get(candidate.entry.id) or unknown
        if reason:
            reasons[path] = reason
    # Weights that weights which stay begin with: a head alone says nothing without them.
    weights = {each.entry.id: each for each in found if each.has_weights}
    ahead = [w for w in weights.values() if w.entry.path not in chosen or w.entry.path in reasons]
    while ahead:
        above = ahead.pop()
        for before in above.manifest.get("upstream", ()):
            under = weights.get(before["id"])
            if under is None or under.entry.path not in chosen or under.entry.path in reasons:
                continue
            if under.entry.kind != Features.kind:
                reasons[under.entry.path] = f"{above.entry.kind} {above.entry.name} builds on it"
                ahead.append(under)
    return reasons


def _far_others(store: UrlStore, rules: Rules, now: float) -> Iterator[Entry]:
    """The same in an object store; what was damaged there was replaced."""
    limit = SCRATCH_SECONDS if rules.older_than is None else rules.older_than
    done = {id for kind in store.kinds() for id in store.far.listed(kind)}
    for one in scratch(store):
        wanted = rules.needed is not None and one.id in rules.needed
        if one.id in done or (now - one.changed > limit and not wanted):
            reason = "its stage is done" if one.id in done else one.reason
            yield Entry(SCRATCH, "", one.id[:SHORT_ID], one.id, one.name, one.bytes, reason)
    for one in far_left_over(store):
        yield Entry(LEFT_OVER, "", one.name, "", one.name, one.bytes, one.reason)


def _others(store: Store, rules: Rules, now: float) -> list[Entry]:
    """Scratch, leftovers, and what failed verification."""
    limit = SCRATCH_SECONDS if rules.older_than is None else rules.older_than
    done = {name[-SHORT_ID:] for kind in kinds(store.root) for name in os.listdir(store.root / kind)}
    entries = []
    for path in sorted_entries(store.root / "work"):
        over, age = path.name[:SHORT_ID] in done, now - last_change(path)
        wanted = rules.needed is not None and path.name in rules.needed
        if over or (age > limit and not wanted):
            reason = "its stage is done" if over else "nobody goes on with it"
            size = folder_bytes(path)
            entries.append(Entry(SCRATCH, "", path.name[:SHORT_ID], path.name, path, size, reason))
    for path in left_over(store.root):
        reason = "left over by a process that ended"
        entries.append(Entry(LEFT_OVER, "", path.name, "", path, folder_bytes(path), reason))
    for path in sorted_entries(store.root / "damaged"):
        with suppress(FileNotFoundError):
            if now - path.lstat().st_ctime > limit:
                entries.append(Entry(DAMAGED, "", path.name, "", path, folder_bytes(path), "it is damaged"))
    return entries
