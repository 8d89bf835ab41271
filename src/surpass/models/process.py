"""Language models that judge each step of a solution, from what stands up to its end.

A solution is its problem and its steps, each of which ends a line. They are tokenised apart, so that the
tokens of a step are the same whatever follows. Of a prefix that is longer than what the model reads, its last
tokens are read: the front of the problem goes first.

A causal model reads a solution once, and each step's state is that of its last token, which knows nothing
of later steps; only a step behind more tokens than the model reads takes a pass of its own. An encoder sees a
text from both sides, so it reads each prefix by itself: what comes later would tell (a solution goes on
after an error as if there were none, and where labels end with the first error, so would a text).

Source: Lightman et al. 2023 (2305.20050), section 2.6: one label behind each step, one pass over a solution.
    Differs: for causal models the head is a linear map that begins as the unembedding of class numbers.

Shape suffixes: N steps, M texts, T tokens (the longest text of a pass), D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from surpass.errors import ConfigError, DataError
from surpass.models.causal import CausalChoice
from surpass.models.encoder import EncoderChoice
from surpass.models.language import AT_ONCE, LanguageModel
from surpass.models.names import ReadOut
from surpass.models.pooling import pooled
from surpass.models.texts import HINT, tokenised
from surpass.models.tokens import TOKENS_AT_ONCE, Rows, TokenExamples, alike, by_length, padded

COLUMNS = ("id", "solution", "problem", "before", "text")
END_OF_LINE = "\n"


class StepExamples(NamedTuple):
    """Steps, and where in some texts each is to be read.

    Attributes:
        tokens: Those of each text, of which there may be fewer than steps.
        text_N: The text of each step.
        start_N: The place of the first of its tokens.
        end_N: The place behind the last of them.
        group_N: The number of its solution, where steps of one are read together, as batches should have
            them; else None.
        lost_N: Whether tokens before a step, or of it, were left out.
    """

    tokens: list[Rows]
    text_N: Rows
    start_N: Rows
    end_N: Rows
    group_N: Rows | None
    lost_N: npt.NDArray[np.bool_]

    @property
    def truncated(self) -> int:
        """How many steps are not read with all that comes before them."""
        return int(self.lost_N.sum())

    @property
    def texts(self) -> TokenExamples:
        """The texts alone."""
        return TokenExamples(self.tokens)

    def digest(self) -> str:
        """The sha256 of all tokens and of where steps are read."""
        found = sha256(self.texts.digest().encode())
        for places in (self.text_N, self.start_N, self.end_N):
            found.update(places.tobytes())
        return found.hexdigest()


class _Text(NamedTuple):
    """The pieces of the longest prefix of a solution: problem, then steps."""

    problem: str
    steps: list[str]


class StepReader(LanguageModel):
    """What models of steps share: from a table of steps to texts, and from passes to a state of each step."""

    reads_once: ClassVar[bool]
    """Whether one pass over a solution serves all of its steps."""

    def encode(self, inputs: pa.Table) -> StepExamples:  # type: ignore[override]
        """Steps as tokens; columns as those of `tasks.process.StepsTask.examples`.

        Raises:
            ConfigError: Hints or examples shown before a text are asked for; there is no place for them.
            DataError: A column is missing, a step has no token, or rows of a solution contradict each other.
        """
        if HINT in inputs.column_names or self.prefix:
            raise ConfigError(
                "hints and examples with answers have no place in a solution; leave out methods that show "
                "them"
            )
        missing = [name for name in COLUMNS if name not in inputs.column_names]
        if missing:
            raise DataError(
                f"examples have no column {missing[0]!r}, which a model of steps reads; they have "
                f"{', '.join(inputs.column_names)}"
            )
        names, ids = (inputs[name].to_pylist() for name in ("solution", "id"))
        place_N = np.array([len(before) for before in inputs["before"].to_pylist()], np.int64)
        solutions = _solutions(inputs, names, place_N)
        pieces = self._pieces(solutions)
        numbers = {name: number for number, name in enumerate(solutions)}
        group_N = np.array([numbers[name] for name in names], np.int64)
        building = _Building(self.reading.frame, self.reading.longest, self.reads_once)
        for row, (name, place) in enumerate(zip(names, place_N.tolist(), strict=True)):
            if not len(pieces[name][place + 1]):
                raise DataError(f"step {ids[row]!r} has no token; drop it or fill it")
            building.add(name, pieces[name], place)
        return building.examples(group_N if self.reads_once else None)

    def _pieces(self, solutions: dict[str, _Text]) -> dict[str, list[Rows]]:
        """The tokens of the problem and of each step, by solution; each text is tokenised once."""
        texts = dict.fromkeys(
            text + END_OF_LINE for each in solutions.values() for text in (each.problem, *each.steps)
        )
        tokens = dict(zip(texts, tokenised(self.tokenizer, list(texts)), strict=True))
        return {
            name: [tokens[text + END_OF_LINE] for text in (each.problem, *each.steps)]
            for name, each in solutions.items()
        }

    def states_at(  # type: ignore[override]
        self, examples: StepExamples, rows: Rows, read_outs: Sequence[ReadOut]
    ) -> list[Tensor]:
        """The states of some steps, float32 (N, D), at several places; a text with some is read once."""
        texts_M, of_N = np.unique(examples.text_N[rows], return_inverse=True)
        length_M = examples.texts.lengths_N(texts_M)
        pieces = [np.arange(len(texts_M))]
        if not (torch.is_grad_enabled() or self.place.one_pass):
            pieces = list(by_length(length_M, TOKENS_AT_ONCE))
        passes = [
            piece[places] for piece in pieces for places in alike(length_M[piece], self.place.pass_cost)
        ]
        parts, order = [], []
        with self._weights_computed_once():
            for places in passes:
                at_M = np.full(len(texts_M), -1)
                at_M[places] = np.arange(len(places))
                (here,) = np.nonzero(at_M[of_N] >= 0)
                batch = padded(examples.texts, texts_M[places], self.place.device)
                seen = self._seen(batch, read_outs)
                at = torch.from_numpy(at_M[of_N[here]]).to(self.place.device)
                spans = (examples.start_N[rows[here]], examples.end_N[rows[here]])
                parts.append(
                    [
                        self._of_steps(seen[read_out.layer], at, *spans, read_out.pooling)
                        for read_out in read_outs
                    ]
                )
                order.append(here)
        back = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable")).to(self.place.device)
        return [torch.cat(of_one)[back] for of_one in zip(*parts, strict=True)]

    def _of_steps(
        self, states_MTD: Tensor, at: Tensor, start_N: Rows, end_N: Rows, pooling: str | None
    ) -> Tensor:
        """One state of each step out of the states of all tokens."""
        how = pooling or self.reading.pooling
        start, end = (torch.from_numpy(places).to(at.device) for places in (start_N, end_N))
        if how == "last":
            return states_MTD[at, end - 1].float()
        if how == "first":
            return states_MTD[at, torch.zeros_like(start) if not self.reads_once else start].float()
        longest = int((end_N - start_N).max())
        places = start[:, None] + torch.arange(longest, device=at.device)
        inside_NT = (places < end[:, None]).long()
        states_NTD = states_MTD[at[:, None], places.clamp(max=states_MTD.shape[1] - 1)]
        return pooled(states_NTD.float(), inside_NT, "mean")

    def passes(self, examples: StepExamples, num_examples: int) -> list[Rows]:  # type: ignore[override]
        """All steps, those of the longest texts first, in groups of whole texts."""
        assert num_examples == len(examples.text_N)
        length_N = examples.texts.lengths_N(examples.text_N)
        order = np.lexsort((np.arange(num_examples), examples.text_N, -length_N))
        groups: list[Rows] = []
        start = 0
        while start < num_examples:
            end = min(start + AT_ONCE, num_examples)
            while end < num_examples and examples.text_N[order[end]] == examples.text_N[order[end - 1]]:
                end += 1
            groups.append(order[start:end])
            start = end
        return groups


class CausalSteps(StepReader, CausalChoice):
    """Judges steps with a causal language model: one pass over a solution, read behind each step.

    With `pooling=mean` in its name a step is the mean of its tokens, with `pooling=first` the first of them.
    """

    asks: ClassVar[bool] = False
    reads_once: ClassVar[bool] = True


class EncoderSteps(StepReader, EncoderChoice):
    """Judges steps with an encoder: a pass for each prefix, pooled over the tokens of its last step.

    With `pooling=first` a step is what the first token of its text says, such as [CLS].
    """

    reads_once: ClassVar[bool] = False


class _Building:
    """Texts and places, row by row."""

    def __init__(self, frame: Any, longest: int, shared: bool) -> None:
        self._before, self._behind = (np.array(part, np.int64) for part in (frame.before, frame.behind))
        self._longest, self._shared = longest, shared
        self._tokens: list[Rows] = []
        self._places: list[tuple[int, int, int, bool]] = []
        self._whole: dict[str, int] = {}

    def add(self, name: str, pieces: list[Rows], step: int) -> None:
        """A step of a solution whose pieces these are: the problem, then steps."""
        lengths = [len(piece) for piece in pieces[: step + 2]]
        total, own = sum(lengths), lengths[-1]
        first = len(self._before)
        if self._shared and total <= self._longest:
            text = self._whole.get(name)
            if text is None:
                text = self._whole[name] = self._added(_fitting(pieces, self._longest))
            self._places.append((text, first + total - own, first + total, False))
            return
        read = np.concatenate(pieces[: step + 2])[-self._longest :]
        text = self._added(read)
        end = first + len(read)
        self._places.append((text, max(end - own, first), end, total > self._longest))

    def _added(self, tokens: Rows) -> int:
        self._tokens.append(np.concatenate([self._before, tokens, self._behind]))
        return len(self._tokens) - 1

    def examples(self, group_N: Rows | None) -> StepExamples:
        """All of them."""
        text_N, start_N, end_N = (np.array([row[at] for row in self._places], np.int64) for at in range(3))
        lost_N = np.array([row[3] for row in self._places], np.bool_)
        return StepExamples(self._tokens, text_N, start_N, end_N, group_N, lost_N)


def _fitting(pieces: list[Rows], longest: int) -> Rows:
    """The problem and as many steps as fit."""
    ends = np.cumsum([len(piece) for piece in pieces])
    return np.concatenate(pieces[: int(np.searchsorted(ends, longest, side="right"))])


def _solutions(inputs: pa.Table, names: Sequence[str], place_N: Rows) -> dict[str, _Text]:
    """The longest prefix of each solution that is there, in the order of their first rows.

    Raises:
        DataError: Two rows of a solution say different things.
    """
    longest: dict[str, int] = {}
    for row, name in enumerate(names):
        if name not in longest or place_N[row] > place_N[longest[name]]:
            longest[name] = row
    problems, befores, texts = (inputs[column].to_pylist() for column in ("problem", "before", "text"))
    found = {name: _Text(problems[row], [*befores[row], texts[row]]) for name, row in longest.items()}
    for row, name in enumerate(names):
        own = _Text(problems[row], [*befores[row], texts[row]])
        if own.problem != found[name].problem or own.steps != found[name].steps[: len(own.steps)]:
            raise DataError(
                f"rows of solution {name!r} differ in its problem or in its steps; give each solution a name"
            )
    return found
