from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reference.language import inputs_of, save_tiny, some_texts, state_of
from surpass.errors import ConfigError, DataError
from surpass.models.encoder import EncoderChoice, read_encoder
from surpass.models.families import load_model
from surpass.models.pooling import pooled, pooling_of
from surpass.models.sources import resolve
from surpass.models.tokens import TokenExamples

TEXTS = some_texts(6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "bert", "bert")


@pytest.fixture
def copied(folder, tmp_path):
    for entry in folder.iterdir():
        (tmp_path / entry.name).write_bytes(entry.read_bytes())
    return tmp_path


def say(folder, **said) -> None:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))


def load(folder, **changes) -> EncoderChoice:
    return load_model(replace(resolve(f"dir:{folder}"), **changes), inputs_of(TEXTS))


class TestPooling:
    @pytest.mark.parametrize(
        ("said", "how"),
        [
            ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
            ({"pooling_mode_cls_token": True, "word_embedding_dimension": 32}, "first"),
            ({"pooling_mode_lasttoken": True}, "last"),
            ({"pooling_mode": "mean"}, "mean"),
        ],
    )
    def test_a_folder_says_how(self, copied, said, how):
        say(copied, **said)
        assert pooling_of(copied) == how
        model = load(copied)
        examples = model.encode(inputs_of(TEXTS))
        found = model.embed(examples, np.arange(6)).double()
        wanted = [state_of(model.body, row.tolist(), how) for row in examples.tokens]
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), atol=2e-5, rtol=2e-5)

    def test_the_first_token_where_it_says_nothing(self, folder):
        assert pooling_of(folder) == load(folder).reading.pooling == "first"

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"pooling_mode_max_tokens": True}, "asks for pooling by max; one of cls, mean, lasttoken"),
            ({"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}, "by cls and max;"),
            ({}, "asks for pooling by nothing; one of cls"),
            ({"pooling_mode": "weightedmean"}, "by weightedmean;"),
        ],
    )
    def test_what_is_not_known(self, copied, said, message):
        say(copied, **said)
        with pytest.raises(DataError, match=message):
            load(copied)

    def test_a_damaged_file(self, copied):
        for text in ("{", "[1]"):
            say(copied)
            (copied / "1_Pooling" / "config.json").write_text(text)
            with pytest.raises(DataError, match=r"config.json is damaged; copy it again"):
                pooling_of(copied)

    def test_padding_has_no_part_even_if_it_is_no_number(self):
        states_NTD = torch.tensor([[[1.0], [3.0], [torch.inf]], [[5.0], [torch.nan], [torch.nan]]])
        inside_NT = torch.tensor([[1, 1, 0], [1, 0, 0]])
        found = {how: pooled(states_NTD, inside_NT, how).tolist() for how in ("first", "mean", "last")}
        assert found == {"first": [[1.0], [5.0]], "mean": [[2.0], [5.0]], "last": [[3.0], [5.0]]}


class TestReading:
    def test_a_pooler_is_left_out(self, folder, copied):
        names = set(load(folder).state_dict())
        assert not [name for name in names if "pooler" in name]
        state = load_file(copied / "model.safetensors")
        assert [name for name in state if name.startswith("pooler.")]
        save_file(
            {name: value for name, value in state.items() if not name.startswith("pooler.")},
            copied / "model.safetensors",
            {"format": "pt"},
        )
        assert set(load(copied).state_dict()) == names

    def test_weights_that_are_missing(self, copied):
        state = load_file(copied / "model.safetensors")
        del state["encoder.layer.1.output.dense.bias"]
        save_file(state, copied / "model.safetensors", {"format": "pt"})
        with pytest.raises(DataError, match=r"no weights for encoder.layer.1.output.dense.bias; it cannot"):
            load(copied)

    def test_under_the_names_of_a_masked_language_model(self, folder, copied):
        """As BERT itself is published."""
        state = load_file(copied / "model.safetensors")
        named = {f"bert.{name}": value for name, value in state.items()}
        save_file(
            named | {"cls.predictions.bias": torch.zeros(90)}, copied / "model.safetensors", {"format": "pt"}
        )
        for name, value in load(copied).body.state_dict().items():
            assert torch.equal(value, load(folder).body.state_dict()[name])

    def test_pickles_only_where_they_are_allowed(self, folder, copied):
        state = load_file(copied / "model.safetensors")
        (copied / "model.safetensors").unlink()
        torch.save(state, copied / "pytorch_model.bin")
        with pytest.raises(DataError, match=f"the language model in {copied} cannot be read"):
            read_encoder(copied)
        for name, value in read_encoder(copied, pickled=True).state_dict().items():
            assert torch.equal(value, load(folder).body.state_dict()[name])

    def test_a_pickle_of_more_than_tensors_is_not_run(self, copied):
        (copied / "model.safetensors").unlink()
        torch.save({"model": Trap()}, copied / "pytorch_model.bin")
        with pytest.raises(DataError, match="cannot be read"):
            read_encoder(copied, pickled=True)
        assert Trap.sprung == 0

    def test_only_what_was_asked_for_is_read(self, folder, copied):
        """The digest is of those weights, so others may not take their place."""
        torch.save({"model": Trap()}, copied / "pytorch_model.bin")
        assert read_encoder(copied)
        with pytest.raises(DataError, match="cannot be read"):
            read_encoder(copied, pickled=True)

    def test_a_model_that_also_decodes(self, tmp_path):
        from transformers import T5Config, T5Model

        T5Model(
            T5Config(vocab_size=90, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
        ).save_pretrained(tmp_path)
        with pytest.raises(ConfigError, match=r"reads and writes \(t5\); name an encoder such as BERT"):
            read_encoder(tmp_path)


class Trap:
    """Counts how often it is unpickled."""

    sprung = 0

    def __reduce__(self):
        return (Trap._spring, ())

    @staticmethod
    def _spring() -> Trap:
        Trap.sprung += 1
        return Trap()


@pytest.mark.parametrize(("kind", "first"), [("roberta", 2), ("mpnet", 2), ("bert", 0), ("distilbert", 0)])
def test_positions_do_not_come_from_ids(tmp_path, kind, first):
    """Not even where a text holds the token that the model takes for padding."""
    model = load(save_tiny(tmp_path, kind))
    seen: list[list[int]] = []
    (table,) = (p for n, p in model.body.named_modules() if n.endswith("position_embeddings"))
    table.register_forward_pre_hook(lambda _, given: seen.extend(given[0].tolist()))
    examples = TokenExamples([np.array([5, 1, 1, 7]), np.array([1, 1]), np.array([0, 6, 1])])
    model(examples, np.arange(3))
    assert seen
    for row in seen:  # perhaps of several texts
        assert row[0] == first
        assert all(place in (before + 1, first) for before, place in pairwise(row))
        assert row.count(first) <= 3
