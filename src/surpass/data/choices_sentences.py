"""Data sets that were binary to begin with: sentiment, grammar, and whether two sentences agree."""

from __future__ import annotations

from surpass.data.base import Choice, DataSet, Form, HubPlace, Published, Row
from surpass.data.choices import BOOLEAN, PARQUET, label_of, lines, text_of

COLA_COLUMNS = ("source", "label", "mark", "sentence")
AMAZON_COLUMNS = ("class", "title", "content")
INFERENCE = {"0": 1, "1": 0, "2": 0, "e": 1, "n": 0, "c": 0}


def sentence(row: Row) -> list[Choice]:
    """A sentence with a class; CoLA's `mark`, an asterisk for what is not acceptable, is not read."""
    text = text_of(row, "sentence")
    return [Choice(text, label_of(row, "label"), text)]


def message(row: Row) -> list[Choice]:
    """A short message with a class."""
    text = text_of(row, "text")
    return [Choice(text, label_of(row, "label"), text)]


def review(row: Row) -> list[Choice]:
    """A product review on the hub, with the classes 0 and 1. A review without a title is its content."""
    return [_review(row, label_of(row, "label"))]


def starred_review(row: Row) -> list[Choice]:
    """A product review as published, with the classes 1 and 2."""
    return [_review(row, label_of(row, "class", {"1": 0, "2": 1}))]


def _review(row: Row, label: int) -> Choice:
    title, content = text_of(row, "title"), text_of(row, "content")
    return Choice(lines(title, content) if title else content, label, content)


def paraphrase(row: Row) -> list[Choice]:
    """Two sentences, and whether they mean the same.

    PAWS makes its pairs by exchanging words: pairs whose first sentences have the same words, in any order,
    come from one sentence and stay together.
    """
    first, second = text_of(row, "sentence1"), text_of(row, "sentence2")
    group = " ".join(sorted(set(first.lower().split())))
    return [Choice(lines(("First", first), ("Second", second)), label_of(row, "label"), group)]


def word_sense(row: Row) -> list[Choice]:
    """A word in two sentences, and whether it means the same. Rows about one word stay together."""
    word = text_of(row, "word")
    text = lines(("First", text_of(row, "sentence1")), ("Second", text_of(row, "sentence2")), ("Word", word))
    return [Choice(text, label_of(row, "label", BOOLEAN), word.lower())]


def inference(row: Row) -> list[Choice]:
    """A premise and a hypothesis on the hub; right if entailed: neutral is with contradiction."""
    return [_inference(row, "premise")]


def published_inference(row: Row) -> list[Choice]:
    """The same as published, where the premise is called context and labels are e, n and c."""
    return [_inference(row, "context")]


def _inference(row: Row, column: str) -> Choice:
    premise = text_of(row, column)
    text = lines(premise, ("Statement", text_of(row, "hypothesis")))
    return Choice(text, label_of(row, "label", INFERENCE), premise)


def yes_no(row: Row) -> list[Choice]:
    """A question on a passage with the answer yes or no, on the hub and as published."""
    return [_yes_no(text_of(row, "passage"), text_of(row, "question"), label_of(row, "answer", BOOLEAN))]


def titled_yes_no(row: Row) -> list[Choice]:
    """The same in SuperGLUE, where the passage begins with the title of its page and two hyphens."""
    passage, question = _untitled(text_of(row, "passage")), text_of(row, "question")
    return [_yes_no(passage, question, label_of(row, "label", BOOLEAN))]


def joined_yes_no(row: Row) -> list[Choice]:
    """The same as passed on with O-LoRA: question and passage in one text, with their names."""
    question, _, passage = text_of(row, "sentence").partition("\npassage:")
    question = question.removeprefix("question:").strip()
    return [_yes_no(_untitled(passage.strip()), question, label_of(row, "label", BOOLEAN))]


def _untitled(passage: str) -> str:
    title, hyphens, rest = passage.partition(" -- ")
    return rest.strip() if hyphens else title


def _yes_no(passage: str, question: str, label: int) -> Choice:
    asked = question.rstrip("? ")
    return Choice(lines(passage, ("Question", asked and f"{asked}?")), label, passage)


BOOLQ = DataSet(
    name="boolq",
    title="BoolQ",
    kind="choice",
    hub=HubPlace("google/boolq", test=("validation",)),
    published=(
        Published(("train.jsonl",), ("dev.jsonl",)),
        Published(("BoolQ/train.jsonl",), ("BoolQ/val.jsonl",)),
        Published(("olora_train.json",), ("dev.jsonl",)),
    ),
    forms=(
        Form(("passage", "question", "answer"), yes_no),
        Form(("passage", "question", "label"), titled_yes_no),
        Form(("sentence", "label"), joined_yes_no),
    ),
    ask="Is the answer to the question yes? Answer with 1 if it is, else with 0.",
    classes=("no", "yes"),
    paper=True,
    licence="CC BY-SA 3.0",
    url="https://github.com/google-research-datasets/boolean-questions",
    cite="Clark et al. 2019",
)
ANLI_R2 = DataSet(
    name="anli_r2",
    title="ANLI, round 2",
    kind="choice",
    hub=HubPlace("facebook/anli", train=("train_r2",), test=("test_r2",)),
    published=(
        Published(("R2/train.jsonl",), ("R2/test.jsonl",)),
        Published(("train.jsonl",), ("test.jsonl",)),
        Published(("dev.jsonl",), ("test.jsonl",)),
    ),
    forms=(
        Form(("premise", "hypothesis", "label"), inference),
        Form(("context", "hypothesis", "label"), published_inference),
    ),
    ask="Does the text imply the statement? Answer with 1 if it does, else with 0.",
    classes=("not entailed", "entailed"),
    paper=True,
    licence="CC BY-NC 4.0",
    url="https://github.com/facebookresearch/anli",
    cite="Nie et al. 2020",
)
COLA = DataSet(
    name="cola",
    title="GLUE CoLA",
    kind="choice",
    hub=HubPlace("nyu-mll/glue", "cola", test=("validation",)),
    published=(
        Published(
            ("raw/in_domain_train.tsv",),
            ("raw/in_domain_dev.tsv", "raw/out_of_domain_dev.tsv"),
            COLA_COLUMNS,
        ),
        Published(("CoLA/train.tsv",), ("CoLA/dev.tsv",), COLA_COLUMNS),
    ),
    forms=(Form(("sentence", "label"), sentence),),
    ask="Is this sentence acceptable English? Answer with 1 if it is, else with 0.",
    classes=("unacceptable", "acceptable"),
    paper=True,
    licence="research use, upstream",
    url="https://nyu-mll.github.io/CoLA/",
    cite="Warstadt et al. 2019",
)
SST2 = DataSet(
    name="sst2",
    title="GLUE SST-2",
    kind="choice",
    hub=HubPlace("stanfordnlp/sst2", test=("validation",)),
    published=(
        Published(("SST-2/train.tsv",), ("SST-2/dev.tsv",)),
        Published(("train.tsv",), ("dev.tsv",)),
        Published(("train_full.tsv",), ("dev.tsv",)),
    ),
    forms=(Form(("sentence", "label"), sentence),),
    ask="Is this opinion of a film positive? Answer with 1 if it is, else with 0.",
    classes=("negative", "positive"),
    paper=True,
    licence="unknown",
    url="https://nlp.stanford.edu/sentiment/",
    cite="Socher et al. 2013",
)
PAWS = DataSet(
    name="paws",
    title="PAWS",
    kind="choice",
    hub=HubPlace("google-research-datasets/paws", "labeled_final"),
    published=(Published(("train.tsv",), ("test.tsv",)),),
    forms=(Form(("sentence1", "sentence2", "label"), paraphrase),),
    ask="Do both sentences mean the same? Answer with 1 if they do, else with 0.",
    classes=("different", "same"),
    paper=True,
    licence="free for any purpose, with acknowledgement",
    url="https://github.com/google-research-datasets/paws",
    cite="Zhang et al. 2019",
)
WIC = DataSet(
    name="wic",
    title="SuperGLUE WiC",
    kind="choice",
    hub=HubPlace("aps/super_glue", "wic", PARQUET, test=("validation",)),
    published=(
        Published(("WiC/train.jsonl",), ("WiC/val.jsonl",)),
        Published(("train.jsonl",), ("val.jsonl",)),
    ),
    forms=(Form(("word", "sentence1", "sentence2", "label"), word_sense),),
    ask="Does the word mean the same in both sentences? Answer with 1 if it does, else with 0.",
    classes=("different", "same"),
    paper=True,
    licence="CC BY-NC 4.0",
    url="https://pilehvar.github.io/wic/",
    cite="Pilehvar and Camacho-Collados 2019",
)
TWITTER_SENTIMENT = DataSet(
    name="twitter_sentiment",
    title="Twitter Sentiment",
    kind="choice",
    hub=HubPlace("EleutherAI/twitter-sentiment"),
    forms=(Form(("text", "label"), message),),
    ask="Is the mood of this message positive? Answer with 1 if it is, else with 0.",
    classes=("negative", "positive"),
    paper=True,
    licence="unknown",
    url="https://huggingface.co/datasets/EleutherAI/twitter-sentiment",
    cite="as prepared by EleutherAI for its weak-to-strong experiments",
)
AMAZON_POLARITY = DataSet(
    name="amazon_polarity",
    title="Amazon reviews, polarity",
    kind="choice",
    hub=HubPlace("fancyzhx/amazon_polarity"),
    published=(Published(("train.csv",), ("test.csv",), AMAZON_COLUMNS),),
    forms=(
        Form(("title", "content", "label"), review),
        Form(("title", "content", "class"), starred_review),
    ),
    ask="Is this review of a product positive? Answer with 1 if it is, else with 0.",
    classes=("negative", "positive"),
    licence="Apache-2.0, as the hub states it",
    url="https://huggingface.co/datasets/fancyzhx/amazon_polarity",
    cite="McAuley and Leskovec 2013; Zhang et al. 2015",
)
