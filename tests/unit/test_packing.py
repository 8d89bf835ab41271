"""Texts side by side say what each says alone, to rounding, in every family that reads them so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reference.language import CAUSAL, ENCODERS, inputs_of, pairs_of, save_tiny, some_texts
from surpass.models import language
from surpass.models.adapters import find_adapter
from surpass.models.device import Place
from surpass.models.families import load_model
from surpass.models.language import LanguageModel
from surpass.models.names import ReadOut
from surpass.models.packing import FAMILIES, by_tokens, packed, pooled
from surpass.models.sources import resolve
from surpass.models.tokens import TokenExamples

KINDS = tuple(kind for kind in (*CAUSAL, *ENCODERS) if kind in (*FAMILIES, "mpnet"))
TEXTS = some_texts(17)
READ_OUTS = [ReadOut(), ReadOut(1, "mean"), ReadOut(2, "first"), ReadOut(None, "last")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(root / kind, kind) for kind in (*CAUSAL, *ENCODERS)}


@pytest.fixture
def load(folders):
    def _load(kind: str, *, packs: bool, inputs=None, **changes) -> LanguageModel:
        torch.manual_seed(0)
        source = replace(resolve(f"dir:{folders[kind]}"), **changes)
        model = load_model(source, inputs_of(TEXTS) if inputs is None else inputs)
        if not packs:
            model._reads_packed = None
        assert model.packs is packs
        return model

    return _load


def near(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-5)


def gradient_of(model: LanguageModel, examples: TokenExamples, rows: np.ndarray) -> Tensor:
    logits_NC = model(examples, rows)
    weight_NC = torch.randn(logits_NC.shape, generator=torch.Generator().manual_seed(0))
    (logits_NC.log_softmax(1) * weight_NC).mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", KINDS)
class TestEveryFamilyThatPacks:
    def test_states_at_all_places(self, load, kind, monkeypatch):
        rows = np.random.default_rng(0).permutation(17)
        slow = load(kind, packs=False)
        examples = slow.encode(inputs_of(TEXTS))
        with torch.no_grad():
            wanted = slow.states_at(examples, rows, READ_OUTS)
        model = load(kind, packs=True)
        for limit in (1, 40, 1 << 20):
            monkeypatch.setattr(language, "PACKED_AT_ONCE", limit)
            with torch.no_grad():
                for found, each in zip(model.states_at(examples, rows, READ_OUTS), wanted, strict=True):
                    near(found, each)

    @pytest.mark.parametrize("adapter", ["full", "lora(rank=2)"])
    @pytest.mark.parametrize("saves", [False, True])
    def test_gradients(self, load, kind, adapter, saves):
        found = []
        for packs in (True, False):
            model = load(kind, packs=packs)
            find_adapter(adapter)(model)
            if saves and packs:
                model.save_memory()
            passes: list[int] = []
            model.blocks[0].register_forward_pre_hook(lambda *_, passes=passes: passes.append(1))
            found.append(gradient_of(model, model.encode(inputs_of(TEXTS)), np.arange(17)[::-1].copy()))
            assert len(passes) == 1 or saves or not packs
        assert found[0].abs().max() > 1e-3
        near(*found)

    def test_pairs(self, load, kind):
        pairs = pairs_of(list(zip(some_texts(9, seed=1), some_texts(9, seed=2), strict=True)))
        found = []
        for packs in (True, False):
            model = load(kind, packs=packs, inputs=pairs)
            found.append(model(model.encode(pairs), np.array([4, 1, 8, 0])))
        near(*found)

    def test_rectangles_are_read_as_ever(self, load, kind):
        """Where all texts have to go through in one pass, say, as on several devices."""
        model, examples = load(kind, packs=True), None
        found = []
        for one_pass in (False, True):
            if one_pass:
                model.place = _OnePass(*model.place)
            assert model.packs is not one_pass
            examples = examples or model.encode(inputs_of(TEXTS))
            found.append(gradient_of(model, examples, np.arange(17)))
            model.zero_grad()
        near(*found)


class _OnePass(Place):
    @property
    def one_pass(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [kind for kind in (*CAUSAL, *ENCODERS) if kind not in KINDS])
def test_others_read_rectangles(load, kind):
    load(kind, packs=False)


def test_not_where_tokens_see_only_some_of_those_before_them(tmp_path):
    sliding = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    folder = save_tiny(tmp_path / "model", "qwen2", **sliding)
    assert not load_model(resolve(f"dir:{folder}"), inputs_of(TEXTS)).packs


def test_not_on_accelerators(load):
    model = load("bert", packs=True)
    model.place = Place(torch.device("cuda"))
    assert not model.packs


@pytest.mark.parametrize("seed", range(3))
def test_pieces_hold_each_text_once_and_so_many_tokens(seed):
    length_N = np.random.default_rng(seed).integers(1, 30, 40)
    for limit in (1, 29, 64, 10**6):
        pieces = by_tokens(length_N, limit)
        assert sorted(np.concatenate(pieces).tolist()) == list(range(40))
        ordered = length_N[np.concatenate(pieces)]
        assert (np.diff(ordered) <= 0).all()
        assert all(length_N[piece].sum() <= limit or len(piece) == 1 for piece in pieces)
    assert by_tokens(np.zeros(0, np.int64), 5) == []


def test_packed_and_pooled_by_hand():
    texts = packed(TokenExamples([np.array(row) for row in ([5], [1, 2], [0, 7])]), np.array([2, 1, 0]))
    assert texts.tokens_1M.tolist() == [[0, 7, 1, 2, 5]]
    assert texts.place_1M.tolist() == [[0, 1, 0, 1, 0]]
    assert texts.groups == ((2, 2), (1, 1))
    states_MD = torch.tensor([[1.0], [3.0], [5.0], [9.0], [2.0]])
    assert pooled(states_MD, texts, "mean").tolist() == [[2.0], [7.0], [2.0]]
    assert pooled(states_MD, texts, "first").tolist() == [[1.0], [5.0], [2.0]]
    assert pooled(states_MD, texts, "last").tolist() == [[3.0], [9.0], [2.0]]
