"""What a report says of a study beside its numbers: what was asked for, with what settings, what fell out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from surpass.errors import SurpassError
from surpass.identity import identity_fields
from surpass.models.sources import resolve
from surpass.recipes.published import PUBLISHED, beside_published
from surpass.report.numbers import plain
from surpass.report.provenance import Provenance
from surpass.report.terminal import footnotes, headline
from surpass.results import Results
from surpass.study import Study
from surpass.tasks import Task

_PLAIN_SETTINGS = ("num_train", "num_test", "num_validation")
_WORDS = ("train_mix", "test_mix", "test_part", "adapter", "supervisor")
_BY_MODEL = ("learning_rates", "adapters")


def noun_of(task: str) -> str:
    """What the test examples of a task are called."""
    return "test puzzles" if task == "chess" else "test examples"


def with_published(study: Study, results: Results) -> Results:
    """Results with a note for each published number that they can be held against."""
    return results.with_notes(beside_published(study.name, results))


def study_entry(
    study: Study, called: Sequence[str], results: Results, provenance: Provenance
) -> dict[str, Any]:
    """The entry of a study.

    Args:
        study: A finished one.
        called: The words that name it on the command line.
        results: Its results, with all notes.
        provenance: Its stages.
    """
    return {
        "name": study.name,
        "id": study.id,
        "called": list(called),
        "command": shlex.join(["surpass", "run", *called]),
        "answer": headline(results, noun=noun_of(study.task.name)),
        "noun": noun_of(study.task.name),
        "task": _task(study.task),
        "labels": study.labels,
        "seeds": list(study.seeds),
        "pairs": [[resolve(model).short_name for model in pair] for pair in study.pairs],
        "methods": list(study.methods),
        "settings": _settings(study),
        "stages": {
            "asked": provenance.asked,
            "distinct": len(provenance.stages),
            "seconds": provenance.seconds,
        },
        "footnotes": footnotes(results),
        "left_out": [
            {
                "weak": left.weak_model,
                "strong": left.strong_model,
                "method": left.method,
                "reason": left.reason,
            }
            for left in results.left_out
        ],
        "published": _published(study),
    }


def models_of(study: Study) -> dict[str, dict[str, Any]]:
    """Its models by the names that tables have for them; what nobody knows of them is null."""
    named = dict.fromkeys((*(model for pair in study.pairs for model in pair), *study.between))
    sources = [resolve(model) for model in named]
    return {
        source.short_name: {
            "name": source.name,
            "parameters": source.parameters or None,
            "pretraining_flops": source.pretraining_flops or None,
        }
        for source in sources
    }


def _task(task: Task) -> dict[str, Any]:
    about = (type(task).__doc__ or "").strip().partition("\n")[0]
    try:
        num_classes = task.num_classes
    except (SurpassError, OSError):  # the data are no longer there
        num_classes = None
    return {"name": task.name, "about": about, "num_classes": num_classes}


def _settings(study: Study) -> list[list[str]]:
    """Names and values, in words."""
    told = {"recipe": _in_words(asdict(study.recipe)), "task": _in_words(identity_fields(study.task))}
    for name in _PLAIN_SETTINGS:
        value = getattr(study, name)
        told[name] = "all" if value is None else str(value)
    told |= {name: str(getattr(study, name)) for name in _WORDS}
    for name in _BY_MODEL:
        told[name] = ", ".join(f"{model}: {value}" for model, value in getattr(study, name))
    told["between"] = ", ".join(study.between)
    told["early_stopping"] = "yes" if study.stops_early else "no"
    return [[name, value] for name, value in told.items() if value]


def _in_words(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, "", (), []))


def _published(study: Study) -> dict[str, Any] | None:
    known = PUBLISHED.get((study.name, study.task.name))
    if known is None:
        return None
    numbers = {"accuracy": plain(dict(known.accuracy)), "pgr": plain(dict(known.pgr))}
    return {"source": known.source} | numbers
