from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.language import CONTEXT, WORDS, inputs_of, save_tiny
from reference.outcome import loss_of, solutions_of, verdicts_of
from surpass.errors import ConfigError, DataError, Stopped
from surpass.losses import find_loss
from surpass.models.adapters import find_adapter
from surpass.models.families import load_model
from surpass.models.outcome import CausalOutcome
from surpass.models.sources import resolve
from surpass.train.forms import form_of
from surpass.train.gradient import Batch, accumulate_gradient
from surpass.train.loop import Labels, Running, label
from surpass.train.outcome import MEAN, fit_outcomes, mean_over_tokens
from surpass.train.recipe import Recipe

KINDS = ("llama", "gpt2")
SOLUTIONS = [
    ("w1 w2 w3", ["w4 w5", "w6"]),
    ("w7", ["w8 w9 w10 w11 w12", "w13 w14", "w15 w16 w17"]),
    ("w1 w2 w3", ["w4 w5", "w6 0"]),
    ("w20 w21 w22 w23 w24 w25 w26 w27 w28", ["1"]),
]
LABELS = [[1.0, 0.0], [0.0, 1.0], [0.3, 0.7], [0.55, 0.45]]
TABLE = solutions_of(SOLUTIONS)
ROWS = np.arange(len(SOLUTIONS))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    folders = {kind: save_tiny(root / kind, kind) for kind in KINDS}
    return folders | {"bert": save_tiny(root / "bert", "bert")}


@pytest.fixture
def load(folders):
    def _load(kind: str, settings: str = "") -> CausalOutcome:
        return load_model(resolve(f"dir:{folders[kind]}{settings}"), TABLE)

    return _load


def labels_of(probs: list[list[float]], weights: list[float] | None = None) -> Labels:
    weight_N = np.ones(len(probs), np.float32) if weights is None else np.array(weights, np.float32)
    return Labels([np.array(row, np.float32) for row in probs], weight_N)


def batch_of(labels: Labels) -> Batch:
    return Batch(ROWS, torch.tensor(np.stack(labels.probs)), torch.from_numpy(labels.weight_N), None)


@pytest.mark.parametrize("kind", KINDS)
class TestAgainstTheTwin:
    def test_the_score_is_the_verdict_behind_the_last_token(self, load, kind):
        model = load(kind)
        examples = model.encode(TABLE)
        found = label(model, examples, [2] * len(SOLUTIONS))
        for place, tokens in enumerate(examples.tokens):
            wanted = verdicts_of(model.body, model.head, tokens.tolist())[-1]
            np.testing.assert_allclose(found[place], wanted, atol=1e-5)

    def test_the_loss_is_a_mean_over_the_tokens_of_the_solution_alone(self, load, kind):
        model = load(kind).train()
        examples = model.encode(TABLE)
        first = 1 if kind == "llama" else 0
        assert examples.start_N.tolist() == [len(problem.split()) + first for problem, _ in SOLUTIONS]
        losses_N = mean_over_tokens(model(examples, ROWS), torch.tensor(LABELS), 0.0).detach()
        for place, tokens in enumerate(examples.tokens):
            verdicts = verdicts_of(model.body, model.head, tokens.tolist())
            wanted = loss_of(verdicts, int(examples.start_N[place]), LABELS[place])
            assert float(losses_N[place]) == pytest.approx(wanted, abs=1e-5)
            assert abs(loss_of(verdicts, 0, LABELS[place]) - wanted) > 1e-3

    def test_weights_and_pieces(self, load, kind):
        labels = labels_of(LABELS, [1.0, 0.5, 0.0, 2.0])
        losses, gradients = [], []
        for micro_batch in (None, 1, 3):
            model = load(kind).train()
            loss = find_loss(MEAN)
            losses.append(
                float(
                    accumulate_gradient(model, model.encode(TABLE), batch_of(labels), loss, 0.0, micro_batch)
                )
            )
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        model = load(kind)
        examples = model.encode(TABLE)
        wanted = 0.0
        for place, (tokens, probs, weight) in enumerate(
            zip(examples.tokens, LABELS, labels.weight_N.tolist(), strict=True)
        ):
            verdicts = verdicts_of(model.body, model.head, tokens.tolist())
            wanted += weight * loss_of(verdicts, int(examples.start_N[place]), probs) / len(SOLUTIONS)
        np.testing.assert_allclose(losses, wanted, atol=1e-5)
        for other in gradients[1:]:
            torch.testing.assert_close(other, gradients[0], atol=1e-5, rtol=1e-4)


class TestEncode:
    def test_every_line_is_ended_and_the_problem_is_apart(self, load, folders):
        from surpass.models.outcome import solution_texts

        assert solution_texts(TABLE)[0] == ("w1 w2 w3\n", "w4 w5\nw6\n")

    @pytest.mark.parametrize("extra", [-1, 0, 1, 3])
    def test_of_long_ones_the_end_is_read_and_counted(self, load, extra):
        model = load("llama")
        room = CONTEXT - 2
        words = [f"w{number % 60}" for number in range(room + extra - 2)]
        examples = model.encode(solutions_of([("w1 w2", [" ".join(words)])]))
        whole = ["w1", "w2", *words]
        assert [WORDS[token] for token in examples.tokens[0]] == ["[bos]", *whole[-room:]]
        assert examples.truncated == (extra > 0)
        assert examples.start_N.tolist() == [1 + max(2 - max(extra, 0), 0)]
        assert torch.isfinite(model.train()(examples, np.array([0]))).all()

    def test_without_steps_there_is_nothing_to_score(self, load):
        model = load("gpt2")
        with pytest.raises(DataError, match="'s1' has no steps"):
            model.encode(solutions_of([SOLUTIONS[0], ("w1", [])]))
        with pytest.raises(DataError, match="'s0' has no tokens"):
            model.encode(solutions_of([("w1", [" "])]))
        with pytest.raises(DataError, match="no column 'problem'"):
            model.encode(TABLE.drop_columns(["problem"]))

    def test_only_causal_models_judge_every_token(self, load):
        with pytest.raises(ConfigError, match="no causal language model"):
            load("bert")
        with pytest.raises(ConfigError, match="leave layer and pooling out"):
            load("gpt2", "(layer=1)")

    def test_texts_are_still_choices(self, folders):
        model = load_model(resolve(f"dir:{folders['gpt2']}"), inputs_of(["w1 w2", "w3"]))
        assert type(model).__name__ == "CausalChoice"


class TestFit:
    RECIPE = Recipe(epochs=15, batch_size=2, learning_rate=3e-3)

    def test_it_learns_what_it_is_shown(self, load):
        model = load("llama")
        form = form_of(TABLE)
        examples = model.encode(TABLE)
        labels = labels_of([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        losses = form.fit(model, examples, labels, loss="xent", recipe=self.RECIPE, seed=0)
        assert losses[-2:].mean() < 0.3 * losses[:2].mean()
        table = form.label(model, examples, TABLE)
        found = np.array([row[1] for row in table["probs"].to_pylist()])
        assert (found[[1, 3]] > 0.8).all()
        assert (found[[0, 2]] < 0.2).all()

    def test_stopped_it_goes_on_to_the_same_bits(self, load, tmp_path):
        recipe = Recipe(epochs=3, batch_size=2, learning_rate=1e-3)
        straight = load("gpt2")
        wanted = fit_outcomes(straight, straight.encode(TABLE), labels_of(LABELS), recipe=recipe, seed=3)
        asked = iter([False, False, True])
        running = Running(checkpoint=tmp_path / "state", stop=lambda: next(asked, False))
        for _ in range(2):
            model = load("gpt2")
            try:
                found = fit_outcomes(
                    model, model.encode(TABLE), labels_of(LABELS), recipe=recipe, seed=3, running=running
                )
            except Stopped:
                continue
        assert torch.equal(found, wanted)
        for name, value in model.state_dict().items():
            assert torch.equal(value, straight.state_dict()[name]), name

    def test_what_it_cannot(self, load):
        model = load("gpt2")
        examples = model.encode(TABLE)
        with pytest.raises(ConfigError, match="loss confidence is for one verdict"):
            fit_outcomes(model, examples, labels_of(LABELS), loss="confidence", recipe=self.RECIPE, seed=0)
        find_adapter("frozen")(model)
        with pytest.raises(ConfigError, match="a head alone cannot learn"):
            fit_outcomes(model, examples, labels_of(LABELS), recipe=self.RECIPE, seed=0)
