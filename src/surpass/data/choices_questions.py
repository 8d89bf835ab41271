"""Multiple choice without a passage, or on a short one: one item for each candidate."""

from __future__ import annotations

from surpass.data.base import Choice, DataSet, Form, HubPlace, Published, Row
from surpass.data.choices import (
    ASK_ANSWER,
    PARQUET,
    RECAST_COLUMNS,
    fields_of,
    label_of,
    lettered,
    place_of,
    question_items,
    recast_items,
    text_of,
    texts_of,
    trimmed,
)

SCIQ_CANDIDATES = ("correct_answer", "distractor1", "distractor2", "distractor3")
CONTINUATION = "Proposed continuation"
WAY = "Proposed way"


def science(row: Row) -> list[Choice]:
    """A science question without its support; on the hub and as published alike."""
    question = text_of(row, "question")
    candidates = [text_of(row, column) for column in SCIQ_CANDIDATES]
    return question_items([("Question", question)], candidates, 0, group=question)


def supported_science(row: Row) -> list[Choice]:
    """The same behind its support. Every tenth question has none, and is dropped and counted."""
    question = text_of(row, "question")
    candidates = [text_of(row, column) for column in SCIQ_CANDIDATES]
    return question_items([text_of(row, "support"), ("Question", question)], candidates, 0, group=question)


def open_book(row: Row) -> list[Choice]:
    """An OpenBookQA question on the hub."""
    candidates, right = lettered(row["choices"], row["answerKey"])
    return _open_book(text_of(row, "question_stem"), candidates, right)


def published_open_book(row: Row) -> list[Choice]:
    """The same as published, where stem and choices are inside the question."""
    stem, candidates, right = _nested(row)
    return _open_book(stem, candidates, right)


def _open_book(stem: str, candidates: list[str], right: int) -> list[Choice]:
    return question_items([("Question", stem)], candidates, right, group=stem)


def quartz(row: Row) -> list[Choice]:
    """A QuaRTz question on the hub. Questions on one piece of knowledge stay together."""
    candidates, right = lettered(row["choices"], row["answerKey"])
    return _quartz(text_of(row, "para"), text_of(row, "question"), candidates, right)


def published_quartz(row: Row) -> list[Choice]:
    """The same as published, where stem and choices are inside the question."""
    stem, candidates, right = _nested(row)
    return _quartz(text_of(row, "para"), stem, candidates, right)


def _quartz(knowledge: str, question: str, candidates: list[str], right: int) -> list[Choice]:
    return question_items([knowledge, ("Question", question)], candidates, right, group=knowledge)


def _nested(row: Row) -> tuple[str, list[str], int]:
    asked = fields_of(row["question"], ("stem", "choices"), "question")
    return trimmed(asked["stem"], "stem"), *lettered(asked["choices"], row["answerKey"])


def ending(row: Row) -> list[Choice]:
    """A HellaSwag context and its endings, on the hub and as published.

    Contexts from one video or one article (`source_id`) stay together, where the file says which.
    """
    context = text_of(row, "ctx")
    endings = texts_of(row["endings"], "endings")
    right = place_of(row["label"], [str(place) for place in range(len(endings))], "label")
    group = str(row.get("source_id") or context)
    return question_items([context], endings, right, group=group, title=CONTINUATION)


def recast_ending(row: Row) -> list[Choice]:
    """HellaSwag recast as inference. Most contexts are there with one ending: kept as they are."""
    return recast_items(row, title=CONTINUATION, matched=False)


def way(row: Row) -> list[Choice]:
    """A goal and two ways to reach it, on the hub."""
    goal = text_of(row, "goal")
    ways = [text_of(row, "sol1"), text_of(row, "sol2")]
    return question_items([("Goal", goal)], ways, label_of(row, "label"), group=goal, title=WAY)


def recast_way(row: Row) -> list[Choice]:
    """PIQA recast as inference: the premise is the goal."""
    return recast_items(row, title=WAY, premise_title="Goal")


SCIQ = DataSet(
    name="sciq",
    title="SciQ",
    kind="choice",
    hub=HubPlace("allenai/sciq"),
    published=(Published(("train.json",), ("test.json",)),),
    forms=(Form(("question", *SCIQ_CANDIDATES), science),),
    ask=ASK_ANSWER,
    paper=True,
    licence="CC BY-NC 3.0",
    url="https://allenai.org/data/sciq",
    cite="Welbl et al. 2017",
)
SCIQ_SUPPORT = DataSet(
    name="sciq_support",
    title="SciQ with support",
    kind="choice",
    hub=HubPlace("allenai/sciq"),
    published=(Published(("train.json",), ("test.json",)),),
    forms=(Form(("question", *SCIQ_CANDIDATES, "support"), supported_science),),
    ask=ASK_ANSWER,
    licence="CC BY-NC 3.0",
    url="https://allenai.org/data/sciq",
    cite="Welbl et al. 2017",
)
OPENBOOKQA = DataSet(
    name="openbookqa",
    title="OpenBookQA",
    kind="choice",
    hub=HubPlace("allenai/openbookqa", "main"),
    published=(Published(("Main/train.jsonl",), ("Main/test.jsonl",)),),
    forms=(
        Form(("question_stem", "choices", "answerKey"), open_book),
        Form(("question", "answerKey"), published_open_book),
    ),
    ask=ASK_ANSWER,
    paper=True,
    licence="Apache-2.0",
    url="https://allenai.org/data/open-book-qa",
    cite="Mihaylov et al. 2018",
)
QUARTZ = DataSet(
    name="quartz",
    title="QuaRTz",
    kind="choice",
    hub=HubPlace("allenai/quartz"),
    published=(Published(("train.jsonl",), ("test.jsonl",)),),
    forms=(
        Form(("para", "question", "choices", "answerKey"), quartz),
        Form(("para", "question", "answerKey"), published_quartz),
    ),
    ask=ASK_ANSWER,
    paper=True,
    licence="CC BY 4.0",
    url="https://allenai.org/data/quartz",
    cite="Tafjord et al. 2019",
)
HELLASWAG = DataSet(
    name="hellaswag",
    title="HellaSwag",
    kind="choice",
    hub=HubPlace("Rowan/hellaswag", revision=PARQUET, test=("validation",)),
    published=(
        Published(("hellaswag_train.jsonl",), ("hellaswag_val.jsonl",)),
        Published(("hellaswag/train.jsonl",), ("hellaswag/val.jsonl",)),
    ),
    forms=(Form(("ctx", "endings", "label"), ending), Form(RECAST_COLUMNS, recast_ending)),
    ask="Is the proposed continuation the right one? Answer with 1 if it is, else with 0.",
    paper=True,
    licence="MIT",
    url="https://rowanzellers.com/hellaswag/",
    cite="Zellers et al. 2019",
)
PIQA = DataSet(
    name="piqa",
    title="PIQA",
    kind="choice",
    hub=HubPlace("ybisk/piqa", revision=PARQUET, test=("validation",)),
    published=(Published(("physicalqa/train.jsonl",), ("physicalqa/val.jsonl",)),),
    forms=(Form(("goal", "sol1", "sol2", "label"), way), Form(RECAST_COLUMNS, recast_way)),
    ask="Does the proposed way reach the goal? Answer with 1 if it does, else with 0.",
    paper=True,
    licence="AFL 3.0",
    url="https://yonatanbisk.com/piqa/",
    cite="Bisk et al. 2020",
)
