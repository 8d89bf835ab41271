"""Texts as a language model reads them: answers, hints, questions, examples shown, and tokens. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.identity import remembered_digest
from surpass.models.folders import BESIDE

BETWEEN_SHOTS = "\n\n"
HINT = "hint"
ASK = "ask"
_TOKENIZERS = 4  # that are kept; a large one takes 100 MB
_HINT = "\nSomebody believes that the answer is {answer}. What is your answer?"
_HINT_PAIR = "\nSomebody believes that this one of two is the {which}. What do you believe?"
_QUESTION = "\n{ask}\nAnswer:"


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
    """The tokenizer of a model's folder, which nobody may change: as long as its files stay, it is the same.

    No code from there is run.

    Raises:
        DataError: It cannot be read.
        MissingExtraError: A package is missing.
    """
    files = (Path(path) / name for name in BESIDE)
    return _tokenizer(Path(path), tuple(remembered_digest(file) if file.is_file() else "" for file in files))


@lru_cache(maxsize=_TOKENIZERS)
def _tokenizer(path: Path, digests: tuple[str, ...]) -> Any:
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
            f"examples have from {lengths['min']} to {lengths['max']} candidates; a model needs at "
            "least one example, and the same classes for all"
        )
    return int(lengths["min"])


def texts_of(inputs: pa.Table, *, pairs: bool = False, asks: bool = False) -> list[str]:
    """What a model reads of each example, or of each pair one after the other.

    Where there is a column `hint`, a sentence behind the text names the class of highest probability; of
    equal ones the first. In a pair it says of each text whether that is the better.

    Args:
        inputs: Columns `text`, or `texts` of pairs; and `hint` and `ask` where they have them.
        pairs: Whether to read pairs.
        asks: Whether the question that column `ask` says follows each text of no pair.

    Raises:
        DataError: A column is missing, or a pair is none.

    Source:
        Burns et al. 2023, appendix E.3. Differs: the wording.
    """
    name = "texts" if pairs else "text"
    if name not in inputs.column_names:
        raise DataError(
            f"examples have no column {name!r}, which a language model reads; they have "
            f"{', '.join(inputs.column_names)}"
        )
    written = inputs[name].to_pylist()
    for place, texts in enumerate(written if pairs else []):
        if len(texts) != 2:
            raise DataError(f"{inputs['id'][place].as_py()!r} has {len(texts)} texts; a pair has two")
    if HINT in inputs.column_names:
        shown = [int(np.argmax(probs)) for probs in inputs[HINT].to_pylist()]
        behind = _beside_pair if pairs else _beside_text
        written = [behind(said, place) for said, place in zip(written, shown, strict=True)]
    if pairs:
        return [text for texts in written for text in texts]
    if asks and ASK in inputs.column_names:
        asked = inputs[ASK].to_pylist()
        written = [text + _QUESTION.format(ask=ask) for text, ask in zip(written, asked, strict=True)]
    return list(written)


def _beside_text(text: str, shown: int) -> str:
    return text + _HINT.format(answer=shown)


def _beside_pair(texts: Sequence[str], shown: int) -> list[str]:
    said = (_HINT_PAIR.format(which="better" if place == shown else "worse") for place in range(2))
    return [text + hint for text, hint in zip(texts, said, strict=True)]


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


class Frame(NamedTuple):
    """The special tokens that a tokenizer puts around every text."""

    before: tuple[int, ...]
    behind: tuple[int, ...]


def frame_of(tokenizer: Any) -> Frame:
    """The special tokens before and behind a text: [CLS] and [SEP], say."""
    plain, framed = (tokenizer("0", add_special_tokens=added)["input_ids"] for added in (False, True))
    for start in range(len(framed) - len(plain) + 1):
        if framed[start : start + len(plain)] == plain:
            return Frame(tuple(framed[:start]), tuple(framed[start + len(plain) :]))
    raise DataError(
        f"the tokenizer of {tokenizer.name_or_path} changes what lies between special tokens; use another"
    )


def shots(texts: Sequence[str], places: Sequence[int], answers: Answers) -> str:
    """Examples with their answers, as one text to be put before another."""
    written = (text + answers.texts[place] for text, place in zip(texts, places, strict=True))
    return "".join(shot + BETWEEN_SHOTS for shot in written)
