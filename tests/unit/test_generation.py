"""Models that complete prompts: what they learn, and what they write."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from reference.completions import (
    LIMIT,
    copying,
    ending_tokenizer,
    greedy,
    log_likelihood,
    mean_loss_gradient,
    prompts_of,
    save_writer,
)
from reference.language import CONTEXT, WORDS, byte_tokenizer, some_texts, word_tokenizer
from surpass.errors import ConfigError, DataError, Stopped
from surpass.labels import completion_table, completions
from surpass.losses import find_loss
from surpass.models.adapters import find_adapter, settle
from surpass.models.families import load_model
from surpass.models.generation import Generator
from surpass.models.prompts import MAX_NEW_TOKENS, max_new_tokens_of, rectangle
from surpass.models.sources import resolve
from surpass.train.completions import (
    completion_shots,
    encoded_completions,
    fit_completions,
    label_completions,
)
from surpass.train.forms import form_of
from surpass.train.gradient import Batch, accumulate_gradient
from surpass.train.loop import Running
from surpass.train.loop import fit as fit_choices
from surpass.train.recipe import Recipe

KINDS = ("llama", "gpt2")
TEXTS = some_texts(13)
ANSWERS = some_texts(13, seed=1, longest=LIMIT + 2)
"""Of one to more tokens than there is room for."""

END = WORDS.index("w59")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("writers")
    return {kind: save_writer(root / kind, kind) for kind in KINDS}


@pytest.fixture
def load(folders):
    def _load(kind: str, inputs: pa.Table | None = None) -> Generator:
        return load_model(resolve(f"dir:{folders[kind]}"), prompts_of(TEXTS) if inputs is None else inputs)

    return _load


def every(examples) -> np.ndarray:
    return np.arange(len(examples.tokens))


def spoken(tokens: list[int]) -> list[str]:
    """Their words; those that stand for no text are left out."""
    return [WORDS[token] for token in tokens if WORDS[token] not in ("[pad]", "[bos]", "[unk]")]


@pytest.mark.parametrize("kind", KINDS)
class TestLikelihood:
    def test_equals_its_slow_twin(self, load, kind):
        model = load(kind)
        examples = model.encode(prompts_of(TEXTS), ANSWERS)
        found = model(examples, every(examples)).detach()
        assert found.shape == (13, 1)
        assert found.dtype == torch.float32
        for row, (prompt, completion) in enumerate(zip(examples.tokens, examples.completions, strict=True)):
            slow = log_likelihood(model._causal[0], prompt.tolist(), completion.tolist())
            assert float(found[row]) == pytest.approx(slow, abs=1e-4, rel=1e-5)

    def test_alone_and_in_any_order(self, load, kind):
        model = load(kind)
        examples = model.encode(prompts_of(TEXTS), ANSWERS)
        together = model(examples, every(examples))
        alone = torch.cat([model(examples, np.array([row])) for row in range(13)])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)
        order = np.array([7, 2, 11])
        torch.testing.assert_close(model(examples, order), alone[order], atol=1e-4, rtol=1e-5)

    def test_tokens_that_mean_padding_elsewhere_are_read_and_learned(self, load, kind):
        model = load(kind)
        examples = model.encode(prompts_of(["w1 [pad]", "[pad]", "w1 w2 w3"]), ["[pad]", "[pad] [pad]", "w4"])
        assert [row.tolist() for row in examples.completions[:2]] == [[0, END], [0, 0, END]]
        found = model(examples, np.arange(3)).detach()
        for row in range(3):
            slow = log_likelihood(
                model._causal[0], examples.tokens[row].tolist(), examples.completions[row].tolist()
            )
            assert float(found[row]) == pytest.approx(slow, abs=1e-4)

    @pytest.mark.parametrize("micro_batch", [None, 1, 4])
    def test_the_gradient_is_that_of_completions_alone(self, load, kind, micro_batch):
        """Of the weighted mean over examples, whatever the size of the passes."""
        model = load(kind)
        examples = model.encode(prompts_of(TEXTS[:7]), ANSWERS[:7])
        weights = [1.0, 0.0, 2.0, 0.5, 1.0, 1.0, 0.25]
        rows = [
            (prompt.tolist(), completion.tolist())
            for prompt, completion in zip(examples.tokens, examples.completions, strict=True)
        ]
        slow, gradient = mean_loss_gradient(model._causal[0], rows, weights)
        model.zero_grad()
        loss = find_loss("surpass.train.completions:surprise")
        batch = Batch(np.arange(7), torch.ones(7, 1), torch.tensor(weights), None)
        found = accumulate_gradient(model, examples, batch, loss, 0.0, micro_batch)
        assert float(found) == pytest.approx(slow, rel=1e-5)
        own = [value.grad for value in model._causal[0].parameters() if value.grad is not None]
        for mine, theirs in zip(own, gradient, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
class TestCompleting:
    def test_equals_its_slow_twin_alone_and_in_batches(self, load, kind):
        model = load(kind).eval()
        inputs = prompts_of(TEXTS, limit=12)
        examples = model.encode(inputs)
        # As the end, a token that it says: otherwise random weights would hardly ever end.
        model.end = greedy(model._causal[0], examples.tokens[0].tolist(), end=-1, limit=4)[-1]
        rows = [greedy(model._causal[0], row.tolist(), end=model.end, limit=12) for row in examples.tokens]
        assert len({len(row) for row in rows}) > 1, "some end early"
        slow = [model._continued(prompt, row) for prompt, row in zip(examples.tokens, rows, strict=True)]
        assert model.complete(examples, every(examples)) == slow
        assert [model.complete(examples, np.array([row]))[0] for row in range(13)] == slow
        for size in (None, 1, 5):
            table = label_completions(model, examples, inputs, micro_batch=size)
            assert completions(table) == slow
            assert table["id"].to_pylist() == inputs["id"].to_pylist()

    @pytest.mark.parametrize("limit", [1, 2, 40])
    def test_ends_at_the_limit_or_at_the_end_token(self, load, kind, limit):
        model = load(kind).eval()
        examples = model.encode(prompts_of(TEXTS, limit=limit))
        for row, text in zip(examples.tokens, model.complete(examples, every(examples)), strict=True):
            slow = greedy(model._causal[0], row.tolist(), end=END, limit=limit)
            assert text.split() == spoken(slow)
            assert len(slow) <= limit
            assert "w59" not in text

    def test_prompts_of_token_zero(self, load, kind):
        model = load(kind).eval()
        examples = model.encode(prompts_of(["[pad]", "[pad] [pad] [pad]", "w1", "[pad] w1"], limit=6))
        slow = [greedy(model._causal[0], row.tolist(), end=END, limit=6) for row in examples.tokens]
        found = model.complete(examples, np.arange(4))
        assert [text.split() for text in found] == [spoken(row) for row in slow]

    def test_a_model_that_ends_at_once_says_nothing(self, load, kind):
        model = load(kind).eval()
        with torch.no_grad():
            model._causal[0].get_output_embeddings().weight.zero_()
            model._causal[0].get_output_embeddings().weight[0] = -1e-3
        examples = model.encode(prompts_of(["w1"], limit=3))
        model.end = int(model._causal[0](input_ids=torch.tensor([[1]])).logits[0, -1].argmax())
        assert model.complete(examples, np.array([0])) == [""]

    def test_progress_is_told(self, load, kind):
        model, told = load(kind), []
        inputs = prompts_of(TEXTS)
        label_completions(model, model.encode(inputs), inputs, micro_batch=4, report=told.append)
        assert told == sorted(told)
        assert told[-1] == 1.0
        assert len(told) == 4

    def test_no_prompts_at_all(self, load, kind):
        model = load(kind)
        inputs = prompts_of(["w1"]).slice(1)
        assert label_completions(model, model.encode(inputs), inputs).num_rows == 0


class TestEncode:
    def test_prompt_and_completion_are_tokenised_apart(self, load):
        for kind, first in (("llama", ["[bos]"]), ("gpt2", [])):
            examples = load(kind).encode(prompts_of(["w1 w2"]), [" w3"])
            assert [WORDS[token] for token in examples.tokens[0]] == [*first, "w1", "w2"]
            assert [WORDS[token] for token in examples.completions[0]] == ["w3", "w59"]
            assert examples.lengths_N(np.array([0])).tolist() == [len(first) + 4]
            assert load(kind).encode(prompts_of(["w1 w2"])).completions is None

    @pytest.mark.parametrize("extra", [-1, 0, 1])
    def test_completions_that_are_too_long_are_cut_and_counted(self, load, extra):
        text = " ".join(f"w{number}" for number in range(LIMIT - 1 + extra))
        examples = load("gpt2").encode(prompts_of(["w1", "w2"]), [text, "w3"])
        row = [WORDS[token] for token in examples.completions[0]]
        assert row == [*text.split(), "w59"][:LIMIT]
        assert examples.truncated == int(extra > 0)

    @pytest.mark.parametrize("extra", [-1, 0, 1, 30])
    def test_of_a_long_prompt_the_end_is_read(self, load, extra):
        model = load("llama")
        room = CONTEXT - LIMIT - 1
        told = [f"w{number % 50}" for number in range(room + extra)]
        examples = model.encode(prompts_of([" ".join(told), "w1"]), ["w2", "w3"])
        assert [WORDS[token] for token in examples.tokens[0]] == ["[bos]", *told[-room:]]
        assert examples.truncated == int(extra > 0)
        model(examples, np.arange(2))
        model.max_tokens = 3
        assert [WORDS[token] for token in model.encode(prompts_of([" ".join(told)])).tokens[0][1:]] == told[
            -3:
        ]

    def test_a_prefix_is_a_text_before_the_prompt(self, load):
        before = completion_shots(word_tokenizer(), ["w1 :", "w2 :"], [" w3", " w4 w5"])
        assert before == "w1 : w3\n\nw2 : w4 w5\n\n"
        model, plain = load("gpt2"), load("gpt2")
        model.prefix = before
        found, wanted = model.encode(prompts_of(TEXTS)), plain.encode(prompts_of([before + t for t in TEXTS]))
        for first, second in zip(found.tokens, wanted.tokens, strict=True):
            np.testing.assert_array_equal(first, second)
        model.prefix = "w9 " * CONTEXT
        (row,) = model.encode(prompts_of(["w1 w2"])).tokens
        assert len(row) == CONTEXT - LIMIT
        assert model.encode(prompts_of(["w1 w2"])).truncated == 1

    def test_what_cannot_be_read(self, load):
        model = load("gpt2")
        with pytest.raises(DataError, match="no column 'prompt', which a model could complete; they have id"):
            model.encode(pa.table({"id": ["a"]}))
        with pytest.raises(DataError, match="the prompt of 'p1' is empty; drop it"):
            model.encode(prompts_of(["w1", ""]))
        with pytest.raises(
            ConfigError, match="reads 96 tokens, which leaves no room for a prompt beside a completion of 96"
        ):
            model.encode(prompts_of(["w1"], limit=CONTEXT))
        with pytest.raises(DataError, match="max_new_tokens of the examples is"):
            max_new_tokens_of(pa.table({"max_new_tokens": [3, 4]}))
        assert max_new_tokens_of(pa.table({"id": ["a"]})) == MAX_NEW_TOKENS

    def test_a_tokenizer_without_an_end(self, tmp_path):
        folder = save_writer(tmp_path / "m", "gpt2")
        word_tokenizer().save_pretrained(folder)
        with pytest.raises(
            ConfigError, match="has no end token, so completions would not end; set its eos_token"
        ):
            load_model(resolve(f"dir:{folder}"), prompts_of(["w1"]))


class TestText:
    """What was said, as it stands behind its prompt."""

    def test_a_space_that_a_tokenizer_drops_is_put_back(self, load):
        model = load("gpt2")
        prompt = np.array([WORDS.index("w1")])
        assert model._continued(prompt, [WORDS.index("w2"), WORDS.index("w3")]) == " w2 w3"
        assert model._continued(prompt, []) == ""

    def test_bytes_that_are_half_a_letter(self, load):
        model = load("gpt2")
        model.tokenizer = byte_tokenizer()
        first, second = model.tokenizer("\u00e9", add_special_tokens=False)["input_ids"]
        letter = model.tokenizer("a", add_special_tokens=False)["input_ids"][0]
        assert model._continued(np.array([letter]), [first, second]) == "\u00e9"
        assert model._continued(np.array([first]), [letter]) == "a"

    def test_behind_examples_that_are_shown_it_ends_where_the_next_would_begin(self, load):
        model = load("gpt2")
        model.tokenizer = byte_tokenizer()
        said = model.tokenizer(" Qf5\n\n1. e4", add_special_tokens=False)["input_ids"]
        prompt = np.array([model.tokenizer("x", add_special_tokens=False)["input_ids"][0]])
        assert model._text(prompt, said) == " Qf5\n\n1. e4"
        assert not model._next_shot(prompt, said)
        model.prefix = "e4 e5\n\n"
        assert model._text(prompt, said) == " Qf5"
        ends = [model._next_shot(prompt, said[:size]) for size in range(len(said))]
        assert ends.index(True) == len(" Qf5\n\n")
        assert not any(ends[: len(" Qf5\n\n")])


@pytest.mark.parametrize("left", [False, True])
def test_rectangle(left):
    rows = [np.array(row) for row in ([5], [1, 2, 3], [0, 7])]
    found = rectangle(rows, left=left)
    if left:
        assert found.tokens_NT.tolist() == [[0, 0, 5], [1, 2, 3], [0, 0, 7]]
        assert found.inside_NT.tolist() == [[0, 0, 1], [1, 1, 1], [0, 1, 1]]
    else:
        assert found.tokens_NT.tolist() == [[5, 0, 0], [1, 2, 3], [0, 7, 0]]
        assert found.inside_NT.tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]


def stop_after(steps: int):
    told = iter([False] * (steps - 1) + [True])
    return lambda: next(told)


@pytest.mark.parametrize("kind", KINDS)
class TestFit:
    RECIPE = Recipe(epochs=3, batch_size=4, learning_rate=3e-3)

    def fitted(self, model: Generator, weights=None, **settings) -> torch.Tensor:
        inputs = prompts_of(TEXTS)
        table = completion_table(inputs["id"].to_pylist(), ANSWERS, weights)
        examples, labels = encoded_completions(model, inputs, table)
        return fit_completions(model, examples, labels, **({"recipe": self.RECIPE, "seed": 1} | settings))

    def test_is_repeatable_and_exact_in_pieces(self, load, kind):
        models = [load(kind) for _ in range(3)]
        first, second = (self.fitted(model) for model in models[:2])
        assert torch.equal(first, second)
        pieces = self.fitted(models[2], running=Running(micro_batch=1))
        torch.testing.assert_close(pieces[:3], first[:3], atol=1e-4, rtol=1e-4)

    def test_passes_are_bounded_without_being_asked(self, load, kind, monkeypatch):
        seen = []
        plain = Generator.forward
        monkeypatch.setattr(
            Generator,
            "forward",
            lambda self, examples, rows: seen.append(len(rows)) or plain(self, examples, rows),
        )
        monkeypatch.setattr("surpass.train.completions.TOKENS_LEARNED_AT_ONCE", 60)
        self.fitted(load(kind))
        assert max(seen) == 2

    def test_stopped_and_gone_on_it_has_the_same_bits(self, load, kind, tmp_path):
        whole, stopped = load(kind), load(kind)
        losses = self.fitted(whole, ema=0.9)
        checkpoint = tmp_path / "checkpoint.safetensors"
        with pytest.raises(Stopped):
            self.fitted(stopped, ema=0.9, running=Running(checkpoint=checkpoint, stop=stop_after(5)))
        fresh = load(kind)
        again = self.fitted(fresh, ema=0.9, running=Running(checkpoint=checkpoint))
        assert torch.equal(again, losses)
        for name, value in whole.state_dict().items():
            assert torch.equal(fresh.state_dict()[name], value), name

    def test_snapshots_are_shown(self, load, kind):
        seen = []
        self.fitted(load(kind), running=Running(snapshots=3, snapshot=seen.append))
        assert seen == [1, 2, 3]

    def test_examples_without_weight_teach_nothing(self, load, kind):
        model, before = load(kind), load(kind).state_dict()
        self.fitted(model, weights=np.zeros(13, np.float32))
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, before[name])

    def test_low_rank_changes(self, load, kind):
        model, plain = load(kind), load(kind)
        examples = model.encode(prompts_of(TEXTS), ANSWERS)
        find_adapter("lora(rank=2)")(model)
        torch.testing.assert_close(model(examples, every(examples)), plain(examples, every(examples)))
        losses = self.fitted(model)
        assert losses[-3:].mean() < losses[:3].mean()
        changed = model.complete(examples, every(examples))
        settle(model)
        assert model.complete(examples, every(examples)) == changed
        assert model.state_dict().keys() == plain.state_dict().keys()

    def test_saving_memory_changes_nothing(self, load, kind):
        model = load(kind)
        model.save_memory()
        torch.testing.assert_close(self.fitted(model)[:3], self.fitted(load(kind))[:3], atol=1e-4, rtol=1e-4)
        inputs = prompts_of(TEXTS)
        assert label_completions(model, model.encode(inputs), inputs).num_rows == 13

    def test_other_losses_are_refused(self, load, kind):
        with pytest.raises(
            ConfigError, match="loss gce is for probabilities; completions are learned with xent"
        ):
            self.fitted(load(kind), loss="gce")


def test_it_learns_to_write_and_to_end(load):
    """The last word of the prompt, and behind some a second: unseen prompts are completed rightly."""
    prompts, wanted = copying(192)
    inputs = prompts_of(prompts)
    model = load("llama")
    form = form_of(inputs)
    table = completion_table(inputs["id"].to_pylist(), wanted)
    examples, labels = form.encode(model, inputs, table, model.encode)
    recipe = Recipe(epochs=12, batch_size=16, learning_rate=5e-3)
    losses = form.fit(model, examples, labels, loss="xent", recipe=recipe, seed=0)
    assert losses[-5:].mean() < 0.2 * losses[:5].mean()
    fresh, right = copying(64, seed=1)
    said = completions(form.label(model, model.encode(prompts_of(fresh)), prompts_of(fresh)))
    correct = [first.strip() == second.strip() for first, second in zip(said, right, strict=True)]
    assert np.mean(correct) > 0.9
    assert {len(text.split()) for text, hit in zip(said, correct, strict=True) if hit} == {1, 2}


def test_the_form_of_examples_decides(load):
    inputs = pa.table({"id": ["a"], "candidates": [[0, 1]]})
    assert form_of(inputs).fit is fit_choices
    assert form_of(prompts_of(["w1"])).fit is fit_completions


OTHERS = {
    "OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.1},
    "Bloom": {},
    "GPTNeoX": {"intermediate_size": 64},
    "Qwen2": {"intermediate_size": 64, "num_key_value_heads": 2},
    "Gemma2": {"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8},
}
"""With places learned, none, rotated; with logits capped, and attention to the last tokens alone."""


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures(kind):
    import transformers

    size = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"bos_token_id": 1, "eos_token_id": END, "pad_token_id": None}
    config = getattr(transformers, f"{kind}Config")(
        max_position_embeddings=CONTEXT, **(size | special | OTHERS[kind])
    )
    torch.manual_seed(0)
    causal = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in causal.parameters():
            parameter.mul_(4.0) if parameter.dim() > 1 else None
    model = Generator(causal, ending_tokenizer()).eval()
    examples = model.encode(prompts_of(TEXTS, limit=6), ANSWERS)
    found = model(examples, every(examples)).detach()
    for row, (prompt, completion) in enumerate(zip(examples.tokens, examples.completions, strict=True)):
        slow = log_likelihood(causal, prompt.tolist(), completion.tolist())
        assert float(found[row]) == pytest.approx(slow, abs=1e-3, rel=1e-4)
    rows = [greedy(causal, row.tolist(), end=END, limit=6) for row in examples.tokens]
    said = model.complete(examples, every(examples))
    assert said == [model._continued(prompt, row) for prompt, row in zip(examples.tokens, rows, strict=True)]
