import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from surpass.errors import DataError
from surpass.models.card import describe, read_card

CARD = {
    "name": "chess-9",
    "config": {"channels": 8, "blocks": 1, "key_dim": 8},
    "parameters": 4145,
    "training": {"positions": 400_000, "games": 337_394, "learning_rate": 0.005, "seed": 3, "flops": 6.18e11},
    "holdout": {"positions": 20_074, "move_accuracy": 0.2974, "nats": 2.3917},
}


def write(path, card=CARD):
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5)}, path, {"card": json.dumps(card)})
    return path


def with_header(path, text):
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode())
    return path


def test_read_as_written(tmp_path):
    assert read_card(write(tmp_path / "x.safetensors")) == CARD


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_cut_short(tmp_path, keep):
    path = write(tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=str(path)) as caught:
        read_card(path)
    assert "\n" not in str(caught.value)


def test_longer_than_it_says(tmp_path):
    path = write(tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError):
        read_card(path)


@pytest.mark.parametrize(
    "header",
    ["{}", "[]", "7", "null", "{", '{"__metadata__": {}}', '{"__metadata__": {"card": "[1]"}}', '{"a": 1}'],
)
def test_no_card(tmp_path, header):
    with pytest.raises(DataError, match="no weights file of the ladder"):
        read_card(with_header(tmp_path / "x", header))


def test_something_else(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff" * 100)
    for path in (tmp_path / "x", tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match="no weights file of the ladder"):
            read_card(path)


def test_description():
    text = describe(CARD)
    assert "4,145" in text
    assert "29.7% of 20,074 moves matched, 2.392 nats" in text
    assert "400,000 positions of 337,394 games" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("entry", ["name", "config", "parameters", "training", "holdout"])
def test_description_of_half_a_card(entry):
    with pytest.raises(DataError, match=f"lacks '{entry}'"):
        describe({name: value for name, value in CARD.items() if name != entry})


def test_no_torch_is_imported():
    code = "import sys, surpass.ladder.commands; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
