"""Studies that were imported, shown without their data and models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from surpass.errors import ConfigError, DataError
from surpass.results import Results
from surpass.store import Store
from surpass.store.archive import REPORT
from surpass.store.artifact import Artifact
from surpass.upkeep.importing import STUDY


class Listed(NamedTuple):
    """An imported study by its name, the command that runs it, its id, and when it was imported."""

    name: str
    command: str
    id: str
    imported: str


class ImportedStudy(NamedTuple):
    """An imported study.

    Attributes:
        description: What it was.
        results: Its results.
        document: The same as plain data.
        analysis: What `surpass analyse --json` said of it.
        report: The file of its report, see `report.document`; None where none came along.
    """

    description: dict[str, Any]
    results: Results
    document: dict[str, Any]
    analysis: dict[str, Any]
    report: Path | None

    def as_data(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {"study": self.description, "results": self.document, "analysis": self.analysis}


def studies(store: Store) -> list[Listed]:
    """The studies that were imported, by name.

    Raises:
        StoreError: The store cannot be read.
    """
    return [
        Listed(str(said["name"]), str(said["command"]), artifact.id, artifact.manifest["created"])
        for artifact in store.artifacts(STUDY)
        if {"name", "command"} <= (said := artifact.manifest["said"]).keys()
    ]


def read_study(store: Store, name: str) -> ImportedStudy:
    """An imported study.

    Args:
        store: Where it is.
        name: Its name, or how its id begins.

    Raises:
        ConfigError: None is called so, or several are.
        DataError: It cannot be read.
        StoreError: The store cannot be read.
    """
    listed = studies(store)
    found = [study for study in listed if study.name == name or (name and study.id.startswith(name))]
    if not found:
        there = ", ".join(dict.fromkeys(study.name for study in listed)) or "none"
        raise ConfigError(f"no study {name!r} was imported into {store.where}; there are: {there}")
    if len(found) > 1:
        ids = ", ".join(study.id[:8] for study in found)
        raise ConfigError(f"{len(found)} studies are called {name!r}: name one by its id, {ids}")
    artifact = store.find(STUDY, found[0].id)
    if artifact is None:
        raise ConfigError(f"study {name!r} is damaged; import it again")
    return _read(artifact)


def report_of(store: Store, study_id: str) -> Path | None:
    """The report that came with a study, by the study's own id; None where none did.

    Raises:
        StoreError: The store cannot be read.
    """
    for listed in store.artifacts(STUDY):
        if listed.manifest.get("of", {}).get("id") == study_id and REPORT in listed.manifest["files"]:
            artifact = store.find(STUDY, listed.id)
            if artifact is not None:
                return artifact.file(REPORT)
    return None


def _read(artifact: Artifact) -> ImportedStudy:
    names = ("study.json", "results.json", "analysis.json")
    try:
        description, document, analysis = (json.loads(artifact.file(name).read_bytes()) for name in names)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{artifact.path} cannot be read ({error}); import it again") from None
    report = artifact.file(REPORT) if REPORT in artifact.manifest["files"] else None
    results = Results.from_json(artifact.file("results.json"))
    return ImportedStudy(description, results, document, analysis, report)
