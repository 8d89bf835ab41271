from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surpass.errors import DataError, StoreError
from surpass.train.checkpoint import load_checkpoint, save_checkpoint

POSITION = {"step": 3, "note": "ä"}
EXTRA = {"losses": torch.tensor([0.5, 0.25])}


def trained(steps: int = 3, seed: int = 0, width: int = 3) -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = nn.Linear(4, width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(steps):
        advance(model, optimizer)
    return model, optimizer


def advance(model: nn.Linear, optimizer: torch.optim.AdamW) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 4)).square().sum().backward()
    optimizer.step()


def tensors(model: nn.Linear, optimizer: torch.optim.AdamW) -> list[Tensor]:
    """Everything that training depends on, copied."""
    states = [state[name] for state in optimizer.state_dict()["state"].values() for name in sorted(state)]
    return [value.clone() for value in [*model.state_dict().values(), *states]]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, *trained(), POSITION, EXTRA)
    return path


def refuses(path: Path) -> bool:
    """Whether the file is refused, and nothing was changed by it."""
    model, optimizer = trained(steps=1, seed=9)
    before = tensors(model, optimizer)
    with pytest.raises(DataError, match=r"cannot go on from .*: delete it to begin anew"):
        load_checkpoint(path, model, optimizer)
    return same(tensors(model, optimizer), before)


def test_round_trip(path):
    model, optimizer = trained(steps=0, seed=9)
    position, extra = load_checkpoint(path, model, optimizer)
    assert position == POSITION
    assert extra.keys() == EXTRA.keys()
    assert torch.equal(extra["losses"], EXTRA["losses"])
    assert same(tensors(model, optimizer), tensors(*trained()))


def test_training_goes_on_to_the_same_bits(path):
    resumed, undisturbed = trained(steps=0, seed=9), trained(steps=5)
    load_checkpoint(path, *resumed)
    for _ in range(2):
        advance(*resumed)
    assert same(tensors(*resumed), tensors(*undisturbed))


def test_settings_are_the_recipes_not_the_files(path):
    model, optimizer = trained(steps=0)
    optimizer.param_groups[0]["lr"] = 0.025
    load_checkpoint(path, model, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.025


def test_before_the_first_step_there_is_no_optimizer_state(tmp_path):
    save_checkpoint(tmp_path / "fresh", *trained(steps=0), {}, {})
    model, optimizer = trained(steps=0, seed=9)
    assert load_checkpoint(tmp_path / "fresh", model, optimizer) == ({}, {})
    assert same(tensors(model, optimizer), tensors(*trained(steps=0)))


def test_a_second_save_replaces_the_first(path):
    save_checkpoint(path, *trained(steps=5), {"step": 5}, {})
    model, optimizer = trained(steps=0)
    assert load_checkpoint(path, model, optimizer) == ({"step": 5}, {})
    assert same(tensors(model, optimizer), tensors(*trained(steps=5)))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_nothing_there(tmp_path):
    assert refuses(tmp_path / "missing")
    assert refuses(tmp_path)


def test_cut_short_anywhere(path):
    content = path.read_bytes()
    for length in (0, 1, 7, 8, 9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert refuses(path)
    path.write_bytes(content + b"\0")
    assert refuses(path)


def test_a_changed_byte_anywhere(path):
    content = path.read_bytes()
    for place in range(0, len(content), 13):
        changed = bytearray(content)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        if content[place : place + 1] != b" ":  # the spaces that pad the header carry nothing
            assert refuses(path)


@pytest.mark.parametrize("metadata", [None, {}, {"position": "{}"}, {"sha256": "0" * 64}])
def test_another_file_of_tensors(tmp_path, metadata):
    save_file({"weight": torch.ones(3, 4)}, tmp_path / "foreign", metadata)
    assert refuses(tmp_path / "foreign")


def test_another_models_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "wide", *trained(width=5), POSITION, EXTRA)
    assert refuses(tmp_path / "wide")
    model, optimizer = trained()
    save_checkpoint(tmp_path / "double", model.double(), optimizer, POSITION, EXTRA)
    assert refuses(tmp_path / "double")


def test_no_place_to_write(tmp_path):
    with pytest.raises(StoreError, match="missing"):
        save_checkpoint(tmp_path / "missing" / "checkpoint", *trained(), {}, {})


def test_moments_stay_with_their_weights_in_channels_last(tmp_path):
    """The fused step goes by place in memory: moments laid out otherwise would be swapped."""

    def made() -> tuple[nn.Module, torch.optim.AdamW]:
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)

    def step(model: nn.Module, optimizer: torch.optim.AdamW, scale: float) -> None:
        optimizer.zero_grad()
        images = torch.arange(2 * 3 * 25.0).view(2, 3, 5, 5).sin() * scale
        model(images).square().sum().backward()
        optimizer.step()

    straight, begun, resumed = made(), made(), made()
    for scale in (1.0, 2.0, 3.0):
        step(*straight, scale)
    step(*begun, 1.0)
    save_checkpoint(tmp_path / "c", *begun, {}, {})
    load_checkpoint(tmp_path / "c", *resumed)
    for scale in (2.0, 3.0):
        step(*resumed, scale)
    assert same(tensors(*resumed), tensors(*straight))
