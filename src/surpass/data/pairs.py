"""Preference data: one item for each comparison of two completions."""

from __future__ import annotations

from typing import Any

from surpass.data.base import DataSet, Form, HubPlace, Pair, Published, Row
from surpass.data.choices import fields_of, label_of, list_of, text_of, trimmed
from surpass.errors import DataError

ASSISTANT = "\n\nAssistant:"
_NAMES = {"user": "Human", "human": "Human", "assistant": "Assistant", "system": "System"}


def dialogue(row: Row) -> list[Pair]:
    """Two dialogues of people with an assistant that are equal up to one of its answers.

    The prompt is what both begin with, up to and with the last "Assistant:". Dialogues that begin with the
    same message stay together: a longer one is often a shorter one continued.

    Raises:
        DataError: They do not begin alike with a turn of the assistant.
    """
    chosen, rejected = text_of(row, "chosen"), text_of(row, "rejected")
    pairs = enumerate(zip(chosen, rejected, strict=False))
    differ = next((place for place, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))
    cut = chosen.rfind(ASSISTANT, 0, differ)
    if cut < 0:
        raise DataError(
            'chosen and rejected have to begin with the same turns, up to an "Assistant:" after an empty line'
        )
    cut += len(ASSISTANT)
    prompt = chosen[:cut]
    return [_pair(prompt, chosen[cut:], rejected[cut:], prompt.partition(ASSISTANT)[0])]


def messages(row: Row) -> list[Pair]:
    """Two lists of messages that are equal up to the last one, or a prompt and two texts.

    Raises:
        DataError: They differ before the last message, or a message lacks its content.
    """
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        return [_answers(text_of(row, "prompt"), chosen, rejected)]
    (before, preferred), (other, second) = _turns(chosen, "chosen"), _turns(rejected, "rejected")
    if before != other:
        raise DataError(
            "chosen and rejected differ before their last message; they have to answer one prompt"
        )
    if not before:
        return [_answers(text_of(row, "prompt"), preferred, second)]
    return [_pair(before + ASSISTANT, preferred, second, before.partition(ASSISTANT)[0])]


def instruction(row: Row) -> list[Pair]:
    """An instruction and two responses."""
    chosen, rejected = text_of(row, "chosen_response"), text_of(row, "rejected_response")
    return [_answers(text_of(row, "instruction"), chosen, rejected)]


def post(row: Row) -> list[Pair]:
    """A post and two comments on it, of which readers liked one more: A if `labels` is 1, else B."""
    history = text_of(row, "history")
    comments = [text_of(row, "human_ref_B"), text_of(row, "human_ref_A")]
    liked = label_of(row, "labels")
    prompt = f"Post: {history}\n\nComment:" if history else ""
    return [_pair(prompt, comments[liked], comments[1 - liked], text_of(row, "post_id") or history)]


def _answers(asked: str, chosen: str, rejected: str) -> Pair:
    return _pair(f"Human: {asked}{ASSISTANT}" if asked else "", chosen, rejected, asked)


def _pair(prompt: str, chosen: str, rejected: str, group: str) -> Pair:
    return Pair(prompt, _completion(chosen), _completion(rejected), group)


def _completion(text: str) -> str:
    return f" {text.strip()}" if text.strip() else ""


def _turns(said: Any, what: str) -> tuple[str, str]:
    """What comes before the last message, each with who says it, and that message."""
    turns = []
    for entry in list_of(said, what):
        message = fields_of(entry, ("role", "content"), f"a message of {what}")
        role = str(message["role"]).lower()
        if role not in _NAMES:
            raise DataError(f"a message of {what} is by {role!r}; it has to be by one of {', '.join(_NAMES)}")
        turns.append((_NAMES[role], trimmed(message["content"], f"a message of {what}")))
    if not turns or turns[-1][0] != "Assistant":
        raise DataError(f"{what} does not end with a message of the assistant; end it with the completion")
    return "\n\n".join(f"{name}: {content}" for name, content in turns[:-1]), turns[-1][1]


HH = DataSet(
    name="hh",
    title="Anthropic HH",
    kind="preference",
    hub=HubPlace("Anthropic/hh-rlhf"),
    published=(
        Published(("*/train.jsonl",), ("*/test.jsonl",)),
        Published(("train.jsonl",), ("test.jsonl",)),
        Published(("*.test.jsonl",)),
    ),
    forms=(Form(("chosen", "rejected"), dialogue),),
    licence="MIT",
    url="https://github.com/anthropics/hh-rlhf",
    cite="Bai et al. 2022",
)
SHP = DataSet(
    name="shp",
    title="Stanford Human Preferences",
    kind="preference",
    hub=HubPlace("stanfordnlp/SHP"),
    published=(Published(("*/train.json",), ("*/test.json",)),),
    forms=(Form(("history", "human_ref_A", "human_ref_B", "labels", "post_id"), post),),
    licence="see its card: texts of Reddit under the terms of its API",
    url="https://huggingface.co/datasets/stanfordnlp/SHP",
    cite="Ethayarajh et al. 2022",
)
ULTRAFEEDBACK = DataSet(
    name="ultrafeedback",
    title="UltraFeedback, binarized",
    kind="preference",
    hub=HubPlace("HuggingFaceH4/ultrafeedback_binarized", train=("train_prefs",), test=("test_prefs",)),
    forms=(
        Form(("prompt", "chosen", "rejected"), messages),
        Form(("instruction", "chosen_response", "rejected_response"), instruction),
    ),
    licence="MIT",
    url="https://huggingface.co/datasets/HuggingFaceH4/ultrafeedback_binarized",
    cite="Cui et al. 2023; Tunstall et al. 2023",
)
