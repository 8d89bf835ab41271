"""Generation data: a prompt and how it goes on."""

from __future__ import annotations

import re

from surpass.data.base import Completion, DataSet, Form, HubPlace, Published, Row
from surpass.data.choices import text_of
from surpass.errors import DataError

_SUM = re.compile(r"<<[^<>]*>>")


def word_problem(row: Row) -> list[Completion]:
    """A word problem and its solution, which ends with #### and the number.

    The sums that the authors mark for a calculator (48/2=<<48/2=24>>24) are left out: what is beside them
    says the same.

    Raises:
        DataError: The solution has no final number.
    """
    question, answer = text_of(row, "question"), _SUM.sub("", text_of(row, "answer"))
    if answer and not answer.rpartition("####")[1]:
        raise DataError(f'answer has no final number; its last line has to be "#### 72": {answer[-80:]!r}')
    prompt = f"Question: {question}\nAnswer:" if question else ""
    return [Completion(prompt, f" {answer}" if answer else "", question)]


GSM8K = DataSet(
    name="gsm8k",
    title="GSM8K",
    kind="generation",
    hub=HubPlace("openai/gsm8k", "main"),
    published=(Published(("train.jsonl",), ("test.jsonl",)),),
    forms=(Form(("question", "answer"), word_problem),),
    checker="number",
    licence="MIT",
    url="https://github.com/openai/grade-school-math",
    cite="Cobbe et al. 2021",
)
