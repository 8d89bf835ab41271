"""Write the page of all data sets, from the catalog.

python scripts/write_data_sets.py > docs/data-sets.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from surpass.data.base import DataSet, Published
from surpass.data.catalog import DATA_SETS
from surpass.data.loading import FOLDER_VARIABLE

HEAD = f"""# Data sets

What `task=` takes besides chess and files of your own. None comes with Surpass. `task=sst2` looks in this
order:

1. `task="sst2(source=FOLDER)"`: a folder, or an archive, with the published files somewhere in it, by the
   names below, plain or compressed (`.gz`, `.xz`, `.bz2`, `.zst`, inside `.zip` or `.tar`); or a clone of the
   hub's repository.
2. `${FOLDER_VARIABLE}/sst2`, if the environment variable `{FOLDER_VARIABLE}` names a folder that has one: the
   same.
3. The Hugging Face hub's cache on this machine.
4. The hub.

So without a network, 1 and 2 are the way. Rows are read from the hub's columns or those of the published
files, whichever are there. `trust_remote_code` is never used: where a repository has only a script, its
Parquet branch is read. Licences are what the sources state; check them before you pass data on.

Protocol (Burns et al. 2023, appendix A.1): each candidate of a multiple choice is a row with its question,
and as many right as wrong ones of each question are kept; sets that are binary stay as they are; rows that
belong together (fourth column) stay in one half. ANLI is right if entailed. Where the labels of `test` are
hidden, `validation` is scored. Texts are our own, as the paper does not print its templates.

`scripts/write_data_sets.py` writes this page from the code.
"""
COLUMNS = """
| name | data set | hub: learned from, scored | stay together | published files | licence |
|---|---|---|---|---|---|
"""
ASKED = """
## What a prompted model is asked

Models that are fine-tuned read the text alone. A model that answers in words reads this question behind it.

| name | question | 0, 1 |
|---|---|---|
"""
TAIL = """
## What to know before you compare

- ETHICS is scored on the authors' test, not on their hard test. Most sentences of its virtue test, with other
  traits, are in the training file too, as are a third of the scenarios of deontology.
- SST-2 learns from phrases, of which several come from one sentence; the files do not say which.
- SciQ with support leaves out the questions that have none, about one in ten.
- CosmosQA: "None of the above choices" is no candidate, since it says nothing without the others. Questions
  that have it as their answer drop out.
- MCTACO has no training split: its larger part is learned from.
- PIQA and the current release of Social IQa publish labels in a file apart, which is not read; the hub's
  columns and the recasts below are.
- Files called `hellaswag/`, `cosmoqa/`, `physicalqa/` and `socialqa/` are recasts as premise and hypothesis
  (Chen and Gao 2022). Most contexts of HellaSwag have one ending there, so that its rows are not matched by
  question.
- Wrong candidates that say the same as the right one, or as one before, are left out.
- Images: classes are as the data have them, not balanced unless asked for; `images.md` says what is checked.
  ImageNet is its validation set, of which 10,000 images, drawn by their bytes, are scored (appendix D.1).
- GSM8K: the sums in double angle brackets are left out of the solutions.
"""
TOGETHER = {
    "boolq": "passage",
    "cosmos_qa": "context",
    "dream": "dialogue",
    "ethics_justice": "first five words",
    "ethics_deontology": "scenario",
    "ethics_virtue": "sentence",
    "ethics_utilitarianism": "first five words",
    "anli_r2": "premise",
    "cola": "sentence",
    "sst2": "phrase",
    "hellaswag": "video or article",
    "mctaco": "sentence",
    "openbookqa": "question",
    "paws": "words of the first sentence",
    "quail": "text",
    "piqa": "goal",
    "quartz": "piece of knowledge",
    "sciq": "question",
    "social_iqa": "situation",
    "multirc": "paragraph",
    "wic": "word",
    "twitter_sentiment": "message",
    "sciq_support": "question",
    "amazon_polarity": "review",
    "hh": "first message",
    "shp": "post",
    "ultrafeedback": "first message",
    "gsm8k": "problem",
    "cifar10": "equal images",
    "cifar100": "equal images",
    "imagenet": "equal images",
}


def line(cells: Iterable[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def hub(data_set: DataSet) -> str:
    """Where it lies on the hub."""
    place = data_set.hub
    if place is None:
        return "-"
    config = f" `{place.config}`" if place.config else ""
    branch = "" if place.revision == "main" else f" @ `{place.revision}`"
    splits = f"{' + '.join(place.train)}, {' + '.join(place.test) or 'a part of it'}"
    return (
        f"[{place.repository}](https://huggingface.co/datasets/{place.repository}){config}{branch}: {splits}"
    )


def files(published: Published) -> str:
    """The files of one published form."""
    train, test = (" + ".join(f"`{name}`" for name in names) for names in (published.train, published.test))
    return f"{train}, {test or 'a part of it'}"


def described(name: str) -> str:
    """The line of a data set."""
    data_set = DATA_SETS[name]
    title = f"[{data_set.title}]({data_set.url}) ({data_set.cite})"
    published = "; or ".join(map(files, data_set.published)) or "-"
    return line([f"`{name}`", title, hub(data_set), TOGETHER[name], published, data_set.licence])


def page() -> str:
    """The whole page."""
    parts = {
        "The 22 of the paper": [name for name, known in DATA_SETS.items() if known.paper],
        "More choices": [
            name for name, known in DATA_SETS.items() if known.kind == "choice" and not known.paper
        ],
        "Preferences": [name for name, known in DATA_SETS.items() if known.kind == "preference"],
        "Generation": [name for name, known in DATA_SETS.items() if known.kind == "generation"],
        "Images": [name for name, known in DATA_SETS.items() if known.kind == "image"],
    }
    lines = [HEAD]
    for title, names in parts.items():
        lines += [f"\n## {title}\n{COLUMNS}", *map(described, names)]
    lines.append(ASKED)
    for name, data_set in DATA_SETS.items():
        if data_set.ask:
            lines.append(line([f"`{name}`", data_set.ask, ", ".join(data_set.classes)]))
    return "".join([*lines, TAIL])


if __name__ == "__main__":
    sys.stdout.write(page())
