"""Documents of several studies as one: places in lists follow, and equal stages become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_STAGE_COLUMNS = (
    *(f"{role}_{what}" for role in ("weak", "student", "ceiling") for what in ("stage", "score")),
    "comparison",
)
_OF_STUDY = ("summaries", "ranks", "curves", "overlap", "tables")
_OF_SUMMARY = ("calibration", "examples")


def joined(documents: Sequence[Mapping[str, Any]], made: Mapping[str, Any]) -> dict[str, Any]:
    """Join documents of studies, in their order.

    Args:
        documents: As `document.document_of` makes them.
        made: When and by what.
    """
    whole: dict[str, Any] = {
        "format": documents[0]["format"],
        "version": documents[0]["version"],
        "made": dict(made),
        "answer": " ".join(document["answer"] for document in documents),
        "studies": [],
        "models": {},
        "summaries": [],
        "rows": {},
    }
    whole |= {name: [] for name in (*_OF_STUDY[1:], *_OF_SUMMARY, "stages", "versions")}
    places: dict[str, int] = {}
    for document in documents:
        before_studies, before_summaries = len(whole["studies"]), len(whole["summaries"])
        stages = _take_stages(whole, document, places)
        _take_rows(whole["rows"], document["rows"], stages, before_summaries)
        for name in _OF_STUDY:
            whole[name] += _moved(document[name], "study", before_studies)
        for name in _OF_SUMMARY:
            whole[name] += _moved(document[name], "summary", before_summaries)
        whole["studies"] += document["studies"]
        for name, model in document["models"].items():
            whole["models"][name] = _one_model(whole["models"].get(name, model), model)
    return whole


def astray(document: Mapping[str, Any]) -> list[str]:
    """Which lists of a document name places that there are not, or are of unequal length."""
    number = {name: len(document[name]) for name in ("studies", "summaries", "stages", "versions")}
    try:
        rows: Mapping[str, list[Any]] = document["rows"]
        places = {
            "rows": [("summaries", rows["summary"])] + [("stages", rows[name]) for name in _STAGE_COLUMNS],
            "stages": [
                ("versions", [stage["versions"] for stage in document["stages"]]),
                ("stages", [place for stage in document["stages"] for place in stage["upstream"]]),
            ],
        }
        places |= {name: [("studies", [entry["study"] for entry in document[name]])] for name in _OF_STUDY}
        places |= {
            name: [("summaries", [entry["summary"] for entry in document[name]])] for name in _OF_SUMMARY
        }
        odd = ["rows"] if len({len(column) for column in rows.values()}) > 1 else []
        behind = (max(s["upstream"], default=-1) < place for place, s in enumerate(document["stages"]))
        odd += [] if all(behind) else ["stages"]
        return odd + [name for name, named in places.items() if not _all_there(named, number)]
    except (KeyError, TypeError, AttributeError) as error:
        return [f"{type(error).__name__}: {error}"]


def _all_there(named: Iterable[tuple[str, list[Any]]], number: Mapping[str, int]) -> bool:
    return all(place is None or 0 <= place < number[what] for what, places in named for place in places)


def _moved(entries: Iterable[Mapping[str, Any]], name: str, by: int) -> list[dict[str, Any]]:
    return [{**entry, name: entry[name] + by} for entry in entries]


def _take_stages(whole: dict[str, Any], document: Mapping[str, Any], places: dict[str, int]) -> list[int]:
    """Add the stages that are new; returns where each of the document is now."""
    versions: list[dict[str, str]] = whole["versions"]
    for version in document["versions"]:
        if version not in versions:
            versions.append(version)
    now: list[int] = []
    for stage in document["stages"]:
        if stage["id"] not in places:
            places[stage["id"]] = len(whole["stages"])
            own = None if stage["versions"] is None else document["versions"][stage["versions"]]
            changed = {
                "upstream": [now[before] for before in stage["upstream"]],
                "versions": None if own is None else versions.index(own),
            }
            whole["stages"].append({**stage, **changed})
        now.append(places[stage["id"]])
    return now


def _take_rows(
    columns: dict[str, list[Any]], more: Mapping[str, list[Any]], stages: Sequence[int], by: int
) -> None:
    length = len(columns["summary"]) if columns else 0
    number = len(more["summary"])
    moved = {
        name: [None if place is None else stages[place] for place in values]
        if name in _STAGE_COLUMNS
        else values
        for name, values in more.items()
    } | {"summary": [place + by for place in more["summary"]]}
    for name in (*columns, *(name for name in moved if name not in columns)):
        columns.setdefault(name, [None] * length)
        columns[name] = columns[name] + moved.get(name, [None] * number)


def _one_model(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """A model that two studies name; of two different ones of the same name neither's size is told."""
    if here["name"] == there["name"]:
        return dict(here)
    return {"name": f"{here['name']}; {there['name']}", "parameters": None, "pretraining_flops": None}
