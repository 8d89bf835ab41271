"""Texts as a language model reads them: words for answers, hints, examples shown, and tokens. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surpass.errors import ConfigError, DataError, MissingExtraError

MAX_TOKENS = 512
"""How many tokens of a text are read; of a longer one the end, where the question is."""

BETWEEN_SHOTS = "\n\n"
_HINT = "\nSomebody believes that the answer is {answer}. What is your answer?"


def transformers() -> Any:
    """The package of that name, imported when it is needed.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(
            f"language models need the package transformers ({error}); pip install 'surpass[text]'"
        ) from None


def read_tokenizer(path: Path) -> Any:
    """The tokenizer of a model's folder; no code from there is run.

    Raises:
        DataError: It cannot be read.
        MissingExtraError: A package is missing.
    """
    try:
        return transformers().AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except MissingExtraError:
        raise
    # Whatever a damaged or foreign file makes the library raise.
    except Exception as error:
        raise unreadable("tokenizer", path, error) from error


def unreadable(what: str, path: Path, error: Exception) -> DataError:
    """What to say when transformers cannot read something."""
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    return DataError(f"the {what} in {path} cannot be read ({reason}); save it with save_pretrained again")


class Answers(NamedTuple):
    """The answers that a model chooses among: class numbers.

    Attributes:
        texts: How each is written behind a text: " 0" or "0".
        tokens: The token that stands for it.
    """

    texts: tuple[str, ...]
    tokens: tuple[int, ...]


def answers(tokenizer: Any, num_classes: int) -> Answers:
    """The words for the classes 0 to C - 1.

    Numbers with a space before them where the tokenizer makes each of those one token, else bare numbers
    where it makes each of those one token, else the last token of each bare number (tokenizers that
    split off the beginning of a word). One form for all classes.

    Raises:
        ConfigError: In no form do all classes have a token of their own.
    """
    numbers = [str(number) for number in range(num_classes)]
    spaced = [f" {number}" for number in numbers]
    for texts, whole in ((spaced, True), (numbers, True), (numbers, False)):
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        last = [row[-1] for row in ids if row and row[-1] != tokenizer.unk_token_id]
        if len(set(last)) == num_classes and (not whole or all(len(row) == 1 for row in ids)):
            return Answers(tuple(texts), tuple(last))
    raise ConfigError(
        f"the tokenizer of {tokenizer.name_or_path} has no token of its own for each number from 0 to "
        f"{num_classes - 1}; use fewer classes or another model"
    )


def num_classes_of(inputs: pa.Table) -> int:
    """How many candidates all examples have.

    Raises:
        DataError: Their numbers differ, or there are no examples.
    """
    lengths = pc.min_max(pc.list_value_length(inputs["candidates"])).as_py()
    if lengths["min"] is None or lengths["min"] != lengths["max"]:
        raise DataError(
            f"examples have from {lengths['min']} to {lengths['max']} candidates; a language model needs at "
            "least one example, and the same classes for all"
        )
    return int(lengths["min"])


def texts_of(inputs: pa.Table, answers: Answers) -> list[str]:
    """What a model reads of each example; where there is a column `hint`, with a sentence behind it.

    The sentence names the class of highest probability; of equal ones the first.

    Raises:
        DataError: There is no column `text`.

    Source:
        Burns et al. 2023, appendix E.3. Differs: the wording.
    """
    if "text" not in inputs.column_names:
        raise DataError(
            f"examples have no column 'text', which a language model reads; they have "
            f"{', '.join(inputs.column_names)}"
        )
    texts: list[str] = inputs["text"].to_pylist()
    if "hint" not in inputs.column_names:
        return texts
    shown = [int(np.argmax(probs)) for probs in inputs["hint"].to_pylist()]
    return [
        text + _HINT.format(answer=answers.texts[place].strip())
        for text, place in zip(texts, shown, strict=True)
    ]


def tokenised(tokenizer: Any, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """The tokens of each text, without any that the tokenizer adds."""
    if not texts:
        return []
    rows = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [np.array(row, np.int64) for row in rows]


def cut(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> list[str]:
    """The texts, of longer ones the last `max_tokens` tokens.

    Raises:
        ConfigError: A text is longer, and the tokenizer does not tell where its tokens lie.
    """
    shortened = list(texts)
    for place, tokens in enumerate(tokenised(tokenizer, texts)):
        if len(tokens) <= max_tokens:
            continue
        if not tokenizer.is_fast:
            raise ConfigError(
                f"a text has {len(tokens)} tokens and its end cannot be cut off by this tokenizer; save it "
                "as tokenizer.json, or shorten the texts"
            )
        spans = tokenizer(texts[place], add_special_tokens=False, return_offsets_mapping=True, verbose=False)[
            "offset_mapping"
        ]
        shortened[place] = texts[place][spans[len(tokens) - max_tokens][0] :]
    return shortened


def begins_with(tokenizer: Any) -> tuple[int, ...]:
    """The token that the tokenizer puts before every text, if it does."""
    first = tokenizer("0")["input_ids"][:1]
    bos = tokenizer.bos_token_id
    return (int(bos),) if bos is not None and first == [bos] else ()


def shots(texts: Sequence[str], places: Sequence[int], answers: Answers) -> str:
    """Examples with their answers, as one text to be put before another."""
    written = (text + answers.texts[place] for text, place in zip(texts, places, strict=True))
    return "".join(shot + BETWEEN_SHOTS for shot in written)
