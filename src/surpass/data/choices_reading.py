"""Multiple choice on a passage, a dialogue or a situation."""

from __future__ import annotations

from typing import Any

from surpass.data.base import Choice, DataSet, Form, HubPlace, Published, Row
from surpass.data.choices import (
    ASK_ANSWER,
    PARQUET,
    RECAST_COLUMNS,
    fields_of,
    label_of,
    lines,
    list_of,
    place_of,
    question_items,
    recast_items,
    text_of,
    texts_of,
    trimmed,
)

MCTACO_COLUMNS = ("sentence", "question", "answer", "label", "category")
NO_YES = {"0": 0, "1": 1, "no": 0, "yes": 1}
BESIDE = "none of the above choices"
ANSWER = "Proposed answer"


def cosmos(row: Row) -> list[Choice]:
    """A CosmosQA question, on the hub and as published.

    "None of the above choices" says nothing without the others, and is no candidate. Where it is the right
    answer, all others are wrong, and balancing leaves nothing of the question.
    """
    context, question = text_of(row, "context"), text_of(row, "question")
    answers = [text_of(row, f"answer{place}") for place in range(4)]
    right = answers[place_of(row["label"], ["0", "1", "2", "3"], "label")]
    kept = [answer for answer in answers if not answer.lower().startswith(BESIDE)]
    place = kept.index(right) if right in kept else None
    return question_items([context, ("Question", question)], kept, place, group=context)


def recast_cosmos(row: Row) -> list[Choice]:
    """CosmosQA recast as inference. Premises that begin alike have one context and stay together."""
    return recast_items(row, title=ANSWER, group_words=12)


def dream(row: Row) -> list[Choice]:
    """A question on a dialogue, on the hub. Questions on one dialogue stay together."""
    return _dream("\n".join(texts_of(row["dialogue"], "dialogue")), row)


def published_dream(row: Row) -> list[Choice]:
    """A dialogue and its questions, as published: a list of turns, a list of questions, and a name.

    The name is not read: two dialogues of the same words have two.
    """
    dialogue = "\n".join(texts_of(row["0"], "column 0"))
    return [item for question in list_of(row["1"], "column 1") for item in _dream(dialogue, question)]


def _dream(dialogue: str, question: Any) -> list[Choice]:
    asked = fields_of(question, ("question", "choice", "answer"), "a question")
    candidates = texts_of(asked["choice"], "choice")
    right = place_of(asked["answer"], candidates, "answer")
    before = (dialogue, ("Question", trimmed(asked["question"], "question")))
    return question_items(before, candidates, right, group=dialogue)


def quail(row: Row) -> list[Choice]:
    """A question on a text, on the hub and as published. Questions on one text stay together."""
    context, question = text_of(row, "context"), text_of(row, "question")
    answers = texts_of(row["answers"], "answers")
    places = [str(place) for place in range(len(answers))]
    right = place_of(row["correct_answer_id"], places, "correct_answer_id")
    return question_items([context, ("Question", question)], answers, right, group=context)


def social(row: Row) -> list[Choice]:
    """A question on a situation, on the hub, where the answers are numbered from 1."""
    return _social(row, place_of(row["label"], ["1", "2", "3"], "label"))


def published_social(row: Row) -> list[Choice]:
    """The same as published in version 1.4, where the right answer has a letter."""
    return _social(row, place_of(row["correct"], ["A", "B", "C"], "correct"))


def _social(row: Row, right: int) -> list[Choice]:
    context, question = text_of(row, "context"), text_of(row, "question")
    answers = [text_of(row, f"answer{letter}") for letter in "ABC"]
    return question_items([context, ("Question", question)], answers, right, group=context)


def recast_social(row: Row) -> list[Choice]:
    """Social IQa recast as inference: the hypothesis is question and answer in one sentence."""
    return recast_items(row, title=ANSWER)


def temporal(row: Row) -> list[Choice]:
    """One candidate of a question on a sentence, on the hub and as published."""
    sentence, question = text_of(row, "sentence"), text_of(row, "question")
    return [_candidate(sentence, question, text_of(row, "answer"), label_of(row, "label", NO_YES))]


def sentences(row: Row) -> list[Choice]:
    """One candidate of a question on a paragraph, on the hub."""
    paragraph, question = text_of(row, "paragraph"), text_of(row, "question")
    return [_candidate(paragraph, question, text_of(row, "answer"), label_of(row, "label"))]


def published_sentences(row: Row) -> list[Choice]:
    """A paragraph with its questions and their candidates, as published in SuperGLUE."""
    passage = fields_of(row["passage"], ("text", "questions"), "passage")
    paragraph = trimmed(passage["text"], "text")
    items = []
    for entry in list_of(passage["questions"], "questions"):
        asked = fields_of(entry, ("question", "answers"), "a question")
        question = trimmed(asked["question"], "question")
        for candidate in list_of(asked["answers"], "answers"):
            answer = fields_of(candidate, ("text", "label"), "an answer")
            text, label = trimmed(answer["text"], "text"), label_of(answer, "label")
            items.append(_candidate(paragraph, question, text, label))
    return items


def _candidate(passage: str, question: str, answer: str, label: int) -> Choice:
    before = (passage, ("Question", question))
    return Choice(lines(*before, (ANSWER, answer)), label, passage, lines(*before))


COSMOS_QA = DataSet(
    name="cosmos_qa",
    title="CosmosQA",
    kind="choice",
    hub=HubPlace("allenai/cosmos_qa", revision=PARQUET, test=("validation",)),
    published=(
        Published(("train.csv",), ("valid.csv",)),
        Published(("cosmoqa/train.jsonl",), ("cosmoqa/val.jsonl",)),
    ),
    forms=(
        Form(("context", "question", "answer0", "answer1", "answer2", "answer3", "label"), cosmos),
        Form(RECAST_COLUMNS, recast_cosmos),
    ),
    ask=ASK_ANSWER,
    paper=True,
    licence="CC BY 4.0",
    url="https://wilburone.github.io/cosmos/",
    cite="Huang et al. 2019",
)
DREAM = DataSet(
    name="dream",
    title="DREAM",
    kind="choice",
    hub=HubPlace("dataset-org/dream", revision=PARQUET),
    published=(Published(("train.json",), ("test.json",)),),
    forms=(
        Form(("dialogue", "question", "choice", "answer"), dream),
        Form(("0", "1"), published_dream),
    ),
    ask=ASK_ANSWER,
    paper=True,
    licence="non-commercial research only",
    url="https://github.com/nlpdata/dream",
    cite="Sun et al. 2019",
)
QUAIL = DataSet(
    name="quail",
    title="QuAIL",
    kind="choice",
    hub=HubPlace("textmachinelab/quail", "quail", test=("validation",)),
    published=(Published(("train.jsonl",), ("dev.jsonl",)),),
    forms=(Form(("context", "question", "answers", "correct_answer_id"), quail),),
    ask=ASK_ANSWER,
    paper=True,
    licence="CC BY-NC-SA 4.0",
    url="https://text-machine-lab.github.io/blog/2020/quail/",
    cite="Rogers et al. 2020",
)
SOCIAL_IQA = DataSet(
    name="social_iqa",
    title="Social IQa",
    kind="choice",
    hub=HubPlace("allenai/social_i_qa", revision=PARQUET, test=("validation",)),
    published=(
        Published(("socialIQa_v1.4_trn.jsonl",), ("socialIQa_v1.4_dev.jsonl",)),
        Published(("socialqa/train.jsonl",), ("socialqa/val.jsonl",)),
    ),
    forms=(
        Form(("context", "question", "answerA", "answerB", "answerC", "label"), social),
        Form(("context", "question", "answerA", "answerB", "answerC", "correct"), published_social),
        Form(RECAST_COLUMNS, recast_social),
    ),
    ask=ASK_ANSWER,
    paper=True,
    licence="CC BY 4.0, upstream",
    url="https://allenai.org/data/socialiqa",
    cite="Sap et al. 2019",
)
MCTACO = DataSet(
    name="mctaco",
    title="MCTACO",
    kind="choice",
    # There is no training split: the larger one is learned from, and they share no sentence.
    hub=HubPlace("CogComp/mc_taco", revision=PARQUET, train=("test",), test=("validation",)),
    published=(Published(("test_9442.tsv",), ("dev_3783.tsv",), MCTACO_COLUMNS),),
    forms=(Form(("sentence", "question", "answer", "label"), temporal),),
    ask=ASK_ANSWER,
    paper=True,
    licence="unknown",
    url="https://github.com/CogComp/MCTACO",
    cite="Zhou et al. 2019",
)
MULTIRC = DataSet(
    name="multirc",
    title="SuperGLUE MultiRC",
    kind="choice",
    hub=HubPlace("aps/super_glue", "multirc", PARQUET, test=("validation",)),
    published=(
        Published(("MultiRC/train.jsonl",), ("MultiRC/val.jsonl",)),
        Published(("train.jsonl",), ("val.jsonl",)),
    ),
    forms=(
        Form(("paragraph", "question", "answer", "label"), sentences),
        Form(("passage",), published_sentences),
    ),
    ask=ASK_ANSWER,
    paper=True,
    licence="see its page",
    url="https://cogcomp.seas.upenn.edu/multirc/",
    cite="Khashabi et al. 2018",
)
