"""Causal language models that judge whole solutions: right or wrong, said behind every token of them.

The problem and then the steps are read, a line each; the tokens of the two are made apart, so that the first
step begins where a generator would begin. While the model learns, its verdict behind every token of the
solution counts; otherwise the one behind the last token is the solution's.

Source: Cobbe et al. 2021, section 4.2; Lightman et al. 2023, section 2.5.

Shape suffixes: N solutions, C classes, T tokens (the longest row of a pass).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from surpass.errors import ConfigError, DataError
from surpass.models.causal import CausalChoice
from surpass.models.sources import ModelSource
from surpass.models.texts import tokenised
from surpass.models.tokens import Rows, TokenExamples, alike, padded

STEPS = "steps"
"""The column that makes an example a whole solution: the text of each step."""


@dataclass(frozen=True)
class SolutionTokens:
    """Solutions as tokens, each behind its problem.

    Attributes:
        texts: The tokens of both.
        start_N: Where the solution begins, int64 (N,); at 0 where the problem was cut off.
    """

    texts: TokenExamples
    start_N: Rows

    @property
    def tokens(self) -> list[Rows]:
        """Those of each problem with its solution."""
        return self.texts.tokens

    @property
    def truncated(self) -> int:
        """How many lost tokens."""
        return self.texts.truncated

    def lengths_N(self, rows: Rows) -> Rows:
        """How many tokens these have."""
        return self.texts.lengths_N(rows)

    def digest(self) -> str:
        """The sha256 of all tokens; where solutions begin is nothing to the last one."""
        return self.texts.digest()


class CausalOutcome(CausalChoice):
    """An outcome reward model: judges solutions with a causal language model, behind each token."""

    @classmethod
    def load(cls, source: ModelSource, inputs: pa.Table) -> Self:
        """The pretrained model of a folder.

        Raises:
            ConfigError: It is no causal language model, or its states are to be read elsewhere.
            DataError: It cannot be read.
            MissingExtraError: A package is missing.
        """
        if source.family != "causal":
            raise ConfigError(
                f"{source.name} is no causal language model, and only those judge a solution behind each "
                "of its tokens; name another"
            )
        if source.layer is not None or source.pooling not in (None, "last"):
            raise ConfigError(
                f"model {source.name}: solutions are judged token by token at the end of the model; "
                "leave layer and pooling out"
            )
        return super().load(source, inputs)

    def encode(self, inputs: pa.Table) -> SolutionTokens:  # type: ignore[override]
        """Solutions as tokens; columns `problem` and `steps`. Of longer ones the end is read.

        Raises:
            DataError: A column is missing, or a solution has no steps, or none that a token stands for.
        """
        texts = solution_texts(inputs)
        asked = tokenised(self.tokenizer, [problem for problem, _ in texts])
        said = tokenised(self.tokenizer, [solution for _, solution in texts])
        longest, before = self.reading.longest, np.array(self.reading.frame.before, np.int64)
        tokens, starts, lost = [], [], []
        for place, (problem, solution) in enumerate(zip(asked, said, strict=True)):
            if not len(solution):
                raise DataError(f"the solution {inputs['id'][place].as_py()!r} has no tokens; leave it out")
            whole = np.concatenate([problem, solution])
            tokens.append(np.concatenate([before, whole[-longest:]]))
            starts.append(len(before) + max(min(len(whole), longest) - len(solution), 0))
            lost.append(len(whole) > longest)
        return SolutionTokens(TokenExamples(tokens, np.array(lost, np.bool_)), np.array(starts, np.int64))

    def forward(self, examples: Any, rows: Rows) -> Tensor:
        """Of some solutions the logits behind the last token, float32 (N, C) on the CPU.

        While it learns, the mean over the solution's tokens of the logarithms of its probabilities: what
        `train.outcome.mean_over_tokens` makes a loss of.
        """
        if not self.training:
            return super().forward(examples, rows)
        passes = alike(examples.lengths_N(rows), self.place.pass_cost)
        with self._weights_computed_once():
            parts = [self._means_NC(examples, rows[places]) for places in passes]
        order = torch.from_numpy(np.argsort(np.concatenate(passes), kind="stable"))
        return torch.cat(parts).cpu()[order]

    def _means_NC(self, examples: SolutionTokens, rows: Rows) -> Tensor:
        batch = padded(examples.texts, rows, self.place.device)
        with self.place.fast():
            states_NTD = self.body(
                input_ids=batch.tokens_NT, attention_mask=batch.inside_NT, **self._more(batch.tokens_NT)
            ).last_hidden_state
        start_N = torch.from_numpy(examples.start_N[rows]).to(self.place.device)
        place_T = torch.arange(batch.tokens_NT.shape[1], device=self.place.device)
        judged_NT = batch.inside_NT.bool() & (place_T >= start_N[:, None])
        verdicts_NTC = self.head(states_NTD.float()).log_softmax(dim=2)
        sums_NC: Tensor = (verdicts_NTC * judged_NT[:, :, None]).sum(dim=1)
        return sums_NC / judged_NT.sum(dim=1, keepdim=True)


def solution_texts(inputs: pa.Table) -> list[tuple[str, str]]:
    """Each problem and its solution, as they are read one behind the other; every line is ended.

    Raises:
        DataError: A column is missing, or a solution has no steps.
    """
    missing = [name for name in ("problem", STEPS) if name not in inputs.column_names]
    if missing:
        raise DataError(
            f"examples have no column {missing[0]!r}, by which solutions are read; they have "
            f"{', '.join(inputs.column_names)}"
        )
    ids: Sequence[str] = inputs["id"].to_pylist()
    texts = []
    for name, problem, steps in zip(
        ids, inputs["problem"].to_pylist(), inputs[STEPS].to_pylist(), strict=True
    ):
        if not steps:
            raise DataError(f"the solution {name!r} has no steps, so there is nothing to score; leave it out")
        texts.append((f"{problem}\n", "".join(f"{step}\n" for step in steps)))
    return texts
