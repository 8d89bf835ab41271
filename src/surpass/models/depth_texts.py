"""Models of texts that are cut at a layer: what the layers below give, and how it is read again.

Shape suffixes: M tokens of all texts, N texts, T tokens of the longest, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surpass.models.depth import Below, Rows, entered
from surpass.models.names import ReadOut
from surpass.models.packing import PACKED_AT_ONCE, by_tokens, packed
from surpass.models.tokens import TOKENS_AT_ONCE, Padded, TokenExamples, alike, by_length, padded


class CutTexts(nn.Module):
    """What `LanguageModel` knows of layers that stand still."""

    blocks: Any
    packs: Any
    place: Any
    reading: Any
    _seen: Any
    _seen_packed: Any

    def tried(self) -> Tensor:
        """The states of a text of two tokens that says nothing."""
        ones_NT = torch.ones(1, 2, dtype=torch.int64, device=self.place.device)
        layer = self.reading.layer
        states_NTD: Tensor = self._seen(Padded(0 * ones_NT, ones_NT), [ReadOut(layer)])[layer]
        return states_NTD

    def knowing(self, examples: TokenExamples, below: Below) -> TokenExamples:
        """Examples with what the lower layers give for them."""
        return examples._replace(below=below)

    def parts_below(self, examples: Any) -> tuple[int, Rows] | None:
        """How many rows of states there are of all examples, and where those of each text end.

        None where texts are not read one by one.
        """
        if type(examples) is not TokenExamples:
            return None
        ends_N = examples.lengths_N(np.arange(len(examples.tokens))).cumsum()
        return int(ends_N[-1]), ends_N

    def read_below(self, examples: TokenExamples, layer: int) -> Iterator[tuple[Rows, Tensor]]:
        """Of all texts, in passes: which, and the states (M, D) of their tokens behind a layer.

        Passes depend on the texts alone.
        """
        length_N = examples.lengths_N(np.arange(len(examples.tokens)))
        if self.packs:
            for texts in by_tokens(length_N, PACKED_AT_ONCE):
                batch = packed(examples, texts, self.place.device)
                yield texts, self._seen_packed(batch, [ReadOut(layer)])[layer][0]
            return
        for piece in by_length(length_N, TOKENS_AT_ONCE):
            for places in alike(length_N[piece], self.place.pass_cost):
                rectangle = padded(examples, piece[places], self.place.device)
                states_NTD = self._seen(rectangle, [ReadOut(layer)])[layer]
                yield piece[places], states_NTD[rectangle.inside_NT.bool()]

    def _from_below(
        self, examples: Any, texts: Rows, inside_NT: Tensor | None = None
    ) -> AbstractContextManager[None]:
        """Read what the lower layers give for some texts, where that is known.

        In rectangles of which this is the mask, or side by side.
        """
        below: Below | None = getattr(examples, "below", None)
        if below is None:
            return nullcontext()
        states_MD = below.of(texts, self.place.device)
        if inside_NT is None:
            return entered(self.blocks, below.cut, states_MD[None])
        states_NTD = states_MD.new_zeros(*inside_NT.shape, states_MD.shape[1])
        states_NTD[inside_NT.bool()] = states_MD
        return entered(self.blocks, below.cut, states_NTD)
