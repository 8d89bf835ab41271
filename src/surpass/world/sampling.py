"""Many completions of each prompt, drawn at a temperature from any causal language model of the toolkit.

What is drawn for a prompt follows from the seed, the prompt's name and the number of the draw, so that a
sample is the same whatever is drawn beside it, but for rounding. Equal prompts are read once; keys and
values lie in buffers with room to grow, as copying them for each token would take most of the time of a small
model.

Source: Holtzman et al. 2020 call this ancestral sampling; no token is left out.

Shape suffixes: N rows that are decoded together, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surpass.errors import ConfigError
from surpass.models.generation import Generator
from surpass.models.prompts import rectangle
from surpass.models.texts import BETWEEN_SHOTS
from surpass.models.tokens import Rows

ROWS = 400
"""How many completions are decoded together."""

_ROOM = 64
"""Tokens by which a buffer of keys and values grows."""


class Sampled(NamedTuple):
    """A completion.

    Attributes:
        text: Without the end token.
        num_tokens: How many tokens were drawn, the end token included.
        ended: Whether it ended by itself before it was cut off.
    """

    text: str
    num_tokens: int
    ended: bool


class Draw(NamedTuple):
    """What is to be drawn: which prompt, by its place, and the number of the draw."""

    prompt: int
    sample: int


@torch.no_grad()
def sample(
    model: Generator,
    prompts: Sequence[Rows],
    names: Sequence[str],
    draws: Sequence[Draw],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Sampled]:
    """Completions, in the order of the draws.

    Args:
        model: A causal language model; behind examples in its `prefix`, a completion ends where the next of
            those would begin.
        prompts: Tokens of each, as `model.encode(...).tokens` has them.
        names: What each prompt is called; with seed and number this decides what is drawn.
        draws: Which are wanted, in any order.
        max_new_tokens: How many tokens a completion has at most, its end token included.
        temperature: Logits are divided by it; 0 takes the most probable token.
        seed: Another seed is another independent sample.

    Raises:
        ConfigError: The temperature is below 0, or no token may be drawn.
    """
    if not (temperature >= 0 and np.isfinite(temperature)):
        raise ConfigError(f"temperature={temperature!r} must be a number of at least 0")
    if max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens={max_new_tokens} must be at least 1")
    found: dict[int, Sampled] = {}
    with model._weights_computed_once():
        for places in _groups(prompts, draws):
            rows = [draws[place] for place in places]
            said = _decode(model, prompts, names, rows, max_new_tokens, temperature, seed)
            found |= dict(zip(places, said, strict=True))
    return [found[place] for place in range(len(draws))]


def uniforms(name: str, sample: int, seed: int, count: int) -> npt.NDArray[np.float64]:
    """The random numbers behind one completion, in [0, 1), float64 (count,); fewer are a prefix of more."""
    key = sha256(f"sample/{seed}/{sample}/{name}".encode()).digest()[:16]
    bits = np.random.Philox(key=np.frombuffer(key, np.uint64))
    return np.random.Generator(bits).random(count)


def _groups(prompts: Sequence[Rows], draws: Sequence[Draw]) -> Iterator[list[int]]:
    """Places of draws that are decoded together: prompts of alike lengths, equal ones side by side."""
    order = sorted(range(len(draws)), key=lambda place: (len(prompts[draws[place].prompt]), draws[place]))
    for start in range(0, len(order), ROWS):
        yield order[start : start + ROWS]


def _decode(
    model: Generator,
    prompts: Sequence[Rows],
    names: Sequence[str],
    rows: Sequence[Draw],
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> list[Sampled]:
    random_NT = np.stack([uniforms(names[row.prompt], row.sample, seed, max_new_tokens) for row in rows])
    stream = _Stream(model, [prompts[row.prompt] for row in rows])
    said_NT = np.full((len(rows), max_new_tokens), -1, np.int64)
    live_N = np.arange(len(rows))
    going_N = np.ones(len(rows), np.bool_)
    lengths, ends = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
    for step in range(max_new_tokens):
        random_N = torch.from_numpy(random_NT[live_N, step])
        token_N = pick(stream.logits_NV, random_N, temperature).cpu().numpy()
        drawn_N = going_N.copy()
        at = live_N[drawn_N]
        said_NT[at, step] = token_N[drawn_N]
        lengths[at] = step + 1
        going_N &= token_N != model.end
        if model.prefix:
            going_N &= ~_begin_next_shot(model, said_NT, live_N, going_N, step)
        ends[at] = ~going_N[drawn_N]
        if not going_N.any() or step + 1 == max_new_tokens:
            break
        if 2 * going_N.sum() <= len(going_N):
            stream.keep(going_N)
            token_N, live_N, going_N = token_N[going_N], live_N[going_N], going_N[going_N]
        stream.feed(token_N)
    return [
        Sampled(_text(model, prompts[row.prompt], said_NT[place, : lengths[place]]), int(length), bool(ended))
        for place, (row, length, ended) in enumerate(zip(rows, lengths, ends, strict=True))
    ]


def pick(logits_NV: Tensor, random_N: Tensor, temperature: float) -> Tensor:
    """The token of each row whose share of [0, 1) holds the random number, int64 (N,)."""
    if temperature == 0:
        return logits_NV.float().argmax(dim=1)
    probs_NV = (logits_NV.double() / temperature).softmax(dim=1)
    edges_NV = probs_NV.cumsum(dim=1)
    random_N = random_N.to(edges_NV.device) * edges_NV[:, -1]
    found_N = torch.searchsorted(edges_NV, random_N[:, None], right=True)[:, 0]
    return found_N.clamp(max=logits_NV.shape[1] - 1)


def _begin_next_shot(
    model: Generator,
    said_NT: npt.NDArray[np.int64],
    live_N: npt.NDArray[np.int64],
    going_N: npt.NDArray[np.bool_],
    step: int,
) -> npt.NDArray[np.bool_]:
    """Which of these rows have come to where the next example would begin."""
    found_N = np.zeros(len(live_N), np.bool_)
    for place in np.flatnonzero(going_N):
        row = said_NT[live_N[place]]
        if "\n" in model._decoded([int(row[step])]):
            found_N[place] = BETWEEN_SHOTS in model._decoded(row[max(step - 3, 0) : step + 1].tolist())
    return found_N


def _text(model: Generator, prompt: Rows, said: Rows) -> str:
    row = said.tolist()
    return model._text(prompt, row[:-1] if row and row[-1] == model.end else row)


class _Stream:
    """Rows that are read token by token: what the model says next of each."""

    logits_NV: Tensor

    def __init__(self, model: Generator, prompts: Sequence[Rows]) -> None:
        self.model, self.cache = model, _roomy_cache(model)
        keys = [prompt.tobytes() for prompt in prompts]
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        alone = sorted(first.values())
        number = {keys[place]: row for row, place in enumerate(alone)}
        device = model.place.device
        batch = rectangle([prompts[place] for place in alone], left=True, device=device)
        self.inside_NT = batch.inside_NT
        self._read(batch.tokens_NT)
        if len(alone) < len(prompts):
            self._select(torch.tensor([number[key] for key in keys], device=device))

    def feed(self, token_N: npt.NDArray[np.int64]) -> None:
        """Read one token more of each row."""
        tokens_NT = torch.from_numpy(token_N).to(self.inside_NT.device)[:, None]
        self.inside_NT = torch.cat([self.inside_NT, torch.ones_like(tokens_NT)], dim=1)
        self._read(tokens_NT)

    def keep(self, kept_N: npt.NDArray[np.bool_]) -> None:
        """Go on with some of the rows."""
        self._select(torch.from_numpy(np.flatnonzero(kept_N)).to(self.inside_NT.device))

    def _select(self, rows_N: Tensor) -> None:
        self.cache.batch_select_indices(rows_N)
        self.inside_NT, self.logits_NV = self.inside_NT[rows_N], self.logits_NV[rows_N]

    def _read(self, tokens_NT: Tensor) -> None:
        self.logits_NV, self.cache = self.model.step(tokens_NT, self.inside_NT, self.cache)


def _roomy_cache(model: Generator) -> Any:
    """A cache that need not be copied for each token; None where the model brings its own kind."""
    try:
        from transformers.cache_utils import DynamicCache, DynamicLayer
    except ImportError:  # versions before 4.54 have no layers in their caches
        return None
    try:
        cache = DynamicCache(config=model._causal[0].config)
    except TypeError:
        return None
    if not cache.layers or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    cache.layers = [_roomy(DynamicLayer) for _ in cache.layers]
    return cache


def _roomy(plain: Any) -> Any:
    """A layer of a cache whose keys and values lie in buffers that are larger than they."""

    class Roomy(plain):  # type: ignore[misc]
        keys: Any
        values: Any
        buffers: tuple[Tensor, Tensor] | None = None

        def update(self, key_states: Tensor, value_states: Tensor, *more: Any, **named: Any) -> Any:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            start = self.get_seq_length()
            end = start + key_states.shape[-2]
            if not self._fits(end):
                self.buffers = tuple(  # type: ignore[assignment]
                    _grown(old if start else None, new, end)
                    for old, new in ((self.keys, key_states), (self.values, value_states))
                )
            assert self.buffers is not None
            for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
                buffer[:, :, start:end] = new
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
            return self.keys, self.values

        def _fits(self, end: int) -> bool:
            # Whoever selects rows puts other tensors in the place of ours.
            ours = self.buffers is not None and self.buffers[0].data_ptr() == self.keys.data_ptr()
            return ours and self.buffers is not None and self.buffers[0].shape[2] >= end

    return Roomy()


def _grown(old: Tensor | None, new: Tensor, end: int) -> Tensor:
    rows, heads, _, width = new.shape
    buffer = new.new_empty(rows, heads, end + _ROOM, width)
    if old is not None:
        buffer[:, :, : old.shape[2]] = old
    return buffer
