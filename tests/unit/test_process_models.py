"""Models that judge steps: one pass over a solution gives what a pass for each prefix gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reference.language import save_tiny
from surpass.errors import ConfigError, DataError
from surpass.models.families import load_model
from surpass.models.names import ReadOut
from surpass.models.sources import resolve
from surpass.reasoning.solutions import Solution
from surpass.tasks.process_table import step_tables
from surpass.train.gradient import accumulate_gradient
from surpass.train.loop import Labels, fit
from surpass.train.order import batches
from surpass.train.recipe import Recipe

WORDS = [f"w{number}" for number in range(60)]


def solutions(count=7, *, most=6, words=5, seed=0):
    random = np.random.default_rng(seed)

    def text(longest):
        return " ".join(random.choice(WORDS, random.integers(1, longest + 1)))

    return [
        Solution(
            problem_id=str(number),
            problem=text(2 * words),
            steps=tuple(text(words) for _ in range(random.integers(1, most + 1))),
        )
        for number in range(count)
    ]


def table(found, *, keep=lambda _number, _step: True, num_classes=2):
    steps = [
        (one, step)
        for number, one in enumerate(found)
        for step in range(len(one.steps))
        if keep(number, step)
    ]
    return step_tables(steps, [0] * len(steps), num_classes=num_classes).inputs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    kinds = ("llama", "gpt2", "bert", "mpnet")
    return {kind: save_tiny(tmp_path_factory.mktemp(kind), kind) for kind in kinds}


def model_of(folder, inputs, settings=""):
    torch.manual_seed(0)
    return load_model(resolve(f"dir:{folder}{settings}"), inputs).eval()


def by_prefix(model, found, how):
    """The slow twin: each prefix is a text of its own, cut from its front, and read without others."""
    before, behind = model.reading.frame
    states = []
    for one in found:
        for step in range(len(one.steps)):
            pieces = [one.problem, *one.steps[: step + 1]]
            ids = [model.tokenizer(piece + "\n", add_special_tokens=False)["input_ids"] for piece in pieces]
            whole = [token for piece in ids for token in piece][-model.reading.longest :]
            tokens = torch.tensor([[*before, *whole, *behind]])
            more = model._more(tokens)
            with torch.no_grad():
                given = model.body(input_ids=tokens, attention_mask=torch.ones_like(tokens), **more)
            end = len(before) + len(whole)
            start = max(end - len(ids[-1]), len(before))
            own = given.last_hidden_state[0]
            states.append(
                {"last": own[end - 1], "mean": own[start:end].mean(0), "first": own[start]}[how]
                if how != "cls"
                else own[0]
            )
    return torch.stack(states)


@pytest.mark.parametrize("settings", ["", "(tokens=12)"], ids=["whole", "cut"])
@pytest.mark.parametrize(
    ("kind", "how"), [("llama", "last"), ("gpt2", "last"), ("bert", "cls"), ("mpnet", "cls")]
)
def test_one_pass_gives_what_each_prefix_gives_by_itself(folders, kind, how, settings):
    found = solutions()
    inputs = table(found)
    model = model_of(folders[kind], inputs, settings)
    examples = model.encode(inputs)
    with torch.no_grad():
        states = model.states(examples, np.arange(inputs.num_rows))
    expected = by_prefix(model, found, how)
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
    lengths = [
        len(" ".join([one.problem, *one.steps[: step + 1]]).split())
        for one in found
        for step in range(len(one.steps))
    ]
    assert examples.truncated == sum(length > model.reading.longest for length in lengths)
    assert (examples.truncated > 0) == bool(settings)


def test_a_causal_model_reads_a_solution_once_and_an_encoder_each_prefix(folders):
    found = solutions()
    inputs = table(found)
    causal, encoder = (model_of(folders[kind], inputs).encode(inputs) for kind in ("llama", "bert"))
    assert len(causal.tokens) == len(found)
    assert causal.group_N.tolist() == causal.text_N.tolist()
    assert len(encoder.tokens) == inputs.num_rows
    assert encoder.group_N is None


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_states_are_pooled_over_the_tokens_of_the_step(folders, kind, pooling):
    found = solutions(4)
    inputs = table(found)
    model = model_of(folders[kind], inputs, f"(pooling={pooling})")
    with torch.no_grad():
        states = model.states(model.encode(inputs), np.arange(inputs.num_rows))
    how = "cls" if (kind, pooling) == ("bert", "first") else pooling
    torch.testing.assert_close(states, by_prefix(model, found, how), atol=1e-5, rtol=1e-5)


def test_states_at_layers_come_in_one_pass(folders):
    inputs = table(solutions(3))
    model = model_of(folders["llama"], inputs)
    examples, rows = model.encode(inputs), np.arange(inputs.num_rows)
    with torch.no_grad():
        both = model.states_at(examples, rows, [ReadOut(1), ReadOut(None, "mean")])
        alone = [model.states_at(examples, rows, [one])[0] for one in (ReadOut(1), ReadOut(None, "mean"))]
    for given, expected in zip(both, alone, strict=True):
        torch.testing.assert_close(given, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_step_is_the_same_whatever_other_rows_there_are_and_in_any_order(folders, kind):
    found = solutions()
    whole = table(found)
    model = model_of(folders[kind], whole)
    with torch.no_grad():
        states = model.states(model.encode(whole), np.arange(whole.num_rows))
    rows = np.random.default_rng(1).permutation(whole.num_rows)[: whole.num_rows // 2]
    some = whole.take(rows)
    examples = model.encode(some)
    with torch.no_grad():
        given = model.states(examples, np.arange(len(rows)))
        mixed = model.states(examples, np.arange(len(rows))[::-1].copy()).flip(0)
    torch.testing.assert_close(given, states[rows], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed, given, atol=1e-5, rtol=1e-5)


def test_later_steps_change_nothing(folders):
    found = solutions(5, most=5)
    shorter = [Solution(problem_id=one.problem_id, problem=one.problem, steps=one.steps[:1]) for one in found]
    for kind in ("gpt2", "mpnet"):
        states = []
        for set_ in (found, shorter):
            inputs = table(set_)
            model = model_of(folders[kind], inputs)
            (first,) = np.nonzero(inputs["step"].to_numpy() == 0)
            with torch.no_grad():
                states.append(model.states(model.encode(inputs), first))
        torch.testing.assert_close(*states, atol=1e-5, rtol=1e-5)


def test_passes_hold_every_step_once_and_texts_whole(folders):
    inputs = table(solutions(300, most=4, words=2))
    model = model_of(folders["llama"], inputs)
    examples = model.encode(inputs)
    passes = model.passes(examples, inputs.num_rows)
    assert sorted(np.concatenate(passes).tolist()) == list(range(inputs.num_rows))
    assert len(passes) > 1
    texts = [set(examples.text_N[rows].tolist()) for rows in passes]
    assert sum(map(len, texts)) == len(set().union(*texts))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_causal_head_begins_as_the_unembedding_and_an_encoders_is_new(folders, num_classes):
    inputs = table(solutions(2), num_classes=num_classes)
    model = model_of(folders["llama"], inputs)
    expected = model._causal[0].get_output_embeddings().weight[list(model.answers.tokens)]
    torch.testing.assert_close(model.head.weight, expected)
    assert model(model.encode(inputs), np.arange(inputs.num_rows)).shape == (inputs.num_rows, num_classes)
    assert model_of(folders["bert"], inputs).initial_head() is None


def test_the_gradient_of_a_batch_is_that_of_its_steps_one_by_one(folders):
    from surpass.losses import find_loss
    from surpass.train.loop import _Labelled

    inputs = table(solutions(4))
    rows = np.arange(inputs.num_rows)
    random = np.random.default_rng(0)
    probs = random.dirichlet([1, 1], len(rows)).astype(np.float32)
    labels = Labels(list(probs), np.ones(len(rows), np.float32))
    gradients = []
    for micro_batch in (None, 1):
        model = model_of(folders["llama"], inputs)
        examples = model.encode(inputs)
        batch = _Labelled(labels, None).batch(rows)
        accumulate_gradient(model, examples, batch, find_loss("xent"), 0.0, micro_batch)
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(value, gradients[1][name], atol=1e-4, rtol=1e-3)


def test_batches_have_whole_solutions_and_every_step_once_an_epoch():
    random = np.random.default_rng(0)
    for count, size in ((1, 1), (5, 3), (40, 16), (40, 1), (3, 100)):
        group_N = np.repeat(np.arange(count), random.integers(1, 7, count))
        recipe = Recipe(epochs=2, batch_size=size)
        found = list(batches(len(group_N), recipe, 0, 0, group_N))
        assert len(found) % 2 == 0
        half = len(found) // 2
        assert half == min(-(-len(group_N) // size), count)
        for epoch in (found[:half], found[half:]):
            assert sorted(np.concatenate(epoch).tolist()) == list(range(len(group_N)))
            sizes = [len(set(group_N[rows].tolist())) for rows in epoch]
            assert max(sizes) - min(sizes) <= 1
            assert sum(sizes) == count
        for start in range(len(found)):
            rest = list(batches(len(group_N), recipe, 0, start, group_N))
            assert all(map(np.array_equal, rest, found[start:]))
        if count > 3:
            other = list(batches(len(group_N), recipe, 1, 0, group_N))
            assert not all(map(np.array_equal, found, other))


def test_a_fit_learns_which_steps_are_wrong(folders):
    """A word says whether a step is wrong, and the model is shown it."""
    found = [
        Solution(
            problem_id=str(n),
            problem=f"w1 w{20 + n}",
            steps=tuple(f"w3 w{5 + (n + s) % 2}" for s in range(3)),
        )
        for n in range(12)
    ]
    inputs = table(found)
    wrong_N = np.array([text.endswith("w5") for text in inputs["text"].to_pylist()])
    probs = [np.array([w, 1 - w], np.float32) for w in wrong_N.astype(np.float32)]
    model = model_of(folders["llama"], inputs)
    examples = model.encode(inputs)
    recipe = Recipe(epochs=8, batch_size=9, learning_rate=3e-3)
    losses = fit(
        model, examples, Labels(probs, np.ones(len(probs), np.float32)), loss="xent", recipe=recipe, seed=0
    )
    assert len(losses) == 8 * 4
    assert losses[-1] < 0.1 < losses[0]


def test_what_cannot_be_read_is_named(folders):
    inputs = table(solutions(2))
    model = model_of(folders["llama"], inputs)
    with pytest.raises(DataError, match="no column 'problem'"):
        model.encode(inputs.drop_columns("problem"))
    with pytest.raises(ConfigError, match="hints"):
        model.encode(inputs.append_column("hint", [[[0.5, 0.5]] * inputs.num_rows]))
    other = inputs.drop_columns("problem").append_column("problem", [["w1"] + ["w2"] * (inputs.num_rows - 1)])
    with pytest.raises(DataError, match="differ in its problem"):
        model.encode(other)
    blank = inputs.drop_columns("text").append_column("text", [[" ", *inputs["text"].to_pylist()[1:]]])
    with pytest.raises(DataError, match=f"step '{inputs['id'][0].as_py()}' has no token"):
        model.encode(blank.slice(0, 1))
    with pytest.raises(ConfigError, match="is no language model"):
        load_model(resolve("linear:all"), inputs)
