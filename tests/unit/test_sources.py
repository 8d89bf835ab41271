from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reference.studies import write_model
from surpass.errors import ConfigError, DataError
from surpass.identity import digest_of
from surpass.models.sources import LADDER, SKILLS, ladder_names, ladder_pairs, resolve


def test_the_ladder_is_sorted_by_strength():
    names = ladder_names()
    assert names[:2] == ["chess-1", "chess-2"]
    assert names == sorted(names)
    costs = [(resolve(f"ladder:{name}").flops, resolve(f"ladder:{name}").pretraining_flops) for name in names]
    assert costs == sorted(costs)


def test_pairs_are_every_rung_below_every_other():
    names = ladder_names()
    pairs = ladder_pairs()
    assert len(pairs) == len(set(pairs)) == len(names) * (len(names) - 1) // 2
    places = [[names.index(name.removeprefix("ladder:")) for name in pair] for pair in pairs]
    assert all(weak < strong for weak, strong in places)


def test_a_rung():
    source = resolve("ladder:chess-1")
    assert source.name == "ladder:chess-1"
    assert source.short_name == "chess-1"
    assert source.path == LADDER / "chess-1.safetensors"
    assert source.digest == sha256(source.path.read_bytes()).hexdigest()
    assert source.parameters > 100
    assert source.flops > source.parameters
    assert resolve("ladder:chess-1") is source
    assert (source.family, source.skills) == ("policy", {"zero_shot"})


def test_a_file(tmp_path, monkeypatch):
    path = Path(shutil.copy(LADDER / "chess-1.safetensors", tmp_path / "mine.safetensors"))
    rung, source = resolve("ladder:chess-1"), resolve(f"dir:{path}")
    assert (source.short_name, source.path) == ("mine", path)
    assert (source.digest, source.parameters, source.family) == (rung.digest, rung.parameters, "policy")
    monkeypatch.chdir(tmp_path)
    assert resolve("dir:mine.safetensors").path == path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("dir:~/mine.safetensors").path == path


@pytest.mark.parametrize("name", ["linear:1", "linear:all", "mlp:8", "mlp:8x32", "mlp:allx4"])
def test_an_untrained_model(name):
    source = resolve(name)
    assert (source.name, source.family, source.path) == (name, "tabular", None)
    assert source.short_name == name.replace(":", "-")
    assert source.digest == digest_of(name) != resolve("linear:2").digest
    assert (source.parameters, source.pretraining_flops) == (0, 0.0)
    assert source.flops > 0
    assert source.skills == {"hint"}
    assert source.skills < SKILLS.keys()


def test_a_file_that_is_trained_again_is_read_again(tmp_path):
    name = write_model(tmp_path, "mine", flops=2e6)
    before = resolve(name)
    write_model(tmp_path, "mine", flops=12345678.0)
    after = resolve(name)
    assert (before.flops, after.flops) == (2e6, 12345678.0)
    assert before.digest != after.digest == sha256(after.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ladder:chess-99", "no rung 'chess-99' on the ladder; there are: chess-1, chess-2"),
        ("ladder:", "no rung '' on the ladder"),
        ("ladder:../ladder/chess-1", "no rung '../ladder/chess-1' on the ladder"),
        ("chess-1", "no model 'chess-1'; name one as ladder:chess-1 .* dir:PATH"),
        ("hub:gpt", "no model 'hub:gpt'; name one as"),
        ("", "no model ''; name one as"),
        ("linear", "no model 'linear'; name a tabular one linear:K or mlp:KxH"),
        ("linear:0", "no model 'linear:0'; name a tabular one"),
        ("linear:8x2", "no model 'linear:8x2'; name a tabular one"),
        ("dir:/nowhere/x.safetensors", "no weights at /nowhere/x.safetensors; name a .safetensors file"),
        ("dir:/", "no weights at /; name"),
    ],
)
def test_no_such_model(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_what_is_no_weights_file(tmp_path):
    (tmp_path / "text").write_text("no weights at all")
    (tmp_path / "empty").touch()
    save_file({"weight": torch.ones(1)}, tmp_path / "other")
    save_file({"weight": torch.ones(1)}, tmp_path / "bare", {"card": "{}"})
    whole = (LADDER / "chess-1.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-1])
    for name in ("text", "empty", "other", "bare", "cut"):
        with pytest.raises(DataError, match=f"{tmp_path / name} is ") as caught:
            resolve(f"dir:{tmp_path / name}")
        assert "\n" not in str(caught.value)
