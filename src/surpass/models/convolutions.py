"""What a way to convolve boards offers; the modules `direct` and `winograd` are two.

Shape suffixes: N boards, R squares of all boards (64 N), C channels of the input, O of the output.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Convolutions(Protocol):
    """3x3 convolutions of boards, there and back, on features in a layout of its own.

    Attributes:
        BY_SQUARE: Whether rows of features are a1 of all boards, then b1 and so on; else they are all squares
            of a board, then of the next.
    """

    BY_SQUARE: bool

    def features(self, boards: Tensor) -> Tensor:
        """Boards, (N, C, 8, 8), channels last, in its layout."""
        ...

    def boards(self, features: Tensor, count: int) -> Tensor:
        """The way back, of so many boards."""
        ...

    def rows(self, features: Tensor) -> Tensor:
        """Features by square, (R, C)."""
        ...

    def of_rows(self, rows_RC: Tensor) -> Tensor:
        """The way back."""
        ...

    def filters(self, weight: Tensor) -> Tensor:
        """Weights of a convolution, (O, C, 3, 3), as it takes them."""
        ...

    def num_at_once(self, channels: int) -> int | None:
        """How many boards it convolves fastest if no gradients are wanted; None for as many as there are."""
        ...

    def convolve(self, features: Tensor, filters: Tensor, bias_O: Tensor) -> tuple[Tensor, Tensor]:
        """The convolution with padding of 1, and what `convolve_backward` takes."""
        ...

    def convolve_backward(
        self, slope: Tensor, seen: Tensor, filters: Tensor, *, below: bool = True
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Gradients by the input, or None if nothing `below` wants it, by the weights and by the bias."""
        ...
