"""What a document holds as records with all digits, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any

from surpass.report.figures.reading import Shown

_METHOD_NUMBERS = ("median", "low", "high", "num_valid", "num_invalid")
_PGR = {"value": "", "low": "_low", "high": "_high"}


def _summary_records(shown: Shown) -> Iterable[dict[str, Any]]:
    for student in shown.students:
        entry, estimate = student.entry, dict(student.entry["estimate"])
        known = _known(shown, student.index)
        for role in ("weak", "student", "ceiling"):
            low, high = (entry.get("accuracy") or {}).get(role) or (None, None)
            known |= {f"{role}_acc": estimate.pop(role), f"{role}_low": low, f"{role}_high": high}
        known |= {f"pgr{end}": estimate.pop(name) for name, end in _PGR.items()}
        yield known | estimate | dict(entry["metrics"]) | {"seconds": entry["seconds"]}


def _methods_records(shown: Shown) -> Iterable[dict[str, Any]]:
    for rank in shown.document["ranks"]:
        known = {"study": " ".join(shown.studies[rank["study"]]["called"])}
        known |= {name: rank[name] for name in ("method", "labels", "oracle", "num_pairs")}
        known |= {f"pgr_{name}": rank["pgr"][name] for name in _METHOD_NUMBERS}
        yield known | {name: value for name, value in (rank["comparison"] or {}).items() if name != "method"}


def _rows_records(shown: Shown) -> Iterable[dict[str, Any]]:
    rows = shown.document["rows"]
    names = [name for name in rows if not name.endswith(("_stage", "_score", "summary", "comparison"))]
    for place, summary in enumerate(rows["summary"]):
        yield _known(shown, summary) | {name: rows[name][place] for name in names}


RECORDS: dict[str, Callable[[Shown], Iterable[dict[str, Any]]]] = {
    "summary": _summary_records,
    "methods": _methods_records,
    "rows": _rows_records,
}
"""By what is asked for: by pair and method, by method, by seed."""


def _known(shown: Shown, summary: int) -> dict[str, Any]:
    student = shown.students[summary]
    study = " ".join(shown.studies[student.study]["called"])
    names = ("task", "weak", "strong", "method", "labels", "oracle")
    return {"study": study} | {name: student.entry[name] for name in names}


def csv_text(records: Iterable[dict[str, Any]]) -> str:
    """Records with all digits, missing values empty; a column for everything that one of them has."""
    listed = list(records)
    columns = dict.fromkeys(name for record in listed for name in record)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return stream.getvalue()
