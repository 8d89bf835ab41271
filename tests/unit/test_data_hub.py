from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surpass.data import hub
from surpass.data.base import Choice, DataSet, Form, HubPlace, Published
from surpass.data.files import FilePart
from surpass.data.hub import Layout, files_in
from surpass.data.hub_rows import hub_rows
from surpass.data.loading import digests, find, load
from surpass.errors import ConfigError, DataError
from surpass.hub import cache_folder, cached_snapshot

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRAIN = [{"sentence": f"train {number}", "label": number % 2} for number in range(3)]
TEST = [{"sentence": "test", "label": 1}]
PLACE = HubPlace("org/toy", "small")


def item(row):
    return [Choice(row["sentence"], int(row["label"]), row["sentence"])]


def toy(**changed) -> DataSet:
    fields = {"name": "toy", "title": "Toy", "kind": "choice", "hub": PLACE}
    return DataSet(**(fields | {"forms": (Form(("sentence", "label"), item),)} | changed))


def write(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = "\n".join(map(json.dumps, rows)).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def clone(folder: Path, files: dict[str, list], readme: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        write(folder / name, rows)
    if readme is not None:
        (folder / "README.md").write_text(f"---\nlicense: mit\n{readme}---\n# Toy\n")
    return folder


TWO_CONFIGS = """\
configs:
- config_name: large
  data_files: elsewhere/*.parquet
- config_name: small
  data_files:
  - split: train
    path: small/train-*
  - split: test
    path:
    - small/test-*
"""
SHARDED = {
    "small/train-00000-of-00002.parquet": TRAIN[:2],
    "small/train-00001-of-00002.parquet": TRAIN[2:],
    "small/test-00000-of-00001.parquet": TEST,
}


def names(found, role: str) -> list[str]:
    assert not isinstance(found, str), found
    return [str(Path(part.path).relative_to(found.layout.folder)) for part in found.files[role]]


def texts(loaded, role: str) -> list[str]:
    return [entry.text for entry in loaded.items[role]]


class TestClones:
    def test_by_the_readme(self, tmp_path, capfd):
        found = find(toy(), str(clone(tmp_path, SHARDED, TWO_CONFIGS)))
        assert found.layout == Layout(str(tmp_path))
        loaded = load(found)
        assert texts(loaded, "train") == [row["sentence"] for row in TRAIN]
        assert [entry.label for entry in loaded.items["train"]] == [0, 1, 0]
        assert texts(loaded, "test") == ["test"]
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("config", "files"),
        [
            ("small", {"small/train/0000.parquet": TRAIN, "small/test/0000.parquet": TEST}),
            ("small", {"small/train.jsonl.gz": TRAIN, "small/test.jsonl.gz": TEST}),
            (
                None,
                {"data/train-00000-of-00001-0a1b2c.parquet": TRAIN, "data/test-00000-of-00001.parquet": TEST},
            ),
            (None, {"train.jsonl": TRAIN, "test.jsonl": TEST}),
            (None, {"default/train/0000.parquet": TRAIN, "default/test/0000.parquet": TEST}),
        ],
    )
    def test_by_names(self, tmp_path, config, files):
        noise = {"other.jsonl": [{"a": 1}], "small/validation.jsonl": [{"a": 1}], "config.json": [{"a": 1}]}
        found = find(toy(hub=HubPlace("org/toy", config)), str(clone(tmp_path, files | noise)))
        loaded = load(found)
        assert texts(loaded, "train") == [row["sentence"] for row in TRAIN]
        assert texts(loaded, "test") == ["test"]

    def test_folders_are_joined_where_there_is_a_readme(self, tmp_path):
        files = {"a/train.json": TRAIN[:1], "b/deep/train.json": TRAIN[1:], "a/test.json": TEST}
        data_set = toy(hub=HubPlace("org/toy"))
        with pytest.raises(ConfigError, match="there is no file of split 'train'"):
            find(data_set, str(clone(tmp_path, files)))
        found = find(data_set, str(clone(tmp_path, {}, "tags: [text]\n")))
        assert texts(load(found), "train") == [row["sentence"] for row in TRAIN]

    def test_splits_are_joined(self, tmp_path):
        place = HubPlace("org/toy", train=("train_r1", "train_r2"), test=())
        clone(
            tmp_path,
            {"data/train_r2.jsonl": TRAIN[:1], "data/train_r1.jsonl": TRAIN[1:], "data/train_r3.jsonl": TEST},
        )
        found = find(toy(hub=place), str(tmp_path))
        assert names(found, "train") == ["data/train_r1.jsonl", "data/train_r2.jsonl"]
        assert load(found).items["test"] == ()
        assert set(digests(found)) == {"train"}

    def test_other_words_for_validation(self, tmp_path):
        place = HubPlace("org/toy", test=("validation",))
        clone(tmp_path, {"train.jsonl": TRAIN, "dev.jsonl": TEST})
        assert names(files_in(tmp_path, place), "test") == ["dev.jsonl"]
        write(tmp_path / "validation.jsonl", TEST)
        assert names(files_in(tmp_path, place), "test") == ["validation.jsonl"]

    def test_a_split_that_is_there_twice_counts_once(self, tmp_path):
        files = {"train.jsonl": TRAIN, "train.jsonl.gz": TRAIN, "test.parquet": TEST, "test.jsonl": TEST}
        found = files_in(clone(tmp_path, files), HubPlace("org/toy"))
        assert names(found, "train") == ["train.jsonl"]
        assert names(found, "test") == ["test.parquet"]

    def test_a_folder_for_a_configuration(self, tmp_path):
        readme = "configs:\n- config_name: small\n  data_dir: here\n"
        clone(tmp_path, {"here/train.jsonl": TRAIN, "here/test.jsonl": TEST, "train.jsonl": TEST}, readme)
        found = find(toy(), str(tmp_path))
        assert names(found, "train") == ["here/train.jsonl"]
        assert texts(load(found), "train") == [row["sentence"] for row in TRAIN]

    @pytest.mark.parametrize(
        ("readme", "name"),
        [
            ("configs:\n- config_name: a\n  data_files: [a.jsonl]\n", "a.jsonl"),
            (
                "configs:\n- {config_name: a, data_files: a.jsonl}\n"
                "- {config_name: b, data_files: ./b.jsonl, default: true}\n",
                "b.jsonl",
            ),
        ],
    )
    def test_a_data_set_of_no_configuration_takes_the_default_one(self, tmp_path, readme, name):
        clone(tmp_path, {"a.jsonl": TRAIN, "b.jsonl": TRAIN}, readme)
        found = find(toy(hub=HubPlace("org/toy", test=())), str(tmp_path))
        assert names(found, "train") == [name]
        assert len(load(found).items["train"]) == 3

    def test_what_the_readme_says_of_csv_is_heeded(self, tmp_path):
        options = '  sep: ";"\n  header: null\n  names: [sentence, label]\n'
        readme = f"configs:\n- config_name: small\n  data_files: a.csv\n{options}"
        clone(tmp_path, {}, readme)
        (tmp_path / "a.csv").write_text("one, two;1\nthree;0\n")
        data_set = toy(hub=HubPlace("org/toy", "small", test=()))
        found = find(data_set, str(tmp_path))
        assert load(found).items["train"] == (Choice("one, two", 1, "one, two"), Choice("three", 0, "three"))
        before = digests(found)
        clone(tmp_path, {}, readme.replace("[sentence, label]", "[label, sentence]"))
        assert digests(find(data_set, str(tmp_path))) != before

    def test_tsv_has_no_quoting(self, tmp_path):
        (tmp_path / "train.tsv").write_text('sentence\tlabel\n"a\t1\nb\t0\n')
        found = find(toy(hub=HubPlace("org/toy", test=())), str(tmp_path))
        assert texts(load(found), "train") == ['"a', "b"]

    @pytest.mark.parametrize("readme", [None, TWO_CONFIGS])
    def test_no_script_is_run(self, tmp_path, readme):
        folder = clone(tmp_path / "toy", SHARDED, readme)
        for script in (folder / "toy.py", folder / "small" / "small.py"):
            script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit('ran')\n")
        assert len(load(find(toy(), str(folder))).items["train"]) == 3
        assert not (tmp_path / "ran").exists()

    def test_odd_names_of_folders(self, tmp_path):
        folder = clone(tmp_path / "we[i]rd * .folder", SHARDED, TWO_CONFIGS)
        assert len(load(find(toy(), str(folder))).items["train"]) == 3

    def test_published_files_come_first(self, tmp_path):
        clone(tmp_path, SHARDED | {"toy_train.jsonl": TEST}, TWO_CONFIGS)
        found = find(toy(published=(Published(("toy_train.jsonl",)),)), str(tmp_path))
        assert found.layout is None
        assert texts(load(found), "train") == ["test"]

    @pytest.mark.parametrize(
        ("files", "readme", "said"),
        [
            ({}, None, r"there is no configuration 'small': README.md has none, and no folder is called so"),
            (SHARDED, "configs:\n- {config_name: other, data_files: x}\n", None),
            ({"x.jsonl": TEST}, "configs:\n- {config_name: other, data_files: x}\n", "configurations other,"),
            (
                SHARDED,
                "configs:\n- {config_name: small, data_files: small/train*}\n",
                "README.md names no split 'test', only train",
            ),
            (
                {name: SHARDED[name] for name in list(SHARDED)[1:]},
                TWO_CONFIGS,
                "train-00000-of-00002 is missing",
            ),
            ({"small/train.txt": TRAIN}, None, r"there is no file of split 'train' \(train.jsonl or"),
            ({"x": TRAIN}, TWO_CONFIGS, r"there is no file of split 'train' \(small/train-\*\)"),
            ({"x": []}, "configs:\n- {config_name: small, data_dir: ../..}\n", r"a folder outside, '../..'"),
            ({"x": []}, "configs:\n- {config_name: small, data_dir: /etc}\n", r"a folder outside, '/etc'"),
        ],
    )
    def test_what_is_missing_is_said(self, tmp_path, files, readme, said):
        clone(tmp_path, files, readme)
        found = files_in(tmp_path, PLACE)
        if said is None:
            assert names(found, "test") == ["small/test-00000-of-00001.parquet"]
            return
        with pytest.raises(ConfigError, match=said) as caught:
            find(toy(), str(tmp_path))
        assert f"{tmp_path} does not hold toy: as a clone of hub:org/toy, " in str(caught.value)
        assert "toy(source=FOLDER), or put it at $SURPASS_DATA/toy" in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("header", ["configs: [\n", "configs: 3\n", "configs:\n- {}\n"])
    def test_a_damaged_readme(self, tmp_path, header):
        clone(tmp_path, {"small/train.jsonl": TRAIN}, header)
        with pytest.raises(DataError, match=r"README\.md has a damaged header \(.*\); fetch it again"):
            files_in(tmp_path, PLACE)


class TestRows:
    def test_bad_files_are_named_and_nothing_is_printed(self, tmp_path, capfd):
        (tmp_path / "a.parquet").write_bytes(b"PAR1")
        (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a":\n')
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 999)[:-9])
        for name in ("a.parquet", "a.jsonl", "a.jsonl.gz", "none.jsonl"):
            with pytest.raises(DataError, match=rf"{name} cannot be read \(") as caught:
                list(hub_rows(FilePart(str(tmp_path / name)), Layout(str(tmp_path))))
            assert "\n" not in str(caught.value)
        assert capfd.readouterr() == ("", "")

    def test_an_empty_file_is_refused(self, tmp_path):
        write(tmp_path / "train.parquet", TRAIN)
        pq.write_table(pq.read_table(tmp_path / "train.parquet")[:0], tmp_path / "train.parquet")
        with pytest.raises(DataError, match=r"train\.parquet cannot be read \("):
            load(find(toy(hub=HubPlace("org/toy", test=())), str(tmp_path)))

    def test_more_rows_than_are_taken_at_once(self, tmp_path):
        write(tmp_path / "a.parquet", [{"a": number, "b": {"c": [number]}} for number in range(2001)])
        rows = list(hub_rows(FilePart(str(tmp_path / "a.parquet")), Layout(str(tmp_path))))
        assert rows == [{"a": number, "b": {"c": [number]}} for number in range(2001)]

    def test_the_librarys_settings_are_put_back(self, tmp_path):
        import datasets

        write(tmp_path / "a.jsonl", TRAIN)
        for disable in (False, True):
            (datasets.disable_progress_bars if disable else datasets.enable_progress_bars)()
            level = datasets.logging.get_verbosity()
            list(hub_rows(FilePart(str(tmp_path / "a.jsonl")), Layout(str(tmp_path))))
            assert datasets.are_progress_bars_disabled() == disable
            assert datasets.logging.get_verbosity() == level
        datasets.enable_progress_bars()

    def test_no_network_and_nothing_left_behind(self, tmp_path):
        """In a process of its own: a home and a temporary folder that stay empty, and no socket."""
        clone(tmp_path / "clone", {"train.jsonl.gz": TRAIN, "test.jsonl": TEST})
        for name in ("home", "tmp"):
            (tmp_path / name).mkdir()
        code = f"""
import socket
def refuse(*arguments, **named): raise SystemExit("network")
socket.socket.connect = socket.getaddrinfo = refuse
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_data_hub import HubPlace, find, load, toy
print(len(load(find(toy(hub=HubPlace("org/toy")), {str(tmp_path / "clone")!r})).items["train"]))
"""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
        places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
        done = run(code, kept | places)
        assert (done.stdout, done.stderr, done.returncode) == ("3\n", "", 0)
        assert not [*(tmp_path / "home").rglob("*"), *(tmp_path / "tmp").rglob("*")]


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SURPASS_DATA", raising=False)
    return tmp_path / "cache"


def cached(cache: Path, revision: str, files: dict[str, list], readme: str | None = None) -> Path:
    """A snapshot as the hub's library keeps it: links to blobs, and the commit in a file `refs/BRANCH`."""
    folder = cache / "datasets--org--toy"
    (folder / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(COMMIT)
    snapshot = clone(folder / "snapshots" / COMMIT, files, readme)
    (folder / "blobs").mkdir()
    for number, name in enumerate(files):
        (snapshot / name).rename(folder / "blobs" / str(number))
        (snapshot / name).symlink_to(folder / "blobs" / str(number))
    return snapshot


class TestCache:
    def test_where_it_is(self, monkeypatch):
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        assert cache_folder() == Path.home() / ".cache/huggingface/hub"
        monkeypatch.setenv("XDG_CACHE_HOME", "/x")
        assert cache_folder() == Path("/x/huggingface/hub")
        monkeypatch.setenv("HF_HOME", "/h")
        assert cache_folder() == Path("/h/hub")
        monkeypatch.setenv("HF_HUB_CACHE", "~/c")
        assert cache_folder() == Path.home() / "c"

    @pytest.mark.parametrize("revision", ["main", "refs/convert/parquet"])
    def test_a_branch(self, cache, revision):
        snapshot = cached(cache, revision, SHARDED, TWO_CONFIGS)
        found = find(toy(hub=HubPlace("org/toy", "small", revision)))
        assert found.place == f"hub:org/toy@{COMMIT}"
        assert cached_snapshot("datasets", "org/toy", revision) == snapshot
        loaded = load(found)
        assert texts(loaded, "train") == [row["sentence"] for row in TRAIN]
        assert texts(loaded, "test") == ["test"]

    def test_a_commit(self, cache):
        cached(cache, "main", {"small/train/0000.parquet": TRAIN, "small/test/0000.parquet": TEST})
        found = find(toy(hub=HubPlace("org/toy", "small", COMMIT)))
        assert texts(load(found), "test") == ["test"]

    def test_models_are_no_data_sets(self, cache):
        cached(cache, "main", SHARDED)
        assert cached_snapshot("models", "org/toy", "main") is None

    def test_the_same_bytes_are_the_same_data(self, cache, tmp_path):
        snapshot = cached(cache, "main", SHARDED, TWO_CONFIGS)
        clone(tmp_path / "clone", {}, TWO_CONFIGS)
        for name in SHARDED:
            (tmp_path / "clone" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "clone" / name).write_bytes((snapshot / name).read_bytes())
        assert digests(find(toy())) == digests(find(toy(), str(tmp_path / "clone")))

    def test_a_folder_of_ones_own_goes_first(self, cache, tmp_path, monkeypatch):
        cached(cache, "main", SHARDED, TWO_CONFIGS)
        monkeypatch.setenv("SURPASS_DATA", str(tmp_path / "own"))
        assert find(toy()).place == f"hub:org/toy@{COMMIT}"
        clone(tmp_path / "own/toy", {"small/train.jsonl": TEST, "small/test.jsonl": TEST})
        assert find(toy()).place == str(tmp_path / "own/toy")
        assert texts(load(find(toy())), "train") == ["test"]


class FakeHub:
    """Downloads into a snapshot what a repository has and the patterns name."""

    def __init__(self, cache: Path, files: dict[str, list], readme: str | None):
        self.cache, self.files, self.readme = cache, files, readme
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, repository, *, repo_type, revision, cache_dir, allow_patterns):
        from huggingface_hub.utils import filter_repo_objects

        assert (repository, repo_type, cache_dir) == ("org/toy", "dataset", self.cache)
        self.asked.append((revision, allow_patterns))
        snapshot = self.cache / "datasets--org--toy/snapshots" / COMMIT
        wanted = list(filter_repo_objects(["README.md", *self.files], allow_patterns=allow_patterns))
        clone(snapshot, {name: self.files[name] for name in wanted if name in self.files}, self.readme)
        return str(snapshot)


class TestDownload:
    @pytest.mark.parametrize("revision", ["main", "refs/convert/parquet"])
    def test_what_the_splits_need_and_no_more(self, cache, monkeypatch, revision):
        files, readme = SHARDED, TWO_CONFIGS
        if revision != "main":
            files, readme = {"small/train/0000.parquet": TRAIN, "small/test/0000.parquet": TEST}, None
        noise = {"elsewhere/train.parquet": TRAIN, "small/other.parquet": TRAIN}
        fake = FakeHub(cache, files | noise, readme)
        monkeypatch.setattr("huggingface_hub.snapshot_download", fake)
        found = find(toy(hub=HubPlace("org/toy", "small", revision)))
        assert [asked[0] for asked in fake.asked] == [revision, COMMIT]
        assert found.place == f"hub:org/toy@{COMMIT}"
        assert texts(load(found), "train") == [row["sentence"] for row in TRAIN]
        snapshot = cache / "datasets--org--toy/snapshots" / COMMIT
        assert {str(path.relative_to(snapshot)) for path in snapshot.rglob("*.parquet")} == set(files)

    def test_a_cache_that_lacks_a_split_is_filled(self, cache, monkeypatch):
        cached(cache, "main", {name: SHARDED[name] for name in list(SHARDED)[:1]}, TWO_CONFIGS)
        monkeypatch.setattr("huggingface_hub.snapshot_download", FakeHub(cache, SHARDED, TWO_CONFIGS))
        assert len(load(find(toy())).items["train"]) == 3

    def test_a_repository_without_the_split(self, cache, monkeypatch):
        files = {"small/test-00000-of-00001.parquet": TEST}
        monkeypatch.setattr("huggingface_hub.snapshot_download", FakeHub(cache, files, TWO_CONFIGS))
        with pytest.raises(ConfigError, match=r"of the download there is no file of split 'train'"):
            find(toy())


class TestNoHub:
    WHAT = r"no data for toy from hub:org/toy@main: it is not in the cache .*/cache, and "
    ELSE = (
        r"name a folder with toy\.csv or a clone of the hub's repository: toy\(source=FOLDER\), or put it at"
    )

    def refused(self, said: str) -> None:
        with pytest.raises(ConfigError, match=self.WHAT + said + r"; " + self.ELSE) as caught:
            find(toy(published=(Published(("toy.csv",)),)))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (OSError("403: the gate\nis closed"), r"it cannot be downloaded \(403: the gate is closed\)"),
            (ValueError("x" * 999), r"it cannot be downloaded \(x{197}\.\.\.\)"),
            (RuntimeError(), r"it cannot be downloaded \(RuntimeError\)"),
        ],
    )
    def test_what_the_library_says(self, cache, monkeypatch, error, said):
        def fail(*arguments, **named):
            raise error

        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
        self.refused(said)

    def test_no_package(self, cache, monkeypatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        self.refused(
            r"huggingface_hub, which downloads it, is not installed \(pip install 'surpass\[text\]'\)"
        )

    def test_the_real_library_offline(self, cache):
        code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_data_hub import ConfigError, find, toy
try:
    find(toy())
except ConfigError as error:
    print(error)
"""
        done = run(code, {**os.environ, "HF_HUB_OFFLINE": "1"})
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert len(lines) == 1
        assert "and it cannot be downloaded (" in lines[0]
        assert "toy(source=FOLDER), or put it at $SURPASS_DATA/toy" in lines[0]

    def test_a_data_set_that_is_on_no_hub(self, cache):
        with pytest.raises(ConfigError, match=r"toy is not on the hub; name a folder with toy\.csv: toy\("):
            find(toy(hub=None, published=(Published(("toy.csv",)),)))

    def test_reading_without_the_datasets_library(self, tmp_path, monkeypatch):
        found = find(toy(), str(clone(tmp_path, SHARDED, TWO_CONFIGS)))
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(
            ImportError, match=r"datasets, which reads .*, is not installed; pip install 'surp"
        ):
            load(found)

    def test_finding_without_yaml(self, tmp_path, monkeypatch):
        clone(tmp_path, SHARDED, TWO_CONFIGS)
        monkeypatch.setitem(sys.modules, "yaml", None)
        with pytest.raises(ImportError, match=r"PyYAML, which reads .*README\.md, is not installed"):
            hub.files_in(tmp_path, PLACE)
