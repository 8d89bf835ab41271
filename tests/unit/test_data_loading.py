from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from surpass.data.base import Choice, Completion, DataSet, Form, HubPlace, Pair, Published
from surpass.data.catalog import DATA_SETS
from surpass.data.loading import digests, find, load
from surpass.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SURPASS_SHARED_DATA", ROOT / "../shared/data"))
ROWS = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]


def choice(row):
    if row["label"] not in (0, 1, "0", "1"):
        raise DataError(f"label is {row['label']!r}; use 0 or 1")
    return [Choice(row["text"], int(row["label"]), row["text"])]


def toy(**changed) -> DataSet:
    fields = {
        "name": "toy",
        "title": "Toy",
        "kind": "choice",
        "hub": None,
        "forms": (Form(("text", "label"), choice),),
        "published": (Published(("train.jsonl",), ("test.jsonl",)),),
    }
    return DataSet(**(fields | changed))


def lines(rows=ROWS) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def put(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


def zipped(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def found_names(found, role: str, folder: Path) -> list[str]:
    return [str(part).removeprefix(f"{folder}/") for part in found.files[role]]


class TestFind:
    def test_in_folders_and_compressed(self, tmp_path):
        put(tmp_path, {"deep/er/train.jsonl.xz": lzma.compress(lines()), "deep/test.jsonl": lines(ROWS[:1])})
        found = find(toy(), str(tmp_path))
        assert (found.place, found.layout, found.columns) == (str(tmp_path), None, ())
        assert found_names(found, "train", tmp_path) == ["deep/er/train.jsonl.xz"]
        loaded = load(found)
        assert loaded.items == {
            "train": (Choice("a", 0, "a"), Choice("b", 1, "b")),
            "test": (Choice("a", 0, "a"),),
        }
        assert loaded.notes == {}

    @pytest.mark.parametrize("as_folder", [True, False])
    def test_in_archives(self, tmp_path, as_folder):
        zipped(tmp_path / "Toy.zip", {"Toy v1/train.jsonl": lines(), "Toy v1/test.jsonl": lines()})
        found = find(toy(), str(tmp_path if as_folder else tmp_path / "Toy.zip"))
        assert found_names(found, "test", tmp_path) == ["Toy.zip:Toy v1/test.jsonl"]
        assert len(load(found).items["train"]) == 2

    def test_an_archive_counts_as_a_folder_of_its_name(self, tmp_path):
        put(tmp_path, {"in.jsonl": lines()})
        with tarfile.open(tmp_path / "one.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "in.jsonl", "in.jsonl")
        data_set = toy(published=(Published(("one/in.jsonl",)),))
        assert found_names(find(data_set, str(tmp_path)), "train", tmp_path) == ["one.tar.gz:in.jsonl"]

    def test_plain_files_go_before_those_in_archives(self, tmp_path):
        zipped(tmp_path / "a.zip", {"train.jsonl": lines()})
        put(tmp_path, {"x/y/train.jsonl": lines(), "test.jsonl": lines()})
        assert found_names(find(toy(), str(tmp_path)), "train", tmp_path) == ["x/y/train.jsonl"]

    def test_the_first_published_form_that_is_whole(self, tmp_path):
        forms = (Published(("a.csv",), ("b.csv",)), Published(("c.csv",), ("b.csv",)), Published(("a.csv",)))
        put(tmp_path, {"a.csv": b"", "c.csv": b"", "b.csv": b""})
        data_set = toy(published=forms)
        assert found_names(find(data_set, str(tmp_path)), "train", tmp_path) == ["a.csv"]
        (tmp_path / "a.csv").unlink()
        assert found_names(find(data_set, str(tmp_path)), "train", tmp_path) == ["c.csv"]
        put(tmp_path, {"a.csv": b""})
        (tmp_path / "b.csv").unlink()
        found = find(data_set, str(tmp_path))
        assert (found_names(found, "train", tmp_path), found.files["test"]) == (["a.csv"], ())

    def test_a_wildcard_takes_all_and_each_once(self, tmp_path):
        names = ["a/train.jsonl", "b/train.jsonl", "b/train.jsonl.xz", "c/train.jsonl.xz"]
        put(tmp_path, {name: lines() if name.endswith("l") else lzma.compress(lines()) for name in names})
        data_set = toy(published=(Published(("*/train.jsonl", "a/*.jsonl")),))
        found = find(data_set, str(tmp_path))
        assert found_names(found, "train", tmp_path) == [names[0], names[1], names[3]]
        assert len(load(found).items["train"]) == 6

    def test_of_two_the_one_with_fewer_folders_before_it(self, tmp_path):
        put(tmp_path, {"train.jsonl": b"", "old/train.jsonl": b"", "test.jsonl": b""})
        assert found_names(find(toy(), str(tmp_path)), "train", tmp_path) == ["train.jsonl"]

    def test_two_as_near_are_refused(self, tmp_path):
        put(tmp_path, {"x/train.jsonl": b"", "y/train.jsonl": b"", "test.jsonl": b""})
        with pytest.raises(
            ConfigError, match=r"both .*/x/train\.jsonl and .*/y/train\.jsonl may be train\.jsonl"
        ):
            find(toy(), str(tmp_path))

    def test_one_file_is_learned_from_whatever_its_name(self, tmp_path):
        put(tmp_path, {"mine.csv": b"text,label\nx,1\n", "test.jsonl": lines()})
        for name, count in (("mine.csv", 1), ("test.jsonl", 2)):
            loaded = load(find(toy(), str(tmp_path / name)))
            assert (len(loaded.items["train"]), loaded.items["test"]) == (count, ())

    def test_one_file_without_a_header(self, tmp_path):
        put(tmp_path, {"b.tsv": b"x\t1\n"})
        published = (
            Published(("a.tsv",), (), ("text", "label")),
            Published(("c.tsv",), ("b.tsv",), ("text", "label")),
        )
        found = find(toy(published=published), str(tmp_path / "b.tsv"))
        assert load(found).items["train"] == (Choice("x", 1, "x"),)

    def test_relative_to_where_one_is(self, tmp_path, monkeypatch):
        put(tmp_path / "here", {"train.jsonl": lines(), "test.jsonl": lines()})
        monkeypatch.chdir(tmp_path)
        found = find(toy(), "here")
        monkeypatch.chdir("/")
        assert len(load(found).items["train"]) == 2

    def test_the_folder_of_all_data(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SURPASS_DATA", str(tmp_path))
        with pytest.raises(ConfigError, match="toy is not on the hub; name a folder with train"):
            find(toy())
        put(tmp_path / "toy", {"train.jsonl": lines()})
        with pytest.raises(ConfigError, match=rf"{tmp_path}/toy does not hold toy: there is no test\.jsonl"):
            find(toy())
        put(tmp_path / "toy", {"test.jsonl": lines()})
        assert find(toy()).place == str(tmp_path / "toy")

    def test_nothing_there(self, tmp_path):
        with pytest.raises(
            ConfigError, match=r"there is no '/no/such' to read toy from; name a file or a folder"
        ):
            find(toy(), "/no/such")
        two = toy(published=(Published(("a.csv",)), Published(("b.csv",))), hub=HubPlace("org/toy", "c"))
        with pytest.raises(ConfigError) as caught:
            find(two, str(tmp_path))
        assert str(caught.value) == (
            f"{tmp_path} does not hold toy: there is no a.csv; there is no b.csv; as a clone of hub:org/toy, "
            "there is no configuration 'c': README.md has none, and no folder is called so; name a folder "
            "with a.csv or b.csv or a clone of the hub's repository: toy(source=FOLDER), or put it at "
            "$SURPASS_DATA/toy"
        )
        zipped(tmp_path / "a.zip", {"x.csv": b""})
        with pytest.raises(ConfigError, match=r"a\.zip does not hold toy: there is no train\.jsonl; name a"):
            find(toy(), str(tmp_path / "a.zip"))


class TestDigests:
    def test_the_same_bytes_anywhere(self, tmp_path):
        files = {"train.jsonl": lines(), "test.jsonl": lines(ROWS[:1])}
        first = digests(find(toy(), put(tmp_path / "a", files)))
        second = digests(find(toy(), put(tmp_path / "b/c", files)))
        assert first == second
        assert set(first) == {"train", "test"}
        assert all(len(digest) == 64 for digest in first.values())
        assert first["train"] != first["test"]
        put(tmp_path / "a", {"test.jsonl": lines(ROWS[1:])})
        third = digests(find(toy(), str(tmp_path / "a")))
        assert (third["train"] == first["train"], third["test"] == first["test"]) == (True, False)

    def test_members_of_one_archive_differ(self, tmp_path):
        zipped(tmp_path / "a.zip", {"train.jsonl": lines(), "test.jsonl": lines()})
        found = digests(find(toy(), str(tmp_path)))
        assert found["train"] != found["test"]
        (tmp_path / "a.zip").rename(tmp_path / "b.zip")
        assert digests(find(toy(), str(tmp_path))) == found

    def test_a_file_that_is_gone(self, tmp_path):
        found = find(toy(), put(tmp_path, {"train.jsonl": lines(), "test.jsonl": lines()}))
        (tmp_path / "test.jsonl").unlink()
        with pytest.raises(DataError, match=r"test\.jsonl cannot be read \(.*\); name a file that is there"):
            digests(found)

    def test_plans_import_nothing_heavy(self, tmp_path):
        put(tmp_path, {"train.jsonl": lines(), "test.jsonl": lines()})
        code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import surpass.data.catalog
from surpass.data.loading import digests, find
from surpass.data.base import DataSet, HubPlace
digests(find(DataSet("toy", "Toy", "choice", HubPlace("a/b", train=("train",)), ()), {str(tmp_path)!r}))
print(*sys.modules)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        heavy = {"torch", "transformers", "datasets", "huggingface_hub", "pandas", "pyarrow", "numpy"}
        assert not heavy & set(done.stdout.split())


class TestLoad:
    def refused(self, tmp_path, rows, said: str, **changed) -> None:
        put(tmp_path, {"train.jsonl": lines(), "test.jsonl": lines(rows)})
        with pytest.raises(DataError, match=said) as caught:
            load(find(toy(**changed), str(tmp_path)))
        assert "\n" not in str(caught.value)

    def test_the_first_form_that_fits_file_by_file(self, tmp_path):
        def titled(row):
            return [Choice(f"{row['title']}: {row['text']}", row["label"], "")]

        forms = (Form(("title", "text", "label"), titled), Form(("text", "label"), choice))
        put(
            tmp_path, {"train.jsonl": lines(), "test.jsonl": lines([{**ROWS[1], "title": "T", "more": None}])}
        )
        loaded = load(find(toy(forms=forms), str(tmp_path)))
        assert loaded.items["train"][0] == Choice("a", 0, "a")
        assert loaded.items["test"] == (Choice("T: b", 1, ""),)

    def test_wrong_columns(self, tmp_path):
        forms = (Form(("text", "label"), choice), Form(("a", "b"), choice))
        said = r"test\.jsonl has the columns txt, label; toy needs text, label or a, b"
        self.refused(tmp_path, [{"txt": "a", "label": 1}], said, forms=forms)

    def test_a_column_that_one_row_lacks(self, tmp_path):
        said = r"test\.jsonl, row 2: there is no 'label'; mend it"
        self.refused(tmp_path, [*ROWS, {"text": "c"}], said)

    def test_what_a_form_refuses_is_placed(self, tmp_path):
        said = r"test\.jsonl, row 1: label is 7; use 0 or 1"
        self.refused(tmp_path, [ROWS[0], {"text": "c", "label": 7}], said)

    @pytest.mark.parametrize("value", [3, ["c"], {"c": 1}])
    def test_a_value_of_another_type(self, tmp_path, value):
        def short(row):
            return [Choice(row["text"].strip()[:1], 0, "")]

        said = r"test\.jsonl, row 0 does not read like toy \(AttributeError: .*\); fetch it again"
        self.refused(tmp_path, [{"text": value, "label": 0}], said, forms=(Form(("text", "label"), short),))

    def test_no_rows(self, tmp_path):
        self.refused(tmp_path, [], r"toy has no row to test on in .*test\.jsonl; fetch it again")
        said = r"toy has no row to test on .* \(dropped: \{'examples with an empty text': 1\}\); fetch"
        self.refused(tmp_path, [{"text": " ", "label": 1}], said)

    def test_empty_texts_are_dropped_and_counted(self, tmp_path):
        rows = [{"text": "", "label": 0}, *ROWS, {"text": " \n", "label": 1}, {"text": None, "label": 1}]
        put(
            tmp_path, {"train.jsonl": lines(rows), "test.jsonl": lines([*rows, {"text": "c", "label": None}])}
        )
        loaded = load(find(toy(), str(tmp_path)))
        assert [len(items) for items in loaded.items.values()] == [2, 2]
        assert loaded.notes == {"examples with an empty text": 4, "rows with a missing value": 3}

    @pytest.mark.parametrize(
        ("kind", "item", "kept", "note"),
        [
            ("preference", Pair, ("", "a", "b", ""), None),
            ("preference", Pair, ("p", " ", "b", ""), "pairs with an empty completion"),
            ("preference", Pair, ("p", "a", "", ""), "pairs with an empty completion"),
            ("generation", Completion, ("p", " a", ""), None),
            ("generation", Completion, ("p", " ", ""), "examples with an empty prompt or completion"),
            ("generation", Completion, (" ", "a", ""), "examples with an empty prompt or completion"),
        ],
    )
    def test_what_is_empty(self, tmp_path, kind, item, kept, note):
        def read(row):
            return [item(*row["values"]), item(*("x" for _ in row["values"]))]

        put(tmp_path, {"train.jsonl": lines([{"values": kept}]), "test.jsonl": lines([{"values": kept}])})
        loaded = load(find(toy(kind=kind, forms=(Form(("values",), read),)), str(tmp_path)))
        assert len(loaded.items["test"]) == (2 if note is None else 1)
        assert loaded.notes == ({} if note is None else {note: 2})

    def test_a_file_that_was_not_pulled(self, tmp_path):
        put(tmp_path, {"train.jsonl": b"version https://git-lfs.github.com/spec/v1\n", "test.jsonl": lines()})
        with pytest.raises(
            DataError, match=r"train\.jsonl is a pointer of Git LFS, not the file; run `git lfs"
        ):
            load(find(toy(), str(tmp_path)))


SHARED = {
    "boolq": ("boolq", 2000, 3270),
    "cosmos_qa": ("curriculum_nli", 9046, 9753),
    "dream": ("dream", 3 * 6116, 3 * 2041),
    "ethics_justice": ("ethics", 21791, 2704),
    "ethics_deontology": ("ethics", 18164, 3596),
    "ethics_virtue": ("ethics", 28245, 4975),
    "ethics_utilitarianism": ("ethics", 2 * 13738, 2 * 4808),
    "anli_r2": ("anli_r2", 1000, 1000),
    "cola": ("cola", 8551, 527 + 516),
    "sst2": ("sst2", 67349, 872),
    "hellaswag": ("curriculum_nli", 20000, 8518),
    "mctaco": ("mctaco", 9442, 3783),
    "openbookqa": ("openbookqa", 4 * 4957, 4 * 500),
    "piqa": ("curriculum_nli", 10000, 1838),
    "sciq": ("sciq", 4 * 11679, 4 * 1000),
    "sciq_support": ("sciq", 4 * 11679, 4 * 1000),
    "social_iqa": ("curriculum_nli", 6003, 5772),
    "wic": ("wic", 5428, 638),
    "hh": ("hh_rlhf_test", 8552, 0),
    "gsm8k": ("gsm8k", 7473, 1319),
}
"""Folder, and how many items there are to learn from and to test on, those dropped included."""


@pytest.mark.shared
@pytest.mark.skipif(
    not DATA.is_dir(), reason="the folder of published data is not here: set SURPASS_SHARED_DATA"
)
class TestShared:
    @pytest.mark.parametrize("name", SHARED)
    def test_published_files_are_found_and_read_whole(self, name):
        folder, *counts = SHARED[name]
        found = find(DATA_SETS[name], str(DATA / folder))
        assert found.layout is None
        assert set(digests(found)) == {role for role, count in zip(found.files, counts, strict=True) if count}
        loaded = load(found)
        total = sum(map(len, loaded.items.values())) + sum(loaded.notes.values())
        # A candidate that is there twice in its question counts once.
        assert sum(counts) * 0.998 <= total <= sum(counts)
