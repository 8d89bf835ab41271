"""Attention within texts that lie side by side, against one text and one head at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from surpass.models import packed_attention
from surpass.models.packed_attention import SHORT, spans_of, within

HEADS, EACH = 3, 4
LENGTHS = {
    "alike": [5, 5, 5],
    "about alike": [9, 8, 8, 3, 1],
    "apart": [40, 39, 12, 2, 1, 1],
    "long ones too": [SHORT + 9, SHORT + 9, SHORT + 1, SHORT, 20, 3],
    "one": [7],
}


def plain(
    lengths: list[int], query: Tensor, key: Tensor, value: Tensor, bias_HTT: Tensor, causal: bool
) -> Tensor:
    """By the formula, for each text and head."""
    begin, out = 0, []
    for length in lengths:
        own = slice(begin, begin := begin + length)
        heads = []
        for head in range(HEADS):
            scores = query[own, head] @ key[own, head].T / EACH**0.5 + bias_HTT[head, :length, :length]
            if causal:
                scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
            heads.append(scores.softmax(1) @ value[own, head])
        out.append(torch.stack(heads, 1))
    return torch.cat(out)


def leaves(lengths: list[int]) -> list[Tensor]:
    """Queries, keys, values, and a bias."""
    torch.manual_seed(0)
    made = [torch.randn(sum(lengths), HEADS, EACH) for _ in range(3)]
    made.append(torch.randn(HEADS, lengths[0] + 2, lengths[0] + 2))
    return [each.requires_grad_() for each in made]


@pytest.mark.parametrize("kind", ["plain", "causal", "biased"])
@pytest.mark.parametrize("name", LENGTHS)
def test_it_is_that_of_each_text_alone(name, kind):
    causal, biased = kind == "causal", kind == "biased"
    lengths = LENGTHS[name]
    ours, theirs = leaves(lengths), leaves(lengths)
    bias = ours[3] if biased else None
    seen = within(spans_of(lengths), *ours[:3], scaling=None, causal=causal, bias_HTT=bias)
    wanted = plain(lengths, *theirs[:3], theirs[3] if biased else 0 * theirs[3], causal)
    torch.testing.assert_close(seen, wanted, atol=1e-6, rtol=1e-5)
    slope = torch.randn_like(seen)
    seen.backward(slope)
    wanted.backward(slope)
    for one, other in zip(ours[: 3 + biased], theirs, strict=False):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-5)


def test_scores_are_scaled_as_asked():
    query, key, value, _ = leaves([6, 4])
    seen = within(spans_of([6, 4]), query, key, value, scaling=0.1)
    wanted = within(spans_of([6, 4]), query * 0.1 * EACH**0.5, key, value, scaling=None)
    torch.testing.assert_close(seen, wanted)


def test_half_precision_is_computed_in_float32():
    *halves, bias = (each.detach().bfloat16() for each in leaves([6, 4]))
    seen = within(spans_of([6, 4]), *halves, scaling=None, bias_HTT=bias)
    wanted = within(spans_of([6, 4]), *map(Tensor.float, halves), scaling=None, bias_HTT=bias.float())
    assert seen.dtype == torch.bfloat16
    assert torch.equal(seen, wanted.bfloat16())


def test_in_autocast_gradients_are_those_of_float32():
    found = []
    for enabled in (False, True):
        query, key, value, bias = leaves([6, 4])
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            seen = within(spans_of([6, 4]), query, key, value, scaling=None, bias_HTT=bias)
        seen.square().sum().backward()
        found.append([seen, *(each.grad for each in (query, key, value, bias))])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


class TestSpans:
    def test_all_texts_are_in_one_span_each(self):
        for lengths in LENGTHS.values():
            spans = spans_of(lengths)
            assert sum(span.num_texts for span in spans) == len(lengths)
            assert sum(span.num_tokens for span in spans) == sum(lengths)

    def test_short_texts_of_about_one_length_go_together(self):
        assert [span.num_texts for span in spans_of([30] * 4 + [28] * 9 + [26] * 9)] == [22]

    def test_padding_has_a_bound(self):
        spans = spans_of([40] * 4 + [2] * 8)
        assert [span.num_texts for span in spans] == [6, 6]
        assert 2 * (40**2 - 2**2) < packed_attention._PADDED < 3 * (40**2 - 2**2)

    def test_long_texts_go_by_length(self):
        long = [SHORT + 2, SHORT + 2, SHORT + 1]
        assert [span.num_texts for span in spans_of([*long, SHORT])] == [2, 1, 1]

    def test_texts_of_one_length_are_not_padded(self):
        assert [span.places for span in spans_of([7, 7, 7])] == [None]
