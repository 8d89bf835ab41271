from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reference.language import (
    CONTEXT,
    WORDS,
    byte_tokenizer,
    inputs_of,
    next_token_loss,
    save_tiny,
    some_texts,
    word_tokenizer,
)
from surpass.errors import ConfigError, DataError, MissingExtraError, Stopped
from surpass.models.adapters import find_adapter, settle
from surpass.models.causal import CausalChoice
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.models.texts import answers, cut, shots, texts_of, tokenised, transformers
from surpass.models.tokens import TokenExamples
from surpass.train.language import accumulate_next_token, adapt, pick_shots
from surpass.train.loop import Labels, Running, fit, label
from surpass.train.recipe import Recipe

KINDS = ("llama", "gpt2")
TEXTS = some_texts(13)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(root / kind, kind) for kind in KINDS}


@pytest.fixture
def load(folders):
    def _load(kind: str, inputs=None) -> CausalChoice:
        return load_model(resolve(f"dir:{folders[kind]}"), inputs_of(TEXTS) if inputs is None else inputs)

    return _load


def rows(num: int) -> np.ndarray:
    return np.arange(num)


@pytest.mark.parametrize("kind", KINDS)
class TestLogits:
    def test_padding_changes_nothing(self, load, kind):
        model = load(kind)
        examples = model.encode(inputs_of(TEXTS))
        assert len({len(row) for row in examples.tokens}) > 5
        together = model(examples, rows(len(TEXTS)))
        alone = torch.cat([model(examples, np.array([row])) for row in range(len(TEXTS))])
        torch.testing.assert_close(together, alone, atol=2e-5, rtol=2e-5)
        with torch.no_grad():
            assert torch.allclose(model(examples, rows(len(TEXTS))), alone, atol=2e-5)
            assert torch.allclose(model(examples, np.array([7, 2, 11])), alone[[7, 2, 11]], atol=2e-5)

    def test_untrained_it_answers_as_the_next_token_would(self, load, kind):
        model = load(kind, inputs_of(TEXTS, num_classes=3))
        examples = model.encode(inputs_of(TEXTS, num_classes=3))
        found = model(examples, rows(len(TEXTS)))
        for place, tokens in enumerate(examples.tokens):
            logits_V = model._causal[0](input_ids=torch.from_numpy(tokens)[None]).logits[0, -1]
            wanted = logits_V[[WORDS.index(word) for word in "012"]]
            torch.testing.assert_close(found[place], wanted, atol=2e-5, rtol=2e-5)

    def test_ids_that_mean_padding_elsewhere_are_read_as_they_are(self, load, kind):
        model = load(kind)
        texts = ["w1 [pad]", "w1 [pad] [pad]", "[pad]", "[bos] [bos]", "w1 w2 w3 w4 w5", "[unk] nonsense"]
        examples = model.encode(inputs_of(texts))
        first = 1 if kind == "llama" else 0
        assert [len(row) - first for row in examples.tokens] == [2, 3, 1, 2, 5, 2]
        alone = torch.cat([model(examples, np.array([row])) for row in range(len(texts))])
        torch.testing.assert_close(model(examples, rows(len(texts))), alone, atol=2e-5, rtol=2e-5)
        assert (alone[0] - alone[1]).abs().max() > 1e-3

    def test_without_gradient_nothing_else_comes_out(self, load, kind, monkeypatch):
        model = load(kind)
        examples = model.encode(inputs_of(TEXTS))
        with torch.no_grad():
            whole = model.embed(examples, rows(13))
            for limit in (1, 20, 45, 10**6):
                monkeypatch.setattr("surpass.models.language.TOKENS_AT_ONCE", limit)
                torch.testing.assert_close(model.embed(examples, rows(13)), whole, atol=2e-5, rtol=2e-5)
        np.testing.assert_allclose(
            label(model, examples, [2] * 13)[3], model(examples, rows(13))[3].softmax(0).detach(), atol=1e-5
        )

    def test_there_is_no_dropout(self, load, kind):
        model = load(kind).train()
        examples = model.encode(inputs_of(TEXTS))
        first, second = (model(examples, rows(13)) for _ in range(2))
        assert torch.equal(first, second)
        torch.testing.assert_close(model.eval()(examples, rows(13)), first)

    def test_the_state_is_whole_and_shares_nothing(self, load, kind, tmp_path):
        model = load(kind)
        assert ("unembedding_VD" in model.state_dict()) == (kind == "llama")
        save_file(model.state_dict(), tmp_path / "state")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1)
        other = load(kind)
        other.load_state_dict(load_file(tmp_path / "state"))
        examples = other.encode(inputs_of(TEXTS))
        assert torch.equal(other(examples, rows(13)), load(kind)(examples, rows(13)))

    def test_an_unembedding_that_is_loaded_is_used(self, load, kind):
        model, other = load(kind), load(kind)
        with torch.no_grad():
            model._causal[0].get_output_embeddings().weight.mul_(2)
        other.load_state_dict(model.state_dict())
        other.reset_head()
        assert torch.equal(other.head.weight, 2 * load(kind).head.weight)


class TestEncode:
    def test_a_first_token_where_the_tokenizer_has_one(self, load):
        texts = ["w3 w4", "w5"]
        plain, begun = (load(kind).encode(inputs_of(texts)).tokens for kind in ("gpt2", "llama"))
        bos = WORDS.index("[bos]")
        assert [row.tolist() for row in begun] == [[bos, *row.tolist()] for row in plain]

    def test_a_prefix_is_a_text_before_the_text(self, load):
        before = "w1 w2 0\n\nw3 1\n\n"
        for kind in KINDS:
            model, plain = load(kind), load(kind)
            model.prefix = before
            with_prefix = model.encode(inputs_of(TEXTS))
            joined = plain.encode(inputs_of([before + text for text in TEXTS]))
            for first, second in zip(with_prefix.tokens, joined.tokens, strict=True):
                np.testing.assert_array_equal(first, second)
            assert torch.equal(model(with_prefix, rows(13)), plain(joined, rows(13)))

    @pytest.mark.parametrize("extra", [-1, 0, 1, 300])
    def test_of_a_long_text_the_end_is_read(self, load, extra):
        model = load("llama")
        room = CONTEXT - 2
        words = [f"w{number % 60}" for number in range(room + extra)]
        tokens = model.encode(inputs_of([" ".join(words)])).tokens[0]
        assert [WORDS[token] for token in tokens] == ["[bos]", *words[-room:]]
        model.reading = model.reading._replace(max_tokens=5)
        tokens = model.encode(inputs_of([" ".join(words)])).tokens[0]
        assert [WORDS[token] for token in tokens] == ["[bos]", *words[-5:]]
        model(TokenExamples([tokens]), np.array([0]))

    def test_a_prefix_counts_extra_and_gives_way(self, load):
        model = load("gpt2")
        model.reading, model.prefix = model.reading._replace(max_tokens=3), "w7 w8\n\n"
        tokens = model.encode(inputs_of(["w1 w2 w3 w4 w5", "w1 w2 w3", "w1"])).tokens
        read = [" ".join(WORDS[token] for token in row) for row in tokens]
        assert read == ["w7 w8 w3 w4 w5", "w7 w8 w1 w2 w3", "w7 w8 w1"]
        model.prefix = "w9 " * CONTEXT
        (row,) = model.encode(inputs_of(["w1 w2"])).tokens
        assert len(row) == CONTEXT - 1
        assert [WORDS[token] for token in row[-3:]] == ["w9", "w1", "w2"]

    def test_hints(self, load):
        inputs = inputs_of(["w1", "w2", "w3"], hint=[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
        read = texts_of(inputs)
        assert read[0] == "w1\nSomebody believes that the answer is 0. What is your answer?"
        assert [text.partition("is ")[2][0] for text in read] == ["0", "1", "0"]
        model = load("gpt2")
        plain, hinted = model.encode(inputs.drop_columns(["hint"])), model.encode(inputs)
        assert not torch.allclose(model(plain, rows(3)), model(hinted, rows(3)))

    def test_what_cannot_be_read(self, load):
        model = load("gpt2")
        with pytest.raises(DataError, match="no column 'text', which a language model reads; they have id"):
            model.encode(inputs_of(["a"]).drop_columns(["text"]))
        with pytest.raises(DataError, match="the text of 't1' is empty"):
            model.encode(inputs_of(["w1", " "]))
        with pytest.raises(DataError, match="from None to None candidates"):
            load("gpt2", inputs_of([]))
        assert model.encode(inputs_of([])).tokens == []


class TestAnswers:
    def test_one_form_for_all_classes(self):
        spaced = answers(word_tokenizer(), 3)
        assert spaced.texts == (" 0", " 1", " 2")
        assert spaced.tokens == tuple(WORDS.index(word) for word in "012")
        bare = answers(byte_tokenizer(), 10)
        assert bare.texts == tuple("0123456789")
        assert len(set(bare.tokens)) == 10

    def test_a_beginning_that_is_split_off(self):
        class Split:
            unk_token_id, name_or_path = None, "split"

            def __call__(self, texts, **_):
                return {"input_ids": [[29871, *(ord(sign) for sign in text)] for text in texts]}

        assert answers(Split(), 3) == (("0", "1", "2"), (48, 49, 50))
        with pytest.raises(ConfigError, match="split has no token of its own for each number from 0 to 11"):
            answers(Split(), 12)

    def test_no_such_words(self):
        with pytest.raises(ConfigError, match="each number from 0 to 10; use fewer classes"):
            answers(word_tokenizer(), 11)
        with pytest.raises(ConfigError, match="each number from 0 to 10"):
            answers(byte_tokenizer(), 11)

    def test_shots(self):
        words = answers(word_tokenizer(), 2)
        assert shots(["a :", "b :"], [1, 0], words) == "a : 1\n\nb : 0\n\n"
        assert shots([], [], words) == ""

    @pytest.mark.parametrize("limit", [1, 2, 3, 4])
    def test_cutting_keeps_the_end(self, limit):
        tokenizer = word_tokenizer()
        texts = ["w1  w2, w3", "w4", ""]
        found = cut(tokenizer, texts, limit)
        assert found == [{1: "w3", 2: ", w3", 3: "w2, w3", 4: "w1  w2, w3"}[limit], "w4", ""]
        assert [len(row) for row in tokenised(tokenizer, found)] == [min(limit, 4), 1, 0]


@pytest.mark.parametrize("kind", KINDS)
class TestFit:
    RECIPE = Recipe(epochs=4, batch_size=4, learning_rate=3e-3)

    def fitted(self, model: CausalChoice, **settings) -> torch.Tensor:
        examples = model.encode(inputs_of(TEXTS))
        probs = [np.eye(2, dtype=np.float32)[place % 2] for place in range(13)]
        labels = Labels(probs, np.ones(13, np.float32))
        return fit(model, examples, labels, loss="xent", recipe=self.RECIPE, seed=1, **settings)

    def test_learns_and_is_repeatable(self, load, kind):
        first, second = (self.fitted(load(kind)) for _ in range(2))
        assert torch.equal(first, second)
        assert first[-4:].mean() < 0.5 * first[:4].mean()

    def test_in_pieces(self, load, kind):
        whole, pieces = load(kind), load(kind)
        losses = self.fitted(whole), self.fitted(pieces, running=Running(micro_batch=3))
        torch.testing.assert_close(losses[0], losses[1], atol=1e-3, rtol=1e-3)

    def test_the_unembedding_stays(self, load, kind):
        model = load(kind)
        before = None if model.unembedding_VD is None else model.unembedding_VD.clone()
        self.fitted(model)
        assert before is None or torch.equal(model.unembedding_VD, before)

    def test_the_head_alone(self, load, kind):
        model = load(kind)
        find_adapter("frozen")(model)
        self.fitted(model)
        for name, value in load(kind).state_dict().items():
            assert torch.equal(model.state_dict()[name], value) == (not name.startswith("head"))

    def test_low_rank_changes(self, load, kind):
        model, plain = load(kind), load(kind)
        examples = model.encode(inputs_of(TEXTS))
        find_adapter("lora(rank=2)")(model)
        torch.testing.assert_close(model(examples, rows(13)), plain(examples, rows(13)))
        self.fitted(model)
        changed = model(examples, rows(13)).detach()
        settle(model)
        torch.testing.assert_close(model(examples, rows(13)), changed, atol=1e-4, rtol=1e-4)
        state, before = model.state_dict(), plain.state_dict()
        assert state.keys() == before.keys()
        moved = {name for name in state if not torch.equal(state[name], before[name])}
        layers = [name for name in moved if not name.startswith("head")]
        assert len(layers) == {"llama": 14, "gpt2": 8}[kind]
        for name in layers:
            change = (state[name] - before[name]).double()
            assert torch.linalg.matrix_rank(change, rtol=1e-4) <= 2, name


@pytest.mark.parametrize("kind", KINDS)
class TestAdapt:
    RECIPE = Recipe(epochs=3, batch_size=4, learning_rate=3e-3)

    def test_the_loss_equals_its_slow_twin(self, load, kind, monkeypatch):
        model = load(kind)
        examples = model.encode(inputs_of(TEXTS))
        slow = next_token_loss(model._causal[0], [row.tolist() for row in examples.tokens])
        gradients = []
        for limit, most in ((10**6, None), (40, None), (1, None), (10**6, 2)):
            monkeypatch.setattr("surpass.train.language.LOGITS_AT_ONCE", limit)
            model.zero_grad()
            found = accumulate_next_token(model, examples, rows(13), most)
            assert float(found) == pytest.approx(slow, rel=1e-5)
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        for other in gradients[1:]:
            torch.testing.assert_close(other, gradients[0], atol=1e-5, rtol=1e-3)
        assert model.head.weight.grad is None

    def test_it_learns_the_texts_and_not_the_head(self, load, kind):
        model = load(kind)
        examples = model.encode(inputs_of(TEXTS))
        before = model.head.weight.clone()
        first = next_token_loss(model._causal[0], [row.tolist() for row in examples.tokens])
        losses = adapt(model, examples, recipe=self.RECIPE, seed=0)
        assert len(losses) == self.RECIPE.num_steps(13)
        last = next_token_loss(model._causal[0], [row.tolist() for row in examples.tokens])
        assert last < 0.9 * first
        assert losses[-4:].mean() < losses[:4].mean()
        assert torch.equal(model.head.weight, before)
        model.reset_head()
        wanted = model._causal[0].get_output_embeddings().weight[list(model.answers.tokens)]
        assert torch.equal(model.head.weight, wanted)
        assert not torch.equal(model.head.weight, before)

    def test_interrupted_it_ends_at_the_same_bits(self, load, kind, tmp_path):
        whole, cut_short = load(kind), load(kind)
        examples = whole.encode(inputs_of(TEXTS))
        losses = adapt(whole, examples, recipe=self.RECIPE, seed=3)
        running = Running(checkpoint=tmp_path / "checkpoint", stop=iter([False] * 4 + [True]).__next__)
        with pytest.raises(Stopped):
            adapt(cut_short, examples, recipe=self.RECIPE, seed=3, running=running)
        again = load(kind)
        resumed = adapt(
            again, examples, recipe=self.RECIPE, seed=3, running=Running(checkpoint=tmp_path / "checkpoint")
        )
        assert torch.equal(resumed, losses)
        for name, value in whole.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), name

    def test_texts_of_one_token(self, load, kind):
        model = load(kind)
        short = TokenExamples([np.array([3]), np.array([4])])
        with pytest.raises(DataError, match="no text has two tokens"):
            adapt(model, short, recipe=self.RECIPE, seed=0)
        mixed = TokenExamples([np.array([3]), np.array([4, 5])])
        losses = adapt(model, mixed, recipe=Recipe(epochs=1, batch_size=1), seed=0)
        assert sorted(losses.tolist())[0] == 0
        assert losses.isfinite().all()


class TestPickShots:
    def test_equals_the_slow_twin(self):
        from reference import language
        from surpass.hashing import unit

        rng = np.random.default_rng(0)
        for seed in range(20):
            size = int(rng.integers(5, 30))
            classes = {f"e{n}": int(c) for n, c in enumerate(rng.choice(4, size, p=[0.6, 0.2, 0.1, 0.1]))}
            for num_shots in (1, 2, 5):
                found = pick_shots(classes, num_shots, seed)
                slow = language.shots(
                    classes, num_shots, lambda key, purpose, seed=seed: unit(key, seed=seed, purpose=purpose)
                )
                assert found == slow

    def test_balanced(self):
        classes = {f"e{n}": int(n < 90) for n in range(100)}
        for seed in range(10):
            chosen = pick_shots(classes, 6, seed)
            assert [classes[name] for name in chosen].count(0) == 3
            odd = [classes[name] for name in pick_shots(classes, 5, seed)].count(0)
            assert odd in (2, 3)
        assert len({[classes[n] for n in pick_shots(classes, 5, seed)].count(0) for seed in range(10)}) == 2
        assert pick_shots(classes, 5, 0) != pick_shots(classes, 5, 1)

    def test_the_order_of_the_examples_does_not_matter(self):
        classes = {f"e{n}": n % 3 for n in range(30)}
        turned = dict(reversed(classes.items()))
        assert pick_shots(classes, 7, 2) == pick_shots(turned, 7, 2)

    def test_too_few(self):
        assert sorted(pick_shots({"a": 0, "b": 0}, 2, 0)) == ["a", "b"]
        with pytest.raises(DataError, match="3 shots asked for and 2 examples have a label; ask for fewer"):
            pick_shots({"a": 0, "b": 0}, 3, 0)


class TestFolders:
    def test_weights_that_are_missing(self, folders, tmp_path):
        for entry in folders["llama"].iterdir():
            (tmp_path / entry.name).write_bytes(entry.read_bytes())
        state = load_file(tmp_path / "model.safetensors")
        del state["lm_head.weight"]
        save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(DataError, match=r"has no weights for lm_head.weight; it cannot answer"):
            load_model(resolve(f"dir:{tmp_path}"), inputs_of(["w1"]))

    def test_a_damaged_configuration_and_tokenizer(self, folders, tmp_path):
        for entry in folders["llama"].iterdir():
            (tmp_path / entry.name).write_bytes(entry.read_bytes())
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(DataError, match=f"the tokenizer in {tmp_path} cannot be read") as caught:
            load_model(resolve(f"dir:{tmp_path}"), inputs_of(["w1"]))
        assert "\n" not in str(caught.value)
        (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
        with pytest.raises(DataError, match=f"the language model in {tmp_path} cannot be read") as caught:
            load_model(resolve(f"dir:{tmp_path}"), inputs_of(["w1"]))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("written", [torch.float16, torch.bfloat16, torch.float32])
    def test_weights_are_read_as_float32(self, folders, tmp_path, kind, written):
        for entry in folders[kind].iterdir():
            (tmp_path / entry.name).write_bytes(entry.read_bytes())
        config = json.loads((tmp_path / "config.json").read_text())
        config |= {"dtype": "bfloat16", "torch_dtype": "bfloat16"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        state = {name: value.to(written) for name, value in load_file(tmp_path / "model.safetensors").items()}
        save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
        model = load_model(resolve(f"dir:{tmp_path}"), inputs_of(["w1"]))
        plain = load_model(resolve(f"dir:{folders[kind]}"), inputs_of(["w1"]))
        for (name, value), exact in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
            assert value.dtype == torch.float32
            assert torch.equal(value, exact.to(written).float()), name

    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(MissingExtraError, match=r"need the package transformers .*surpass\[text\]"):
            transformers()
