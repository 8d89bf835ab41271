from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from reference.studies import CHESS
from surpass.models.moves import MoveChoice, MoveExamples, chosen_planes, planes_of
from surpass.models.planes import attacks, decode, input_planes
from surpass.models.sources import resolve

NUM_EXAMPLES = 60


@pytest.fixture(scope="module")
def inputs() -> pa.Table:
    return CHESS.examples(part="validation", size=NUM_EXAMPLES, seed=0).inputs


@pytest.fixture(scope="module")
def model() -> MoveChoice:
    return MoveChoice.load(resolve("ladder:chess-1")).eval()


def same(first: MoveExamples, second: MoveExamples) -> bool:
    return all(map(np.array_equal, first, second))


def boards_of(inputs: pa.Table) -> torch.Tensor:
    packed = b"".join(inputs["board"].to_pylist())
    return torch.from_numpy(np.frombuffer(packed, np.uint8).reshape(-1, 34).copy())


def seen_of(boards_NB: torch.Tensor) -> torch.Tensor:
    """What a policy sees, without the detour through half precision."""
    position = decode(boards_NB)
    return input_planes(position, attacks(position))


class TestEncode:
    def test_what_the_table_says(self, inputs):
        examples = MoveChoice.encode(inputs)
        assert torch.equal(chosen_planes(examples, np.arange(NUM_EXAMPLES)), seen_of(boards_of(inputs)))
        for place, row in enumerate(inputs.to_pylist()):
            count = examples.num_candidates_N[place]
            assert examples.moves_NC[place, :count].tolist() == row["candidates"]
            assert (examples.moves_NC[place, count:] == -1).all()

    @pytest.mark.parametrize(("start", "length"), [(0, 1), (1, 1), (7, 20), (59, 1), (60, 0)])
    def test_a_slice(self, inputs, start, length):
        copied = pa.Table.from_pylist(inputs.slice(start, length).to_pylist(), inputs.schema)
        assert same(MoveChoice.encode(inputs.slice(start, length)), MoveChoice.encode(copied))

    def test_pieces(self, inputs):
        pieces = pa.concat_tables([inputs.slice(7, 3), inputs.slice(0, 0), inputs.slice(2, 30)])
        copied = pa.Table.from_pylist(pieces.to_pylist(), inputs.schema)
        assert same(MoveChoice.encode(pieces), MoveChoice.encode(copied))

    def test_no_examples(self, inputs):
        for empty in (inputs.slice(0, 0), inputs.schema.empty_table()):
            examples = MoveChoice.encode(empty)
            assert examples.planes_NRFP.shape == (0, 8, 8, 31)
            assert len(examples.num_candidates_N) == examples.moves_NC.size == 0

    def test_longer_buffers_than_needed(self, inputs):
        """Arrow may pad buffers, for one in what it reads from a stream."""
        boards = inputs["board"].combine_chunks()
        longer = pa.py_buffer(boards.buffers()[1].to_pybytes() + bytes(30))
        array = pa.FixedSizeBinaryArray.from_buffers(boards.type, len(boards), [None, longer])
        padded_table = inputs.set_column(inputs.schema.get_field_index("board"), "board", array)
        assert same(MoveChoice.encode(padded_table), MoveChoice.encode(inputs))


class TestPlanes:
    @pytest.mark.parametrize("num_examples", [0, 1, 7, 8, 9, NUM_EXAMPLES])
    def test_half_precision_holds_them_exactly(self, inputs, monkeypatch, num_examples):
        monkeypatch.setattr("surpass.models.moves._DECODED_AT_ONCE", 8)
        boards_NB = boards_of(inputs)[:num_examples]
        planes_NRFP = planes_of(boards_NB)
        assert planes_NRFP.dtype == torch.float16
        assert torch.equal(planes_NRFP.float().permute(0, 3, 1, 2), seen_of(boards_NB))

    @pytest.mark.parametrize("rows", [[0], [5, 3, 59], [7, 7], []])
    def test_of_some_rows_in_the_layout_of_convolutions(self, inputs, rows):
        chosen = chosen_planes(MoveChoice.encode(inputs), np.array(rows, np.int64))
        assert torch.equal(chosen, seen_of(boards_of(inputs))[rows])
        assert chosen.dtype == torch.float32
        assert chosen.is_contiguous(memory_format=torch.channels_last)


class TestForward:
    @pytest.mark.parametrize("rows", [[0], [5, 3, 59], list(range(NUM_EXAMPLES))])
    def test_policy_logits_gathered_one_by_one(self, model, inputs, rows):
        examples = MoveChoice.encode(inputs)
        with torch.no_grad():
            logits_NC = model(examples, np.array(rows))
            for row, logits_C in zip(rows, logits_NC, strict=True):
                policy_M = model.policy(boards_of(inputs)[[row]])[0]
                candidates = inputs["candidates"][row].as_py()
                alone = [policy_M[candidate].item() for candidate in candidates]
                np.testing.assert_allclose(logits_C[: len(candidates)], alone, atol=2e-4)
                assert (logits_C[len(candidates) :] == -torch.inf).all()
        assert logits_NC.shape == (len(rows), examples.num_candidates_N[rows].max())

    def test_gradient_is_finite_in_spite_of_padding(self, model, inputs):
        examples = MoveChoice.encode(inputs)
        logits_NC = model(examples, np.arange(8))
        assert logits_NC.isinf().any()
        torch.log_softmax(logits_NC, 1)[:, 0].sum().backward()
        gradients = [value.grad for value in model.parameters()]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
        model.zero_grad()


class TestHead:
    def test_everything_else_lies_below_it(self, model):
        head = {id(parameter) for parameter in model.head_parameters()}
        below = {name for name, value in model.named_parameters() if id(value) not in head}
        layers = {"stem", "square_bias", "blocks"}
        assert {name.split(".")[1] for name in below} == layers
        assert len(head) == 6

    @pytest.mark.parametrize("rows", [[0], [5, 3, 59], list(range(NUM_EXAMPLES))])
    def test_features_are_means_over_the_squares(self, model, inputs, rows):
        with torch.no_grad():
            features_ND = model.embed(MoveChoice.encode(inputs), np.array(rows))
            trunk = model.policy.trunk(seen_of(boards_of(inputs)[rows]))
        assert features_ND.shape == (len(rows), 4)
        for row, squares_CRF in zip(features_ND, trunk, strict=True):
            slow = [sum(squares_C.flatten().tolist()) / 64 for squares_C in squares_CRF]
            np.testing.assert_allclose(row, slow, atol=1e-5)

    def test_moving_the_head_leaves_the_features(self, inputs):
        model, examples, rows = (
            MoveChoice.load(resolve("ladder:chess-1")),
            MoveChoice.encode(inputs),
            np.arange(5),
        )
        with torch.no_grad():
            before, logits = model.embed(examples, rows), model(examples, rows)
            for parameter in model.head_parameters():
                parameter.add_(1.0)
            assert torch.equal(model.embed(examples, rows), before)
            assert not torch.equal(model(examples, rows), logits)


def test_better_than_chance(model, inputs):
    """The weights are those of a player, in the right order: a transposed board would show here."""
    truth_N = CHESS.examples(part="validation", size=NUM_EXAMPLES, seed=0).truth["truth"].to_numpy()
    with torch.no_grad():
        probs_NC = torch.softmax(model(MoveChoice.encode(inputs), np.arange(NUM_EXAMPLES)), 1).numpy()
    chance = np.mean([1 / len(row) for row in inputs["candidates"].to_pylist()])
    assert probs_NC[np.arange(NUM_EXAMPLES), truth_N].mean() > 1.5 * chance
