"""What must hold for language models of every family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from reference.language import (
    CAUSAL,
    CONTEXT,
    ENCODER_WORDS,
    ENCODERS,
    WORDS,
    inputs_of,
    pairs_of,
    save_tiny,
    scores_of,
    some_texts,
    state_of,
)
from surpass.errors import ConfigError, DataError
from surpass.models.adapters import find_adapter, settle
from surpass.models.families import load_model
from surpass.models.language import LanguageModel
from surpass.models.sources import resolve
from surpass.models.texts import answers, frame_of, read_tokenizer, texts_of
from surpass.models.tokens import TokenExamples
from surpass.train.loop import Labels, fit, label
from surpass.train.recipe import Recipe

KINDS = (*CAUSAL, *ENCODERS)
TEXTS = some_texts(13)
PAIRS = list(zip(some_texts(9, seed=1), some_texts(9, seed=2), strict=True))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(root / kind, kind) for kind in KINDS}


@pytest.fixture
def load(folders):
    def _load(kind: str, inputs: pa.Table | None = None, **changes) -> LanguageModel:
        torch.manual_seed(0)
        source = replace(resolve(f"dir:{folders[kind]}"), **changes)
        return load_model(source, inputs_of(TEXTS) if inputs is None else inputs)

    return _load


def rows(num: int) -> np.ndarray:
    return np.arange(num)


def near(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)


def gradients(model: LanguageModel, examples: TokenExamples, num: int, *, apart: bool) -> Tensor:
    """Of a loss that all logits have a part in, in one forward pass or in one for each row."""
    model.zero_grad()
    parts = [np.array([row]) for row in range(num)] if apart else [rows(num)]
    total = torch.zeros(())
    for part in parts:
        logits_NC = model(examples, part)
        total = total + (logits_NC.log_softmax(1)[:, 0] * torch.from_numpy(part + 1)).sum()
    total.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", KINDS)
class TestEveryFamily:
    def test_equals_its_slow_twin(self, load, kind):
        model = load(kind, inputs_of(TEXTS, num_classes=3))
        examples = model.encode(inputs_of(TEXTS, num_classes=3))
        bias = None if model.head.bias is None else model.head.bias.tolist()
        wanted = [
            scores_of(
                state_of(model.body, row.tolist(), model.reading.pooling), model.head.weight.tolist(), bias
            )
            for row in examples.tokens
        ]
        found = model(examples, rows(13))
        assert found.dtype == torch.float32
        near(found.double(), torch.tensor(wanted, dtype=torch.float64), 2e-5)

    def test_alone_together_and_in_any_order(self, load, kind):
        model = load(kind)
        examples = model.encode(inputs_of(TEXTS))
        assert len({len(row) for row in examples.tokens}) > 5
        alone = torch.cat([model(examples, np.array([row])) for row in range(13)])
        assert alone.abs().max() > 1e-2
        orders = [rows(13), rows(13)[::-1].copy(), np.array([7, 2, 11]), np.array([3, 3])]
        for order in orders:
            near(model(examples, order), alone[order])
            with torch.no_grad():
                near(model(examples, order), alone[order])
                near(model.from_states(model.states(examples, order), examples, order), alone[order])

    def test_under_a_mask_alone(self, load, kind, monkeypatch):
        """One pass for all, so that there is much padding."""
        model = load(kind)
        examples = model.encode(inputs_of(TEXTS))
        monkeypatch.setattr("surpass.models.device.Place.pass_cost", 10**6)
        passes: list[int] = []
        model.blocks[0].register_forward_hook(lambda *_: passes.append(1))
        together = model(examples, rows(13))
        assert len(passes) == 1
        near(together, torch.cat([model(examples, np.array([row])) for row in range(13)]))

    def test_ids_of_padding_and_of_zero_are_read_as_they_are(self, load, kind):
        model = load(kind)
        frame = model.reading.frame
        framed = [
            np.array([*frame.before, *row, *frame.behind])
            for row in (
                [0],
                [0, 0],
                [0, 0, 0, 5],
                [5, 0, 0, 0],
                [1],
                [1, 1, 7],
                [7, 1, 1],
                [2, 9, 30, 31, 32],
            )
        ]
        bare = [np.array([0]), np.array([0, 0]), np.array([1])]
        examples = TokenExamples([*framed, *bare])
        alone = torch.cat([model(examples, np.array([row])) for row in range(11)])
        near(model(examples, rows(11)), alone)
        assert alone.isfinite().all()
        # Where nothing stands around a text, and positions are relative, [0] and [0, 0] are the same.
        assert torch.pdist(alone[1:7]).min() > 2e-5

    def test_the_tokenizers_padding_does_not_matter(self, load, kind):
        model, other = load(kind), load(kind)
        other.tokenizer.padding_side = "left"
        other.tokenizer.truncation_side = "left"
        other.tokenizer.pad_token = "w3"
        examples, same = model.encode(inputs_of(TEXTS)), other.encode(inputs_of(TEXTS))
        assert torch.equal(model(examples, rows(13)), other(same, rows(13)))

    def test_gradients_do_not_depend_on_passes(self, load, kind):
        model = load(kind)
        examples = model.encode(inputs_of(TEXTS))
        passes: list[int] = []
        model.blocks[0].register_forward_hook(lambda *_: passes.append(1))
        together = gradients(model, examples, 13, apart=False)
        assert 1 <= len(passes) < 13
        near(together, gradients(model, examples, 13, apart=True), 1e-4)
        assert together.abs().max() > 1e-2

    @pytest.mark.parametrize("adapter", ["lora(rank=2)", "full"])
    def test_saved_memory_changes_rounding_only(self, load, kind, adapter):
        """What is kept for the backward pass shrinks, and the gradient stays."""
        found = []
        for saves in (False, True):
            model = load(kind)
            torch.manual_seed(1)
            find_adapter(adapter)(model)
            for name, parameter in model.named_parameters():
                if name.endswith("up_OR"):
                    torch.nn.init.normal_(parameter, std=0.1)
            if saves:
                model.save_memory()
                model.save_memory()
            model.train()
            examples = model.encode(inputs_of(TEXTS))
            kept = Kept(model)
            with kept:
                grad = gradients(model, examples, 13, apart=False)
            found.append((grad, kept.bytes))
        (plain, much), (saving, little) = found
        near(saving, plain, 1e-4)
        assert little < 0.6 * much, (little, much)

    def test_dropout_is_off(self, load, kind):
        model = load(kind).train()
        examples = model.encode(inputs_of(TEXTS))
        first, second = (model(examples, rows(13)) for _ in range(2))
        assert torch.equal(first, second)
        near(model.eval()(examples, rows(13)), first)

    def test_truncation_is_counted(self, load, kind):
        words = [f"w{number}" for number in range(10)]
        texts = [" ".join(words[:size]) for size in (1, 4, 5, 6, 10)]
        model = load(kind, max_tokens=5)
        examples = model.encode(inputs_of(texts))
        assert examples.truncated == 2
        around = len(model.reading.frame.before) + len(model.reading.frame.behind)
        assert [len(row) - around for row in examples.tokens] == [1, 4, 5, 5, 5]
        first = len(model.reading.frame.before)
        read = model.tokenizer.convert_ids_to_tokens(examples.tokens[4][first : first + 5].tolist())
        assert read == model.tokenizer.tokenize(" ".join(words))[-5:]
        assert load(kind).encode(inputs_of(texts)).truncated == 0
        assert load(kind).encode(inputs_of([])).truncated == 0

    @pytest.mark.parametrize("extra", [-1, 0, 1, 50])
    def test_the_context_is_used_up_and_no_more(self, load, kind, extra):
        model = load(kind)
        room = model.reading.room
        examples = model.encode(inputs_of(["w1 " * (room + extra), "w2"]))
        assert examples.truncated == (extra > 0)
        assert len(examples.tokens[0]) == CONTEXT - (0 if kind in ENCODERS else 1) + min(extra, 0)
        assert model(examples, rows(2)).isfinite().all()

    def test_hints_are_read_in_words(self, load, kind):
        inputs = inputs_of(["w3", "w4"], hint=[[0.9, 0.1], [0.2, 0.8]])
        model = load(kind)
        tokens = [row.tolist() for row in model.encode(inputs).tokens]
        read = [model.tokenizer.convert_ids_to_tokens(row) for row in tokens]
        assert [sorted({"0", "1"} & set(words)) for words in read] == [["0"], ["1"]]

    def test_what_cannot_be_read(self, load, kind):
        model = load(kind)
        with pytest.raises(DataError, match="no column 'text', which a language model reads; they have id"):
            model.encode(inputs_of(["a"]).drop_columns(["text"]))
        with pytest.raises(DataError, match="the text of 't1' is empty; drop it or fill it"):
            model.encode(inputs_of(["w1", " "]))
        with pytest.raises(DataError, match="from None to None candidates"):
            load(kind, inputs_of([]))
        with pytest.raises(DataError, match="no column 'text'"):
            model.encode(pairs_of(PAIRS))

    def test_low_rank_changes_settle(self, load, kind):
        model, plain = load(kind), load(kind)
        examples = model.encode(inputs_of(TEXTS))
        find_adapter("lora(rank=2)")(model)
        near(model(examples, rows(13)), plain(examples, rows(13)))
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if name.endswith("up_OR"):
                torch.nn.init.normal_(parameter, std=0.1)
        changed = model(examples, rows(13)).detach()
        assert (changed - plain(examples, rows(13))).abs().max() > 1e-2
        settle(model)
        near(model(examples, rows(13)), changed, 1e-4)
        plain.load_state_dict(model.state_dict())


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes of what is kept for the backward pass, parameters aside."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.bytes = 0
        self.known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        super().__init__(self.pack, lambda kept: kept)

    def pack(self, kept: Tensor) -> Tensor:
        place = kept.untyped_storage().data_ptr()
        if place not in self.known:
            self.bytes += kept.nbytes
        return kept


@pytest.mark.parametrize("kind", KINDS)
class TestPairs:
    def test_logits_are_the_rewards_of_the_texts(self, load, kind):
        model = load(kind, pairs_of(PAIRS))
        examples = model.encode(pairs_of(PAIRS))
        assert len(examples.tokens) == 18
        assert model.head.weight.shape == (1, 32)
        assert model.head.bias is None
        weight = model.head.weight.tolist()
        found = model(examples, rows(9)).detach()
        assert found.shape == (9, 2)
        for place in range(9):
            for side in range(2):
                state = state_of(
                    model.body, examples.tokens[2 * place + side].tolist(), model.reading.pooling
                )
                assert float(found[place, side]) == pytest.approx(scores_of(state, weight, None)[0], abs=2e-5)

    def test_turned_round_they_turn_round(self, load, kind):
        model = load(kind, pairs_of(PAIRS))
        turned = pairs_of([(second, first) for first, second in PAIRS])
        logits_NC = model(model.encode(pairs_of(PAIRS)), rows(9))
        near(model(model.encode(turned), rows(9)), logits_NC.flip(1))
        assert (logits_NC[:, 0] - logits_NC[:, 1]).abs().min() > 1e-5

    def test_alone_together_and_in_any_order(self, load, kind):
        model = load(kind, pairs_of(PAIRS))
        examples = model.encode(pairs_of(PAIRS))
        alone = torch.cat([model(examples, np.array([row])) for row in range(9)])
        for order in (rows(9), np.array([8, 0, 4])):
            near(model(examples, order), alone[order])
            with torch.no_grad():
                near(model(examples, order), alone[order])
        near(gradients(model, examples, 9, apart=False), gradients(model, examples, 9, apart=True), 1e-4)

    def test_its_state_is_the_first_less_the_second(self, load, kind):
        model = load(kind, pairs_of(PAIRS))
        examples = model.encode(pairs_of(PAIRS))
        with torch.no_grad():
            features_ND, logits_NC = model.embed(examples, rows(9)), model(examples, rows(9))
            near(features_ND @ model.head.weight[0], logits_NC[:, 0] - logits_NC[:, 1], 2e-5)
        assert features_ND.shape == (9, 32)

    def test_truncation_is_counted_by_pairs(self, load, kind):
        long, short = "w1 w2 w3 w4 w5", "w1"
        pairs = pairs_of([(long, long), (short, long), (short, short), (long, short)])
        examples = load(kind, pairs, max_tokens=4).encode(pairs)
        assert examples.truncated == 3

    def test_hints_say_which_is_better(self, load, kind):
        inputs = pairs_of([("w1", "w2"), ("w3", "w4")], hint=[[0.9, 0.1], [0.2, 0.8]])
        assert [text.partition(" is the ")[2][:6] for text in texts_of(inputs, pairs=True)] == [
            "better",
            "worse.",
            "worse.",
            "better",
        ]

    def test_what_is_no_pair(self, load, kind):
        model = load(kind, pairs_of(PAIRS))
        three = pa.table(
            {"id": ["p0"], "texts": pa.array([["a", "b", "c"]]), "candidates": pa.array([[0, 1]])}
        )
        with pytest.raises(DataError, match="'p0' has 3 texts; a pair has two"):
            model.encode(three)
        with pytest.raises(DataError, match="no column 'texts'"):
            model.encode(inputs_of(TEXTS))
        with pytest.raises(DataError, match="the text of 'p1' is empty"):
            model.encode(pairs_of([("w1", "w2"), ("w3", " ")]))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "mpnet"])
@pytest.mark.parametrize("pairs", [False, True])
def test_learns_labels_and_labels_alike(load, kind, pairs):
    inputs = pairs_of(PAIRS) if pairs else inputs_of(TEXTS[:9])
    model = load(kind, inputs)
    examples = model.encode(inputs)
    probs = [np.eye(2, dtype=np.float32)[place % 2] for place in range(9)]
    recipe = Recipe(epochs=16, batch_size=3, learning_rate=2e-3)
    losses = fit(model, examples, Labels(probs, np.ones(9, np.float32)), loss="xent", recipe=recipe, seed=0)
    assert losses[-3:].mean() < 0.7 * losses[:3].mean()
    found = label(model, examples, [2] * 9)
    near(torch.from_numpy(np.stack(found)), model(examples, rows(9)).softmax(1).detach(), 1e-4)


class TestHeads:
    @pytest.mark.parametrize("kind", CAUSAL)
    def test_of_causal_models_are_rows_of_the_unembedding(self, load, kind):
        unembedding = load(kind)._causal[0].get_output_embeddings().weight
        tokens = [WORDS.index(word) for word in "012"]
        head = load(kind, inputs_of(TEXTS, num_classes=3)).head
        assert torch.equal(head.weight, unembedding[tokens])
        assert torch.equal(load(kind, pairs_of(PAIRS)).head.weight, unembedding[tokens[:1]])

    @pytest.mark.parametrize("kind", ENCODERS)
    def test_of_encoders_are_small_and_of_the_generator(self, load, kind):
        first, again = load(kind), load(kind)
        assert torch.equal(first.head.weight, again.head.weight)
        assert 0 < first.head.weight.abs().max() < 0.1
        assert first.head.bias.tolist() == [0.0, 0.0]
        other = load_model(resolve(f"dir:{first.tokenizer.name_or_path}"), inputs_of(TEXTS))
        assert not torch.equal(other.head.weight, first.head.weight)
        assert load(kind, inputs_of(TEXTS, num_classes=40)).head.weight.shape == (40, 32)


class TestQuestions:
    ASK = "true or false ?"

    def asking(self, texts: list[str], **columns) -> pa.Table:
        return inputs_of(texts, ask=[self.ASK] * len(texts), **columns)

    @pytest.mark.parametrize("kind", CAUSAL)
    def test_a_causal_model_reads_it_behind_the_text(self, load, kind):
        model = load(kind)
        asked = model.encode(self.asking(TEXTS))
        joined = model.encode(inputs_of([f"{text}\n{self.ASK}\nAnswer:" for text in TEXTS]))
        for one, other in zip(asked.tokens, joined.tokens, strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("kind", ENCODERS)
    def test_an_encoder_does_not(self, load, kind):
        model = load(kind)
        for one, other in zip(
            model.encode(self.asking(TEXTS)).tokens, model.encode(inputs_of(TEXTS)).tokens, strict=True
        ):
            np.testing.assert_array_equal(one, other)

    def test_the_text_is_cut_and_the_question_never(self, load):
        long = self.asking(["w1 w2 w3 w4 w5"])
        model = load("gpt2", max_tokens=9)
        (row,) = model.encode(long).tokens
        assert " ".join(WORDS[token] for token in row) == "w3 w4 w5 true [unk] false ? Answer :"
        assert model.encode(long).truncated == 1
        assert len(load("gpt2", max_tokens=7).encode(long).tokens[0]) == 7
        for limit in (6, 3):
            with pytest.raises(ConfigError, match=f"question has 6 tokens and the model reads {limit}; name"):
                load("gpt2", max_tokens=limit).encode(long)

    def test_it_follows_the_hint(self, load):
        inputs = self.asking(["w1"], hint=[[0.1, 0.9]])
        assert texts_of(inputs, asks=True) == [
            "w1\nSomebody believes that the answer is 1. What is your answer?\ntrue or false ?\nAnswer:"
        ]

    def test_behind_a_prefix(self, load):
        model = load("gpt2", max_tokens=8)
        model.prefix = "w9 0\n\n"
        (row,) = model.encode(self.asking(["w1 w2 w3 w4"])).tokens
        assert " ".join(WORDS[token] for token in row) == "w9 0 w3 w4 true [unk] false ? Answer :"


class TestFrames:
    @pytest.mark.parametrize("kind", ENCODERS)
    def test_what_was_cut_stands_between_special_tokens(self, load, kind):
        tokens = load(kind, max_tokens=2).encode(inputs_of(["w1 w2 w3"])).tokens[0]
        assert [ENCODER_WORDS[token] for token in tokens] == ["[cls]", "w2", "w3", "[sep]"]

    def test_of_tokenizers(self, folders):
        frames = {kind: frame_of(read_tokenizer(folder)) for kind, folder in folders.items()}
        ends = ENCODER_WORDS.index("[cls]"), ENCODER_WORDS.index("[sep]")
        assert all(frames[kind] == ((ends[0],), (ends[1],)) for kind in ENCODERS)
        assert frames["llama"] == ((1,), ())
        assert frames["gpt2"] == ((), ())

    def test_a_tokenizer_that_is_of_no_use(self):
        class Odd:
            name_or_path = "odd"

            def __call__(self, text, *, add_special_tokens):
                return {"input_ids": [7, 8] if add_special_tokens else [5]}

        with pytest.raises(DataError, match="the tokenizer of odd changes what lies between"):
            frame_of(Odd())

    def test_an_encoder_needs_no_token_for_each_class(self, load):
        inputs = inputs_of(TEXTS, num_classes=11)
        assert load("bert", inputs).encode(inputs).tokens
        with pytest.raises(ConfigError, match="each number from 0 to 10"):
            load("gpt2", inputs)
        assert len(answers(read_tokenizer(load("bert").tokenizer.name_or_path), 3).tokens) == 3


class TestLoading:
    def test_prompts_are_for_causal_models(self, folders):
        prompts = pa.table({"id": ["a"], "prompt": ["w1"]})
        with pytest.raises(ConfigError, match=r"bert is no causal language model, and only those complete"):
            load_model(resolve(f"dir:{folders['bert']}"), prompts)
        with pytest.raises(ConfigError, match="linear:all is no causal language model"):
            load_model(resolve("linear:all"), prompts)
        # The one of these that looks for an end token.
        with pytest.raises(ConfigError, match="has no end token, so completions would not end"):
            load_model(resolve(f"dir:{folders['gpt2']}"), prompts)


@pytest.mark.parametrize("name", ["package:minilm-l6"])
def test_a_real_model_alone_together_and_in_any_order(name):
    try:
        source = resolve(name)
    except ConfigError as error:
        pytest.skip(str(error))
    texts = [
        "!",
        "A funny film.",
        "A film that is long, " * 6 + "and dull.",
        "No.",
        "Bad, and worse than that!",
    ]
    torch.manual_seed(0)
    model = load_model(source, inputs_of(texts))
    examples = model.encode(inputs_of(texts))
    assert model.reading.pooling == "mean"
    with torch.no_grad():
        alone = torch.cat([model(examples, np.array([row])) for row in range(5)])
        for order in (rows(5), np.array([4, 0, 2, 1, 3])):
            near(model(examples, order), alone[order])
