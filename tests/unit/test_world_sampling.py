"""Greedy samples equal `generate`, others have the model's probabilities, whatever is drawn beside them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch

from surpass.errors import ConfigError
from surpass.models.generation import Generator
from surpass.models.prompts import rectangle
from surpass.world import sampling
from surpass.world.corpus import encode, rows, texts
from surpass.world.reasoners import Reasoner, build
from surpass.world.sampling import Draw, pick, sample, uniforms
from surpass.world.tokenizer import CHARACTERS, VOCABULARY, build_tokenizer

SHAPE = Reasoner(width=32, layers=2, heads=2, hidden=48, tokens=1, learning_rate=1e-3)
PROMPTS = ["2+3\n", "7*(2+3)-1\n", "12-5+40\n", "1+1\n"]


def table(prompts, max_new_tokens):
    return pa.table(
        {
            "id": [f"p{number}" for number in range(len(prompts))],
            "prompt": prompts,
            "max_new_tokens": pa.array([max_new_tokens] * len(prompts), pa.int32()),
        }
    )


def uneven():
    """An untrained model, with an unembedding of its own that finds some tokens likelier than others."""
    causal = build(SHAPE, seed=1)
    drawn = torch.randn(len(VOCABULARY), SHAPE.width, generator=torch.Generator().manual_seed(0))
    causal.lm_head.weight = torch.nn.Parameter(0.3 * drawn)
    return causal


def indifferent(model):
    """The same model, to which every token is as likely as any."""
    with torch.no_grad():
        model._causal[0].lm_head.weight.zero_()


@pytest.fixture
def model():
    return Generator(uneven(), build_tokenizer())


def drawn(model, draws, *, max_new=12, names=None, **more):
    examples = model.encode(table(PROMPTS, max_new))
    names = names or [f"p{number}" for number in range(len(PROMPTS))]
    return sample(model, examples.tokens, names, draws, max_new_tokens=max_new, **more)


class TestGreedy:
    def test_equals_generate(self, model):
        found = drawn(model, [Draw(row, 0) for row in range(4)], max_new=30, temperature=0)
        examples = model.encode(table(PROMPTS, 30))
        batch = rectangle(examples.tokens, left=True)
        causal = model._causal[0]
        with torch.no_grad():
            whole = causal.generate(
                input_ids=batch.tokens_NT, attention_mask=batch.inside_NT, do_sample=False, max_new_tokens=30
            )
        rows = whole[:, batch.tokens_NT.shape[1] :].tolist()
        ends = [row.index(model.end) if model.end in row else len(row) for row in rows]
        texts = [model.tokenizer.decode(row[:end]) for row, end in zip(rows, ends, strict=True)]
        assert [one.text for one in found] == texts
        assert [one.num_tokens for one in found] == [min(end + 1, 30) for end in ends]

    def test_equals_the_greedy_completion_of_labels(self, model):
        examples = model.encode(table(PROMPTS, 12))
        found = drawn(model, [Draw(row, 0) for row in range(4)], temperature=0)
        assert [one.text for one in found] == model.complete(examples, np.arange(4))

    def test_roomy_buffers_change_nothing(self, model, monkeypatch):
        draws = [Draw(row, draw) for row in range(4) for draw in range(5)]
        roomy = drawn(model, draws, max_new=40)
        assert sampling._roomy_cache(model) is not None
        monkeypatch.setattr(sampling, "_ROOM", 1)
        assert drawn(model, draws, max_new=40) == roomy
        monkeypatch.setattr(sampling, "_roomy_cache", lambda _: None)
        assert drawn(model, draws, max_new=40) == roomy


class TestProbabilities:
    def test_first_two_tokens(self, model):
        """Frequencies of 4,000 pairs of tokens lie within their noise of the model's probabilities."""
        draws = [Draw(0, number) for number in range(4000)]
        said = drawn(model, draws, max_new=2, temperature=2.0)
        prompt = model.encode(table(PROMPTS, 2)).tokens[0]
        with torch.no_grad():
            first = model._causal[0](torch.tensor(prompt)[None]).logits[0, -1].div(2.0).softmax(-1)
        token = int(first.argmax())
        mark = CHARACTERS[token - 3]
        with torch.no_grad():
            longer = torch.tensor([*prompt, token])[None]
            second = model._causal[0](longer).logits[0, -1].div(2.0).softmax(-1)
        count = Counter(one.text[:1] for one in said if one.num_tokens == 2)
        assert abs(count[mark] - 4000 * first[token]) < 5 * (4000 * first[token] * (1 - first[token])) ** 0.5
        behind = Counter(one.text[1:] for one in said if one.text[:1] == mark)
        for place in second.topk(5).indices.tolist():
            if place >= 3:
                expected = count[mark] * float(second[place])
                assert abs(behind[CHARACTERS[place - 3]] - expected) < 5 * expected**0.5 + 1

    def test_pick(self):
        logits = torch.log(torch.tensor([[0.2, 0.3, 0.5]])).expand(5, 3)
        numbers = torch.tensor([0.0, 0.199, 0.201, 0.501, 0.999999], dtype=torch.float64)
        assert pick(logits, numbers, 1.0).tolist() == [0, 0, 1, 2, 2]
        assert pick(logits, numbers, 0).tolist() == [2] * 5
        # At temperature 1/2 probabilities are squared: 4, 9 and 25 of 38.
        assert pick(
            logits, torch.tensor([0.1, 0.11, 0.34, 0.35, 0.5], dtype=torch.float64), 0.5
        ).tolist() == [0, 1, 1, 2, 2]

    def test_what_cannot_come_is_never_drawn(self):
        logits = torch.tensor([[-float("inf"), 0.0, -float("inf")]]).expand(2, 3)
        assert pick(logits, torch.tensor([0.0, 1 - 1e-16], dtype=torch.float64), 1.0).tolist() == [1, 1]

    def test_numbers_belong_to_name_sample_and_seed(self):
        same = uniforms("p", 3, 0, 10)
        assert (uniforms("p", 3, 0, 20)[:10] == same).all()
        for other in (uniforms("q", 3, 0, 10), uniforms("p", 4, 0, 10), uniforms("p", 3, 1, 10)):
            assert (other != same).all()


class TestCompany:
    def test_a_sample_is_the_same_alone_and_in_any_batch(self, model, monkeypatch):
        draws = [Draw(row, draw) for row in range(4) for draw in range(6)]
        whole = drawn(model, draws, max_new=25)
        assert len({one.text for one in whole}) > 12
        assert [drawn(model, [draw], max_new=25)[0] for draw in draws] == whole
        for number in (1, 5, 24):
            monkeypatch.setattr(sampling, "ROWS", number)
            assert drawn(model, draws[::-1], max_new=25) == whole[::-1]

    def test_other_seeds_and_names_are_other_samples(self, model):
        draws = [Draw(1, draw) for draw in range(8)]
        whole = drawn(model, draws, max_new=25)
        assert drawn(model, draws, max_new=25, seed=1) != whole
        assert drawn(model, draws, max_new=25, names=["a", "b", "c", "d"]) != whole

    def test_ends_and_cuts(self, model):
        assert all(one.num_tokens <= 3 for one in drawn(model, [Draw(0, n) for n in range(9)], max_new=3))
        indifferent(model)
        found = drawn(model, [Draw(0, number) for number in range(600)], max_new=60)
        shares = np.mean([one.ended for one in found])
        assert abs(shares - (1 - (1 - 1 / len(VOCABULARY)) ** 60)) < 0.1
        for one in found:
            assert one.ended or one.num_tokens == 60

    def test_behind_shots_the_next_is_not_begun(self, model):
        indifferent(model)
        model.prefix = "1+1\n# 2\n\n"
        found = drawn(model, [Draw(0, number) for number in range(400)], max_new=60)
        assert all("\n\n" not in one.text for one in found)
        model.prefix = ""
        plain = drawn(model, [Draw(0, number) for number in range(400)], max_new=60)
        cut = [one.text.partition("\n\n")[0] for one in plain]
        assert cut != [one.text for one in plain]
        assert [one.text for one in found] == cut

    def test_numbers_out_of_range(self, model):
        with pytest.raises(ConfigError, match="temperature=-1"):
            drawn(model, [Draw(0, 0)], temperature=-1.0)
        with pytest.raises(ConfigError, match="max_new_tokens=0"):
            sample(model, [np.array([5])], ["p"], [Draw(0, 0)], max_new_tokens=0)


class TestTokenizer:
    def test_every_character_is_a_token(self, tmp_path):
        from transformers import AutoTokenizer

        build_tokenizer().save_pretrained(tmp_path)
        for tokenizer in (build_tokenizer(), AutoTokenizer.from_pretrained(tmp_path)):
            ids = tokenizer(CHARACTERS)["input_ids"]
            assert ids == list(range(3, len(VOCABULARY)))
            assert tokenizer.decode(ids) == CHARACTERS
            assert ids == encode(CHARACTERS).tolist()
            assert tokenizer("é")["input_ids"] == [2]
            assert tokenizer.eos_token_id == VOCABULARY["<end>"]

    def test_corpus(self):
        few, more = rows(40, 128, seed=0), rows(60, 128, seed=0)
        for name in ("tokens_NT", "learned_NT"):
            assert (getattr(more, name)[:40] == getattr(few, name)).all()
        assert (rows(40, 128, seed=1).tokens_NT != few.tokens_NT).any()
        assert few.tokens_NT.min() >= 3

    def test_rows_begin_at_a_problem_and_texts_that_were_cut_come_again(self):
        decode, source = build_tokenizer().decode, texts(0)
        waiting, longest = None, 0
        for row in rows(200, 64, seed=0).tokens_NT:
            left = decode(row.tolist())
            begins = True
            while left:
                text = waiting or next(source)
                whole = text + "\n\n"
                assert left.startswith(whole) or whole.startswith(left)
                cut = len(left) < len(whole)
                longest = max(longest, len(whole) if begins else 0)
                waiting = text if cut and not begins else None
                left, begins = left[len(whole) :], False
        assert longest > 64

    def test_problems_are_read_and_not_learned(self):
        read = rows(50, 256, seed=3)
        marks = dict(zip(VOCABULARY.values(), VOCABULARY, strict=True))
        for tokens, learned in zip(read.tokens_NT.tolist(), read.learned_NT.tolist(), strict=True):
            text = "".join(marks[token] for token in tokens)
            expected = []
            for part in text.split("\n\n"):
                end = "\n" if "\n" in part else "="
                problem = len(part) if end not in part else part.index(end) + 1
                expected += [False] * problem + [True] * (len(part) - problem + 2)
            # A text that the row cuts may end within its problem.
            sure = len(text) - len(text.split("\n\n")[-1])
            assert expected[:sure] == learned[:sure]
