import chess
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from reference.random_games import random_boards
from surpass.boards import FIRST_UNDERPROMOTION, NUM_MOVES, UNDERPROMOTIONS, move_index, pack_board
from surpass.models import winograd
from surpass.models.planes import NUM_PLANES, attacks, decode, input_planes
from surpass.models.policy import Policy, PolicyConfig, config_metadata, fold
from surpass.train.adamw import EPSILON

CONFIG = PolicyConfig(channels=6, blocks=2, key_dim=5)


@pytest.fixture(scope="module")
def boards_NB():
    packed = b"".join(map(pack_board, random_boards(range(5))))
    return torch.from_numpy(np.frombuffer(packed, np.uint8).reshape(-1, 34).copy())


@pytest.fixture(scope="module")
def trained(boards_NB):
    """A normalised policy whose statistics and scales have left their beginnings."""
    torch.manual_seed(0)
    policy = Policy(CONFIG, normalised=True).train()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.01)
    moves_N = torch.randint(0, NUM_MOVES, (len(boards_NB),))
    for _ in range(8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(policy(boards_NB), moves_N).backward()
        optimizer.step()
    return policy.eval()


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_folding_keeps_the_function(trained, boards_NB):
    folded = fold(trained)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    close(folded(boards_NB), trained(boards_NB))
    assert (folded.train()(boards_NB) - trained(boards_NB)).abs().max() < 1e-5
    assert trained(boards_NB).std() > 0.05


def test_folding_twice_is_refused(trained):
    with pytest.raises(ValueError, match="folded already"):
        fold(fold(trained))


def test_names_of_the_weights_file(trained):
    names = {"square_bias"}
    for layer in ("stem", "origin", "target", "underpromotion"):
        names |= {f"{layer}.weight", f"{layer}.bias"}
    for place in range(CONFIG.blocks):
        names |= {f"blocks.{place}.conv{k}.{kind}" for k in (1, 2) for kind in ("weight", "bias")}
    assert set(fold(trained).state_dict()) == names


@torch.no_grad()
def test_company_changes_nothing(trained, boards_NB):
    folded = fold(trained).train()
    logits_NM = folded(boards_NB)
    order = torch.randperm(len(boards_NB), generator=torch.Generator().manual_seed(1))
    close(folded(boards_NB[order]), logits_NM[order])
    for size in (1, 4, 31):
        close(torch.cat([folded(part) for part in boards_NB.split(size)]), logits_NM)
    assert folded(boards_NB[:0]).shape == (0, NUM_MOVES)


def test_gradient_of_an_example_does_not_depend_on_company(trained, boards_NB):
    def gradients(part):
        folded = fold(trained)
        folded(part).logsumexp(1).sum().backward()
        return [value.grad for value in folded.parameters()]

    alone = [sum(parts) for parts in zip(*(gradients(boards_NB[i : i + 1]) for i in range(4)), strict=True)]
    for one_by_one, together in zip(alone, gradients(boards_NB[:4]), strict=True):
        torch.testing.assert_close(one_by_one, together, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def readable():
    """A policy whose logits can be told by hand: features are a square's number and its mirror's."""
    policy = Policy(PolicyConfig(channels=2, blocks=0, key_dim=1))
    squares = torch.arange(64.0)
    with torch.no_grad():
        for value in policy.parameters():
            value.zero_()
        policy.square_bias[0, 0], policy.square_bias[0, 1] = squares.view(8, 8), (63 - squares).view(8, 8)
        policy.origin.weight[0, 0] = 1.0
        policy.target.weight[0, 1] = 1.0
        policy.underpromotion.weight[:, 0] = 1.0
        policy.underpromotion.bias.copy_(1000.0 * torch.arange(9))
    return policy


@torch.no_grad()
def test_plain_moves_are_origin_times_64_plus_target(readable):
    logits_M = readable(torch.zeros(1, 34, dtype=torch.uint8))[0]
    for origin, target in (
        (chess.A1, chess.H8),
        (chess.H8, chess.A1),
        (chess.E2, chess.E4),
        (chess.B7, chess.B8),
    ):
        number = move_index(chess.Move(origin, target), chess.WHITE)
        assert logits_M[number] == origin * (63 - target)


@torch.no_grad()
def test_underpromotions_are_those_of_their_square_and_step(readable):
    logits_M = readable(torch.zeros(1, 34, dtype=torch.uint8))[0]
    for place, piece in enumerate(UNDERPROMOTIONS):
        for file in range(8):
            for target in range(max(0, file - 1), min(8, file + 2)):
                move = chess.Move(chess.square(file, 6), chess.square(target, 7), piece)
                expected = 1000.0 * (3 * place + target - file + 1) + move.from_square
                assert logits_M[move_index(move, chess.WHITE)] == expected


@pytest.mark.parametrize("config", [CONFIG, PolicyConfig(8, 1, 8), PolicyConfig(5, 0), PolicyConfig(64, 8)])
def test_parameters(config):
    width, key = config.channels, config.key_dim
    stem = NUM_PLANES * width * 9 + width
    trunk = config.blocks * 2 * (width * width * 9 + width)
    head = 2 * (width * key + key) + width * 9 + 9
    assert sum(value.numel() for value in Policy(config).parameters()) == stem + 64 * width + trunk + head


@pytest.mark.parametrize("config", [CONFIG, PolicyConfig(8, 1, 8), PolicyConfig(5, 0), PolicyConfig(64, 8)])
def test_flops(config):
    """Every multiply-add of convolutions, keys and products of keys; underpromotions are left out."""
    policy, total = Policy(config), 0
    for module in policy.modules():
        if isinstance(module, nn.Conv2d):
            total += 64 * module.in_channels * module.out_channels * 9
    for linear in (policy.origin, policy.target):
        total += 64 * linear.in_features * linear.out_features
    total += 64 * 64 * config.key_dim
    assert config.flops == 2 * total
    left_out = 2 * 8 * policy.underpromotion.in_features * policy.underpromotion.out_features
    assert left_out < 0.01 * config.flops


@torch.no_grad()
def test_trunk_and_head_are_the_policy(trained, boards_NB):
    folded = fold(trained)
    position = decode(boards_NB)
    seen = attacks(position)
    features = folded.trunk(input_planes(position, seen))
    assert features.shape == (len(boards_NB), CONFIG.channels, 8, 8)
    assert (features >= 0).all()
    assert torch.equal(folded.head(features), folded(boards_NB))
    assert torch.equal(folded.score(position, seen), folded(boards_NB))


def test_folding_leaves_the_random_generator_alone(trained):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fold(trained)
    assert torch.equal(torch.rand(3), expected)


def test_config_is_rebuilt_from_metadata():
    assert PolicyConfig(**config_metadata(CONFIG)) == CONFIG


def moves_of(boards_NB, seed=0):
    """Moves at random and of every kind, with rows of unequal length."""
    random = torch.Generator().manual_seed(seed)
    moves_NL = torch.randint(0, NUM_MOVES, (len(boards_NB), 30), generator=random)
    moves_NL[:, :3] = torch.tensor([0, FIRST_UNDERPROMOTION - 1, FIRST_UNDERPROMOTION])
    moves_NL[:, 3:9] = torch.randint(FIRST_UNDERPROMOTION, NUM_MOVES, (len(boards_NB), 6), generator=random)
    ends_N1 = torch.randint(1, 31, (len(boards_NB), 1), generator=random)
    return torch.where(torch.arange(30) < ends_N1, moves_NL, -1)


class TestChosen:
    """Against the head that scores every move number."""

    def logits(self, policy, boards_NB, moves_NL):
        position = decode(boards_NB)
        trunk = policy.trunk(input_planes(position, attacks(position)))
        plain_NM = policy.head(trunk)
        plain_NL = plain_NM.gather(1, moves_NL.clamp(min=0)).masked_fill(moves_NL < 0, -torch.inf)
        return policy.chosen(trunk, moves_NL), plain_NL

    @torch.no_grad()
    def test_every_move_number(self, trained, boards_NB):
        policy, some_NB = fold(trained), boards_NB[:3]
        every_NL = torch.arange(NUM_MOVES).expand(3, -1)
        position = decode(some_NB)
        trunk = policy.trunk(input_planes(position, attacks(position)))
        close(policy.chosen(trunk, every_NL), policy.head(trunk))

    @torch.no_grad()
    @pytest.mark.parametrize("count", [0, 1, 2, 40])
    def test_rows_of_unequal_length(self, trained, boards_NB, count):
        close(*self.logits(fold(trained), boards_NB[:count], moves_of(boards_NB[:count])))

    def test_gradients(self, trained, boards_NB):
        policy, moves_NL = fold(trained), moves_of(boards_NB[:40])
        ours, plain = (
            torch.autograd.grad(
                logits_NL.log_softmax(1)[:, 0].sum(), list(policy.parameters()), retain_graph=True
            )
            for logits_NL in self.logits(policy, boards_NB[:40], moves_NL)
        )
        for mine, theirs in zip(ours, plain, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)

    def test_without_underpromotions_their_weights_have_no_gradient_but_zero(self, trained, boards_NB):
        """Not None: the optimizer then still lets them decay, as it does with all logits."""
        policy, moves_NL = fold(trained), torch.tensor([[8, 9, -1], [1, 2, 3]])
        ours, _ = self.logits(policy, boards_NB[:2], moves_NL)
        ours.log_softmax(1)[:, 0].sum().backward()
        assert policy.underpromotion.weight.grad is not None
        assert not policy.underpromotion.weight.grad.any()

    def test_a_second_gradient_is_refused(self, trained, boards_NB):
        policy, moves_NL = fold(trained), moves_of(boards_NB[:2])
        ours, _ = self.logits(policy, boards_NB[:2], moves_NL)
        total = ours.log_softmax(1)[:, 0].sum()
        total.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="score them again"):
            total.backward()

    @pytest.mark.parametrize("layer", ["origin", "target", "underpromotion"])
    def test_hooks_of_the_head_are_called(self, trained, boards_NB, layer):
        policy, moves_NL, called = fold(trained), moves_of(boards_NB[:5]), []
        handle = getattr(policy, layer).register_forward_hook(lambda *_: called.append(layer))
        close(*self.logits(policy, boards_NB[:5], moves_NL))
        assert called == [layer, layer]  # by all logits, and by those of chosen moves
        handle.remove()


class TestPassed:
    """With gradients that are written down, against trunk and head operation by operation."""

    @pytest.fixture(autouse=True, params=["winograd", "direct"])
    def convolutions(self, request, monkeypatch):
        monkeypatch.setattr(winograd, "pays", lambda: request.param == "winograd")

    def planes(self, boards_NB):
        position = decode(boards_NB)
        return input_planes(position, attacks(position))

    def both(self, policy, boards_NB, moves_NL, slopes_NL):
        """Logits and gradients of the weights that want some."""
        found = []
        for written in (True, False):
            policy.zero_grad()
            planes = self.planes(boards_NB)
            if written:
                passed = policy.passed(planes, moves_NL)
                logits_NL, backward = passed.logits_NL, passed.backward
            else:
                logits_NM = policy.head(policy.trunk(planes))
                logits_NL = logits_NM.gather(1, moves_NL.clamp(min=0)).masked_fill(moves_NL < 0, -torch.inf)
                backward = logits_NL.masked_fill(moves_NL < 0, 0.0).backward
            backward(slopes_NL.clone())
            gradients = {name: value.grad for name, value in policy.named_parameters()}
            found.append(gradients | {"logits": logits_NL.detach()})
        return found

    @pytest.mark.parametrize("config", [CONFIG, PolicyConfig(8, 1, 8), PolicyConfig(5, 0)])
    @pytest.mark.parametrize("count", [1, 2, 40])
    def test_logits_and_gradients(self, boards_NB, config, count):
        torch.manual_seed(0)
        policy, moves_NL = Policy(config), moves_of(boards_NB[:count])
        if count > 2:
            assert (moves_NL >= FIRST_UNDERPROMOTION).any()
        ours, plain = self.both(policy, boards_NB[:count], moves_NL, torch.randn(moves_NL.shape))
        for name, expected in plain.items():
            torch.testing.assert_close(ours[name], expected, rtol=1e-5, atol=1e-5, msg=name)
        assert all(plain[name].any() for name in plain if "under" not in name)

    def test_what_sees_nothing_has_no_gradient(self, boards_NB):
        """Not even as large as rounding of what others have, which AdamW would bring to their size."""
        torch.manual_seed(0)
        policy, moves_NL = Policy(CONFIG), moves_of(boards_NB[:2])
        ours, plain = self.both(policy, boards_NB[:2], moves_NL, torch.randn(moves_NL.shape))
        nothing = plain["stem.weight"] == 0
        alone = nothing.any((2, 3)) & ~nothing.all((2, 3))  # of planes that other weights do see
        assert alone.any()
        assert float(ours["stem.weight"][nothing].abs().max()) < EPSILON / 10

    def test_gradients_lie_in_memory_as_the_weights_do(self, boards_NB):
        """The optimizer takes both number by number."""
        for layout in (torch.contiguous_format, torch.channels_last):
            policy, moves_NL = Policy(CONFIG).to(memory_format=layout), moves_of(boards_NB[:3])
            ours, plain = self.both(policy, boards_NB[:3], moves_NL, torch.randn(moves_NL.shape))
            for name, value in policy.named_parameters():
                assert ours[name].stride() == value.stride(), name
                torch.testing.assert_close(ours[name], plain[name], rtol=1e-5, atol=1e-5)

    def test_they_are_added(self, boards_NB):
        policy, moves_NL = Policy(CONFIG), moves_of(boards_NB[:4])
        slopes_NL = torch.randn(moves_NL.shape)
        once, _ = self.both(policy, boards_NB[:4], moves_NL, slopes_NL)
        policy.zero_grad()
        for _ in range(2):
            policy.passed(self.planes(boards_NB[:4]), moves_NL).backward(slopes_NL.clone())
        for name, value in policy.named_parameters():
            torch.testing.assert_close(value.grad, 2 * once[name])

    @torch.no_grad()
    @pytest.mark.parametrize("near", [winograd._NEAR, 24, 1])
    def test_moves_without_gradients(self, trained, boards_NB, monkeypatch, near):
        """Of all positions at once, of some at a time, of each alone."""
        monkeypatch.setattr(winograd, "_NEAR", near)
        policy, moves_NL = fold(trained), moves_of(boards_NB[:40])
        for count in (40, 0):
            planes = self.planes(boards_NB[:count])
            trunk = policy.trunk(planes)
            close(policy.features(planes), trunk)
            assert policy.features(planes).stride() == trunk.stride() or not count
            close(policy.moves(planes, moves_NL[:count]), policy.chosen(trunk, moves_NL[:count]))

    def test_moves_with_gradients_are_autograds(self, boards_NB):
        policy, planes, moves_NL = Policy(CONFIG), self.planes(boards_NB[:5]), moves_of(boards_NB[:5])
        moved = policy.moves(planes, moves_NL)
        assert moved.requires_grad
        assert torch.equal(moved, policy.chosen(policy.trunk(planes), moves_NL))

    def test_norms_hooks_and_computed_weights_are_left_to_autograd(self, trained, boards_NB):
        planes, moves_NL = self.planes(boards_NB[:5]), moves_of(boards_NB[:5])
        policy = fold(trained)
        assert trained.passed(planes, moves_NL) is None
        assert policy.passed(planes, moves_NL) is not None
        handle = policy.blocks[0].conv2.register_forward_hook(lambda *_: None)
        assert policy.passed(planes, moves_NL) is None
        handle.remove()
        assert policy.passed(planes, moves_NL) is not None
        parametrize.register_parametrization(policy.blocks[0].conv1, "weight", torch.nn.Identity())
        assert policy.passed(planes, moves_NL) is None
        with torch.no_grad():
            close(policy.moves(planes, moves_NL), policy.chosen(policy.trunk(planes), moves_NL))
            assert torch.equal(policy.features(planes), policy.trunk(planes))
        # Now the weight comes behind the bias.
        parametrize.remove_parametrizations(policy.blocks[0].conv1, "weight")
        assert policy.passed(planes, moves_NL) is not None
        with torch.no_grad():
            close(policy.moves(planes, moves_NL), policy.chosen(policy.trunk(planes), moves_NL))

    @pytest.mark.parametrize("frozen", ["stem", "blocks.0", "blocks", "all but the stem"])
    def test_layers_that_stand_still(self, boards_NB, frozen):
        """They have no gradient, and what lies above has the same as ever."""
        torch.manual_seed(0)
        policy, moves_NL = Policy(CONFIG), moves_of(boards_NB[:9])
        lowest = {"stem": 0, "blocks.0": 1, "blocks": 2}.get(frozen, -1)
        for name, value in policy.named_parameters():
            head = name.startswith(("origin", "target", "underpromotion"))
            layer = 99 if head else int(name[7]) + 1 if name.startswith("blocks") else 0
            value.requires_grad_(layer > lowest if lowest >= 0 else layer == 0)
        ours, plain = self.both(policy, boards_NB[:9], moves_NL, torch.randn(moves_NL.shape))
        for name, value in policy.named_parameters():
            assert (ours[name] is None) == (plain[name] is None) == (not value.requires_grad), name
            if value.requires_grad:
                torch.testing.assert_close(ours[name], plain[name], rtol=1e-5, atol=1e-5)

    def test_a_second_gradient_is_refused(self, boards_NB):
        moves_NL = moves_of(boards_NB[:2])
        passed = Policy(CONFIG).passed(self.planes(boards_NB[:2]), moves_NL)
        passed.backward(torch.ones(moves_NL.shape))
        with pytest.raises(RuntimeError, match="go through it again"):
            passed.backward(torch.ones(moves_NL.shape))

    def test_without_underpromotions_their_weights_have_no_gradient_but_zero(self, boards_NB):
        policy, moves_NL = Policy(CONFIG), torch.tensor([[8, 9, 1], [1, 2, 3]])
        policy.passed(self.planes(boards_NB[:2]), moves_NL).backward(torch.randn(2, 3))
        assert policy.underpromotion.weight.grad is not None
        assert not policy.underpromotion.weight.grad.any()
