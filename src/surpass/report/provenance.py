"""Where numbers come from: the stages of a study as plain data, with the command that makes each again.

Of an artifact only its manifest is read, once: weights of many gigabytes are not looked at.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from surpass.engine.graph import outstanding
from surpass.errors import StoreError
from surpass.stages import Features, Stage
from surpass.store import Store
from surpass.store.artifact import Artifact, Damaged, read
from surpass.store.layout import folder_name
from surpass.store.records import recorded
from surpass.study import RowStages, Study, targets

_ID_DIGITS = 12


def manifest_of(stage: Stage, store: Store) -> dict[str, Any] | None:
    """The manifest of a stage's artifact, or of the record of one; None where there is neither.

    Raises:
        StoreError: The store cannot be read.
    """
    found = _near(stage, store) or store.part(stage.kind, stage.id, label=stage.label)
    if found is not None:
        return found.manifest
    record = recorded(store, stage.kind, stage.id)
    # As it was sealed, with the digests of files that the record does not hold.
    return None if record is None else read(record.path).manifest


def _near(stage: Stage, store: Store) -> Artifact | None:
    """The artifact where it should lie on this machine, its manifest sound, its files not looked at."""
    try:
        artifact = read(store.root / stage.kind / folder_name(stage.label, stage.id))
    except (OSError, Damaged, StoreError):
        return None
    return artifact if (artifact.kind, artifact.id) == (stage.kind, stage.id) else None


class Provenance:
    """The stages behind a study, equal ones once, each behind those it takes from.

    Features that came from one pass with others are the stage of that pass.

    Args:
        study: A finished one.
        store: Where its artifacts or records are.
        words: What behind `surpass run` names the study and its store, for commands.

    Attributes:
        stages: Each as a dict, see `docs/reading-a-report.md`.
        versions: Of packages, each set once; stages name them by their place.
        asked: How many stages the rows would take, each on its own.

    Raises:
        StoreError: The store cannot be read.
    """

    def __init__(self, study: Study, store: Store, words: Sequence[str]) -> None:
        self.stages: list[dict[str, Any]] = []
        self.versions: list[dict[str, str]] = []
        self._store = store
        self._command = shlex.join(["surpass", "run", *words])
        self._places: dict[str, int] = {}
        self._versions: dict[tuple[tuple[str, str], ...], int] = {}
        rows = study.rows()
        wanted = [stage for row in rows for stage in targets(row)]
        self._instead = outstanding(wanted, lambda _: False).instead
        for stage in wanted:
            self._add(stage)
        self.asked = _asked(rows)

    def place(self, stage: Stage | str) -> int | None:
        """Where a stage is in `stages`; None for a model that no stage made."""
        return self._places[stage.id] if isinstance(stage, Stage) else None

    @property
    def seconds(self) -> float:
        """The compute time of all stages of which it is known."""
        return float(sum(stage["seconds"] or 0.0 for stage in self.stages))

    def _add(self, stage: Stage) -> int:
        if stage.id in self._places:
            return self._places[stage.id]
        manifest = manifest_of(stage, self._store)
        if manifest is None and isinstance(stage, Features) and stage.id in self._instead:
            self._places[stage.id] = self._add(self._instead[stage.id])
            return self._places[stage.id]
        upstream = [self._add(before) for before in stage.upstream]
        self._places[stage.id] = len(self.stages)
        self.stages.append(self._told(stage, manifest) | {"upstream": list(dict.fromkeys(upstream))})
        return self._places[stage.id]

    def _told(self, stage: Stage, manifest: dict[str, Any] | None) -> dict[str, Any]:
        held = manifest or {}
        identity = held.get("stage") or stage.identity
        return {
            "id": stage.id,
            "kind": stage.kind,
            "label": stage.label,
            "upstream": [],
            "revision": identity["version"],
            "fields": identity["fields"],
            "outside": identity["outside"],
            "files": {name: file["sha256"] for name, file in held.get("files", {}).items()},
            "versions": self._version(held.get("versions")),
            "seconds": held.get("seconds"),
            "created": held.get("created"),
            "command": f"{self._command} --stage {stage.id[:_ID_DIGITS]}",
        }

    def _version(self, versions: dict[str, str] | None) -> int | None:
        if not versions:
            return None
        key = tuple(sorted(versions.items()))
        if key not in self._versions:
            self._versions[key] = len(self.versions)
            self.versions.append(dict(versions))
        return self._versions[key]


def _asked(rows: Iterable[RowStages]) -> int:
    """How many stages the rows would take, each on its own."""
    behind: dict[str, frozenset[str]] = {}

    def ids(stage: Stage) -> frozenset[str]:
        if stage.id not in behind:
            behind[stage.id] = frozenset({stage.id}).union(*map(ids, stage.upstream))
        return behind[stage.id]

    return sum(len(frozenset().union(*map(ids, targets(row)))) for row in rows)
