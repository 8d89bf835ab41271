"""Models in installed packages, found without importing them. No torch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from surpass.errors import ConfigError
from surpass.models.sources import resolve


def write_model(folder: Path, *, mark: float = 1.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    save_file({"w": np.full(4, mark, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A place for packages; importing one fails."""
    place = tmp_path / "site"
    (place / "some_models").mkdir(parents=True)
    (place / "some_models" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(place)
    return place


def test_the_only_model_of_a_package(site):
    folder = write_model(site / "some_models" / "data" / "model")
    (site / "some_models" / "config.json").write_text("{}")  # alone it is no model
    source = resolve("package:some_models(tokens=7)")
    assert (source.path, source.family, source.short_name) == (folder, "encoder", "some_models")
    assert (source.parameters, source.max_tokens) == (4, 7)
    for name in ("some_models/data", "some_models/data/model", "some_models/data/model/"):
        assert resolve(f"package:{name}").path == folder
    assert resolve("package:some_models").digest == resolve(f"dir:{folder}").digest
    assert "some_models" not in sys.modules


def test_the_package_itself_comes_before_what_is_in_it(site):
    write_model(site / "some_models")
    inner = write_model(site / "some_models" / "inner", mark=2.0)
    assert resolve("package:some_models").path == site / "some_models"
    assert resolve("package:some_models/inner").path == inner


def test_several(site):
    for name in ("one", "two"):
        write_model(site / "some_models" / name)
    with pytest.raises(ConfigError, match=r"holds several models \(one, two\); name one behind a /"):
        resolve("package:some_models")
    (site / "some_models" / "three.gguf").touch()
    with pytest.raises(ConfigError, match=r"\(one, three.gguf, two\)"):
        resolve("package:some_models")


def test_a_package_without_init(site):
    folder = write_model(site / "loose" / "m")
    assert resolve("package:loose").path == folder


def test_a_package_that_cannot_be_imported_goes_by_its_name_for_pip(site):
    folder = write_model(site / "odd-folder" / "m")
    info = site / "odd_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-models\nVersion: 1.0\n")
    (info / "RECORD").write_text(
        "odd-folder/m/config.json,,\nodd_models-1.0.dist-info/METADATA,,\nalone.py,,\n"
    )
    assert resolve("package:odd-models").path == folder
    assert resolve("package:odd-models/m").path == folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere_at_all",
            "no package 'nowhere_at_all' is installed, nor is it one of minilm-l3, .* --no-deps",
        ),
        ("some_models", "package:some_models holds no model that can be read, neither a folder"),
        ("some_models/none", "package:some_models/none holds no model that can be read"),
        ("some_models/../other", r"no model 'package:some_models/../other'; name one of minilm-l3"),
        ("/etc", "no model 'package:/etc'; name one of"),
        ("", "no model 'package:'; name one of"),
        ("json.decoder", "no package 'json.decoder' is installed"),
        ("sys", "no package 'sys' is installed"),
    ],
)
def test_none(site, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(f"package:{name}")
    assert "\n" not in str(caught.value)


def test_a_pickle_in_a_package(site):
    folder = write_model(site / "some_models")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        ConfigError, match=r"can be read, .*: some_models: it has pytorch_model.bin, .*weights=bin"
    ):
        resolve("package:some_models")
    assert resolve("package:some_models(weights=bin)").pickled
