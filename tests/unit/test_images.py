"""Image sets in every form in which they are published, and what is wrong with them."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from reference import image_sets
from surpass.data import images_index, images_stored
from surpass.data.images import ImageSet, Reading, read_images
from surpass.data.images_metadata import Columns
from surpass.data.images_places import find_own
from surpass.errors import ConfigError, DataError

SPLITS = {"train": 6, "test": 3}
DROP = Reading(damaged="drop")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def read(place: Path | str, reading: Reading = Reading()) -> ImageSet:  # noqa: B008
    return read_images(find_own(str(place)), reading)


def said(found: ImageSet) -> Counter[tuple[bytes, str, object]]:
    """Bytes, split and name of class of each image."""
    contents = found.contents(range(len(found.images))).to_pylist()
    return Counter(
        (content, image.split, found.classes[image.label])
        for content, image in zip(contents, found.images, strict=True)
    )


def expected(files: dict[str, bytes]) -> Counter[tuple[bytes, str, object]]:
    def of(name: str) -> tuple[str, str]:
        *split, label, _ = name.split("/")
        return (split[-1] if split else "train"), label

    return Counter((content, *of(name)) for name, content in files.items())


class TestClassFolders:
    @pytest.mark.parametrize("splits", [None, SPLITS, {"train": 4, "validation": 2, "test": 2}])
    def test_folder(self, tmp_path, splits):
        files = image_sets.class_folders(5, splits)
        found = read(image_sets.written(files, tmp_path / "set"))
        assert said(found) == expected(files)
        assert found.classes == ("cat", "dog")
        assert found.notes == {}

    @pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tgz", "tar.xz", "tar.bz2"])
    @pytest.mark.parametrize("below", ["", "release-1.0/"])
    def test_archive_itself_or_in_a_folder(self, tmp_path, ending, below):
        files = image_sets.class_folders(splits=SPLITS)
        inside = {f"{below}{name}": content for name, content in files.items()}
        (tmp_path / "set").mkdir()
        path = image_sets.archived(inside, tmp_path / "set" / f"image_sets.{ending}")
        as_folder = read(image_sets.written(files, tmp_path / "plain"))
        for place in (path, path.parent):
            found = read(place)
            assert said(found) == expected(files)
            assert found.digest() == as_folder.digest()

    def test_an_archive_for_each_split(self, tmp_path):
        files = image_sets.class_folders(splits=SPLITS)
        for split, ending in (("train", "tar.gz"), ("test", "zip")):
            inside = {
                name.removeprefix(f"{split}/"): c for name, c in files.items() if name.startswith(split)
            }
            image_sets.archived(inside, tmp_path / f"{split}.{ending}")
        assert said(read(tmp_path)) == expected(files)

    def test_other_names_of_splits(self, tmp_path):
        files = image_sets.class_folders(splits={"Training": 3, "val": 2, "eval": 2})
        found = read(image_sets.written(files, tmp_path / "set"))
        assert Counter(image.split for image in found.images) == {"train": 6, "validation": 4, "test": 4}

    def test_a_class_may_be_called_train(self, tmp_path):
        files = {
            f"{name}/{one}.png": image_sets.png(one + 10 * len(name))
            for name in ("train", "car")
            for one in range(3)
        }
        found = read(image_sets.written(files, tmp_path / "set"))
        assert found.classes == ("car", "train")
        assert {image.split for image in found.images} == {"train"}

    def test_folders_within_class_folders(self, tmp_path):
        files = {
            f"train/{name}/images/{one}.png": image_sets.png(one + 10 * len(name))
            for name in ("ox", "cow")
            for one in range(3)
        }
        found = read(image_sets.written(files, tmp_path / "set"))
        assert Counter(image.label for image in found.images) == {0: 3, 1: 3}

    def test_links_are_followed_once(self, tmp_path):
        files = image_sets.class_folders(3)
        real = image_sets.written(files, tmp_path / "real")
        (tmp_path / "set").mkdir()
        for name in ("cat", "dog"):
            (tmp_path / "set" / name).symlink_to(real / name)
        (real / "dog" / "again").symlink_to(real / "dog")
        assert len(read(tmp_path / "set").images) == 6

    def test_what_lies_beside_is_counted(self, tmp_path):
        files = image_sets.class_folders(2, SPLITS)
        files |= {
            "README.md": b"about",
            "train/labels.txt": b"0",
            "train/cat/Thumbs.db": b"x",
            ".hidden": b"",
        }
        found = read(image_sets.written(files, tmp_path / "set"))
        assert sorted(found.notes.values()) == [1, 2]
        assert "Thumbs.db" in " ".join(found.notes)


STRAYS = {
    "a stray image": (
        "train/stray.png",
        image_sets.png(77),
        "train/stray.png is in no class folder",
        "outside",
    ),
    "a stray image above": ("stray.jpg", image_sets.jpeg(77), "stray.jpg is in no class folder", "outside"),
    "a folder that is no split": (
        "extra/cat/1.png",
        image_sets.png(78),
        "extra/cat/1.png is in the folder extra, beside test and train",
        "outside",
    ),
    "an empty file": ("train/cat/e.png", b"", "e.png is empty", "empty files"),
    "a cut image": ("train/dog/c.jpg", image_sets.jpeg(side=64)[:-200], "c.jpg is damaged", "corrupt"),
    "a text in a class folder": (
        "test/dog/notes.txt",
        b"notes on dogs",
        "is no image that can be",
        "no images",
    ),
    "a class in the test alone": (
        "test/zebra/1.png",
        image_sets.png(79),
        "class 'zebra' is in test alone",
        "classes",
    ),
}


class TestProblems:
    @pytest.mark.parametrize("kind", STRAYS)
    @pytest.mark.parametrize("form", ["folder", "tar", "tar.gz", "zip"])
    def test_is_named_or_dropped_and_counted(self, tmp_path, kind, form):
        name, content, message, note = STRAYS[kind]
        files = image_sets.class_folders(splits=SPLITS)
        place = tmp_path / f"set.{form}"
        made = image_sets.written if form == "folder" else image_sets.archived
        made(files | {name: content}, place)
        with pytest.raises(DataError, match=message) as caught:
            read(place)
        assert "\n" not in str(caught.value)
        assert "damaged=drop" in str(caught.value)
        found = read(place, DROP)
        assert said(found) == expected(files)
        assert [count for text, count in found.notes.items() if note in text] == [1]
        assert len(found.notes) == 1

    @pytest.mark.parametrize("form", ["folder", "zip", "tar.xz"])
    def test_an_empty_class_folder(self, tmp_path, form):
        files = image_sets.class_folders(splits=SPLITS)
        place = tmp_path / f"set.{form}"
        if form == "folder":
            image_sets.written(files, place)
            (place / "train" / "yak").mkdir()
        else:
            image_sets.archived(files, place, ("train", "train/cat", "train/yak"))
        with pytest.raises(
            DataError, match="a file or folder cannot be used: the class folder train/yak is empty"
        ):
            read(place)
        found = read(place, DROP)
        assert (found.classes, dict(found.notes)) == (("cat", "dog"), {"empty class folders": 1})

    def test_all_are_counted_and_the_first_are_named(self, tmp_path):
        files = image_sets.class_folders(10) | {f"cat/bad{one}.jpg": b"" for one in range(8)}
        with pytest.raises(
            DataError, match=r"8 files or folders .*bad0.*bad4.jpg is empty; and 3 more\. Mend"
        ):
            read(image_sets.written(files, tmp_path / "set"))
        assert read(tmp_path / "set", DROP).notes == {"empty files": 8}

    @pytest.mark.parametrize("form", ["tar", "tar.gz", "tar.xz", "zip"])
    @pytest.mark.parametrize("share", [0.3, 0.9])
    def test_an_archive_that_is_cut_short(self, tmp_path, form, share):
        place = image_sets.archived(image_sets.class_folders(splits=SPLITS), tmp_path / f"set.{form}")
        content = place.read_bytes()
        place.write_bytes(content[: int(len(content) * share) // 512 * 512 + (0 if form == "tar" else 3)])
        with pytest.raises(DataError, match=f"set.{form} .*cut short"):
            read(place)

    def test_a_tar_cut_between_two_members(self, tmp_path):
        place = image_sets.archived(image_sets.class_folders(splits=SPLITS), tmp_path / "set.tar")
        offset = max(image.stored.offset for image in read(place).images) - 512
        place.write_bytes(place.read_bytes()[:offset])
        with pytest.raises(DataError, match="has no end; it may be cut short"):
            read(place)

    def test_one_damaged_member_of_a_zip(self, tmp_path):
        files = image_sets.class_folders(splits=SPLITS)
        place = image_sets.archived(files, tmp_path / "set.zip")
        content = place.read_bytes().replace(
            files["train/cat/003.png"], b"x" * len(files["train/cat/003.png"])
        )
        place.write_bytes(content)
        with pytest.raises(DataError, match=r"set.zip:train/cat/003.png is damaged \(Bad CRC"):
            read(place)
        assert len(read(place, DROP).images) == 17

    def test_a_link_in_a_tar(self, tmp_path):
        import tarfile

        place = image_sets.archived(image_sets.class_folders(3), tmp_path / "set.tar")
        with tarfile.open(place, "a") as archive:
            entry = tarfile.TarInfo("cat/link.png")
            entry.type, entry.linkname = tarfile.SYMTYPE, "001.png"
            archive.addfile(entry)
        with pytest.raises(DataError, match=r"set.tar:cat/link.png is a link"):
            read(place)

    def test_no_class_folders(self, tmp_path):
        with pytest.raises(DataError, match=r"holds no class folders with images; make it CLASS/IMAGE.jpg"):
            read(image_sets.written({"1.png": image_sets.png()}, tmp_path / "set"), DROP)

    def test_places_that_are_none(self, tmp_path):
        with pytest.raises(ConfigError, match="there is no '/nowhere' to read images from"):
            read("/nowhere")
        (tmp_path / "a.txt").write_text("")
        with pytest.raises(ConfigError, match="is no folder, archive or Parquet file"):
            read(tmp_path / "a.txt")

    def test_conversions_are_counted(self, tmp_path):
        files = image_sets.class_folders(2) | {
            "cat/grey.jpg": image_sets.jpeg(1, "L"),
            "cat/print.jpg": image_sets.jpeg(2, "CMYK"),
            "dog/moving.gif": image_sets.moving("GIF"),
            "dog/deep.png": image_sets.deep_png(),
        }
        found = read(image_sets.written(files, tmp_path / "set"))
        assert said(found) == expected(files)
        assert dict(found.notes) == {
            "grey images, made RGB": 2,
            "palette images, made RGB": 1,
            "CMYK images, made RGB": 1,
            "images of more than 8 bits a channel, made 8 bits": 1,
            "files of several images or an animation, of which the first is read": 1,
        }


class TestIndex:
    @pytest.mark.parametrize("form", ["folder", "tar.gz"])
    def test_what_is_known_is_not_read_again(self, tmp_path, form, monkeypatch):
        files = image_sets.class_folders(splits=SPLITS) | {"train/cat/bad.png": b"no"}
        place = tmp_path / f"set.{form}"
        (image_sets.written if form == "folder" else image_sets.archived)(files, place)
        first = read(place, DROP)
        scanned = []
        real = images_stored.scanned
        monkeypatch.setattr(
            images_index, "scanned", lambda file, column="": scanned.append(file) or real(file, column)
        )
        assert read(place, DROP) == first
        assert scanned == []
        changed = place / "train/cat/001.png" if form == "folder" else place
        os.utime(changed, (1, 1))
        assert read(place, DROP) == first
        assert scanned == [str(changed)]

    def test_a_mended_file_counts(self, tmp_path):
        place = image_sets.written(image_sets.class_folders(3) | {"cat/bad.png": b""}, tmp_path / "set")
        with pytest.raises(DataError):
            read(place)
        (place / "cat" / "bad.png").write_bytes(image_sets.png(999))
        assert len(read(place).images) == 7

    def test_a_mended_archive_is_read_again(self, tmp_path, monkeypatch):
        place = image_sets.written(image_sets.class_folders(6), tmp_path / "set")
        inside = {f"{one}.png": image_sets.png(700 + one) for one in range(9)}
        content = image_sets.archived(inside, place / "yak.tar").read_bytes()
        (place / "yak.tar").write_bytes(content[:-6000])
        real, scanned = images_stored.scanned, []
        monkeypatch.setattr(
            images_index, "scanned", lambda file, column="": scanned.append(file) or real(file, column)
        )
        with pytest.raises(DataError, match=r"yak.tar .* cut short"):
            read(place)
        assert scanned == [str(place / "yak.tar")]
        (place / "yak.tar").write_bytes(content)
        assert len(read(place).images) == 21
        assert Counter(scanned) == {str(place / "yak.tar"): 2} | {str(file): 1 for file in place.glob("*/*")}

    def test_names_that_are_no_unicode(self, tmp_path):
        place = image_sets.written(image_sets.class_folders(3), tmp_path / "set")
        os.rename(place / "cat" / "001.png", os.fsencode(place / "cat") + b"/\xff.png")
        assert read(place) == read(place)
        assert len(read(place).images) == 6

    def test_backslashes_of_a_zip(self, tmp_path):
        files = image_sets.class_folders(3)
        inside = {name.replace("/", "\\"): content for name, content in files.items()}
        assert said(read(image_sets.archived(inside, tmp_path / "set.zip"))) == expected(files)

    def test_a_file_gone_and_a_damaged_index(self, tmp_path):
        place = image_sets.written(image_sets.class_folders(3), tmp_path / "set")
        digest = read(place).digest()
        (index,) = images_index.index_folder().iterdir()
        index.write_bytes(index.read_bytes()[:50])
        assert read(place).digest() == digest
        (place / "cat" / "001.png").unlink()
        assert len(read(place).images) == 5
        assert read(place).digest() != digest

    def test_a_cache_that_cannot_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("SURPASS_CACHE", str(tmp_path / "file"))
        place = image_sets.written(image_sets.class_folders(3), tmp_path / "set")
        with pytest.warns(UserWarning, match="is not remembered .* name a folder with SURPASS_CACHE"):
            assert len(read(place).images) == 6

    def test_changed_while_it_is_read(self, tmp_path):
        place = image_sets.written(image_sets.class_folders(3), tmp_path / "set")
        found = read(place)
        (place / "dog" / "002.png").write_bytes(image_sets.png(5555))
        assert len(found.contents([0])) == 1
        with pytest.raises(DataError, match=r"dog/002.png has changed while it was read"):
            found.contents(range(6))

    @pytest.mark.parametrize("seconds", [-1.0, 60.0])
    def test_what_is_done_is_remembered(self, tmp_path, monkeypatch, seconds):
        monkeypatch.setattr(images_index, "_SECONDS_BETWEEN_SAVES", seconds)
        monkeypatch.setattr(images_index, "_IMAGES_AT_ONCE", 4)
        place = image_sets.written(image_sets.class_folders(6), tmp_path / "set")
        real = images_stored.scanned

        def broken(file: str, column: str = ""):
            if file.endswith("dog/004.png"):
                raise KeyboardInterrupt
            return real(file, column)

        monkeypatch.setattr(images_index, "scanned", broken)
        with pytest.raises(KeyboardInterrupt):
            read(place)
        (index,) = images_index.index_folder().iterdir()
        assert pq.read_table(index).num_rows == 7
        again = []
        monkeypatch.setattr(
            images_index, "scanned", lambda file, column="": again.append(file) or real(file, column)
        )
        assert len(read(place).images) == 12
        assert len(again) == 5


class TestCompressed:
    @pytest.mark.parametrize(("most", "times"), [("much", 1), ("packed", 4), ("little", 3)])
    def test_all_seeds_go_through_a_small_archive_once(self, tmp_path, monkeypatch, most, times):
        place = tmp_path / "set.tar.gz"
        plain = [Image.new("RGB", (32, 32), (number, 0, 0)) for number in range(6)]
        image_sets.archived(
            {f"cat/{number}.bmp": image_sets.encoded(image, "BMP") for number, image in enumerate(plain)},
            place,
        )
        limit = {"much": 1 << 20, "packed": place.stat().st_size, "little": 10}[most]
        monkeypatch.setattr(images_stored, "REMEMBERED_BYTES", limit)
        monkeypatch.setattr(images_stored, "_remembered", {})
        found = read(place)
        gone_through = []
        real = images_stored._tar_entries
        monkeypatch.setattr(
            images_stored, "_tar_entries", lambda file: gone_through.append(file) or real(file)
        )
        expected = [found.contents([number])[0].as_py() for number in range(3)]
        assert len(gone_through) == times
        assert len(set(expected)) == 3
        assert found.contents([2, 0, 1]).to_pylist() == [expected[2], expected[0], expected[1]]


class TestCifar:
    @pytest.mark.parametrize("form", ["folder", "tar.gz", "zip"])
    def test_ten(self, tmp_path, form):
        place = tmp_path / f"cifar-10.{form}"
        (image_sets.written if form == "folder" else image_sets.archived)(image_sets.cifar10(), place)
        found = read(place)
        assert found.classes[0] == "airplane"
        assert Counter(image.split for image in found.images) == {"train": 100, "test": 20}
        last = found.images[-1]
        assert (last.split, last.label) == ("test", 9)
        content = found.contents([len(found.images) - 1, 0]).to_pylist()[0]
        with Image.open(io.BytesIO(content)) as image:
            assert np.array_equal(np.asarray(image), image_sets.record((9,), 5019)[1])

    @pytest.mark.parametrize(
        ("label", "number", "first"),
        [("", 100, "fine23"), ("fine", 100, "fine23"), ("coarse", 20, "coarse03")],
    )
    def test_hundred(self, tmp_path, label, number, first):
        place = image_sets.archived(image_sets.cifar100(), tmp_path / "cifar-100-binary.tar.gz")
        found = read(place, Reading(Columns(label=label)))
        assert len(found.classes) == number
        assert found.classes[found.images[23].label] == first
        assert Counter(image.split for image in found.images) == {"train": 800, "test": 100}

    def test_folder_and_archive_are_one(self, tmp_path):
        files = image_sets.cifar10()
        one, other = image_sets.written(files, tmp_path / "a"), image_sets.archived(files, tmp_path / "b.tar")
        assert read(one).digest() == read(other).digest()

    def test_without_names_of_classes(self, tmp_path):
        files = image_sets.cifar10()
        del files["cifar-10-batches-bin/batches.meta.txt"]
        assert read(image_sets.written(files, tmp_path / "set")).classes == tuple(range(10))

    @pytest.mark.parametrize(
        "names",
        [("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch"), ("cifar-100-python/train",)],
    )
    @pytest.mark.parametrize("form", ["folder", "tar.gz"])
    def test_pickles_are_refused(self, tmp_path, names, form):
        place = tmp_path / f"set.{form}"
        files = dict.fromkeys(names, b"\x80\x04.")
        (image_sets.written if form == "folder" else image_sets.archived)(files, place)
        with pytest.raises(
            DataError, match=r"is pickled: .* fetch the binary version, cifar-10-binary.tar.gz"
        ):
            read(place, DROP)

    def test_cut_short_missing_and_wrong(self, tmp_path):
        files = image_sets.cifar10()
        name = "cifar-10-batches-bin/data_batch_3.bin"
        cut = image_sets.written(files | {name: files[name][:-1]}, tmp_path / "cut")
        with pytest.raises(
            DataError, match=r"data_batch_3.bin has 61,459 bytes, which is no multiple of 3,073"
        ):
            read(cut)
        wrong = image_sets.written(files | {name: b"\x0b" + files[name][1:]}, tmp_path / "wrong")
        with pytest.raises(DataError, match=r"data_batch_3.bin, image 0 has label 11; there are 10 classes"):
            read(wrong)
        del files[name]
        with pytest.raises(DataError, match=r"there is no data_batch_3.bin"):
            read(image_sets.written(files, tmp_path / "missing"))
        with pytest.raises(ConfigError, match="label='fine': these CIFAR files have one kind of label"):
            read(image_sets.written(image_sets.cifar10(), tmp_path / "ten"), Reading(Columns(label="fine")))


class TestImageNet:
    def test_as_published(self, tmp_path):
        place, labels = image_sets.imagenet(tmp_path / "set")
        found = read(place)
        assert [image.label for image in found.images] == labels
        assert found.classes == ("tench, Tinca tinca", "crane (n02)", "crane (n03)")
        assert found.contents([4]).to_pylist() == [image_sets.jpeg(5)]

    def test_an_image_is_missing(self, tmp_path):
        place, _ = image_sets.imagenet(tmp_path / "set")
        images = {
            f"ILSVRC2012_val_{number:08d}.JPEG": image_sets.jpeg(number)
            for number in range(1, 31)
            if number != 9
        }
        image_sets.archived(images, place / "ILSVRC2012_img_val.tar")
        with pytest.raises(DataError, match=r"val_00000009.JPEG is missing: .* lists 30 images, and 29 are"):
            read(place)

    def test_the_kit_is_missing(self, tmp_path):
        place, _ = image_sets.imagenet(tmp_path / "set")
        (place / "ILSVRC2012_devkit_t12.tar.gz").unlink()
        with pytest.raises(DataError, match=r"put ILSVRC2012_devkit_t12.tar.gz beside it"):
            read(place)

    def test_the_kit_is_damaged(self, tmp_path):
        place, _ = image_sets.imagenet(tmp_path / "set")
        kit = {"data/meta.mat": b"no", "data/ILSVRC2012_validation_ground_truth.txt": b"1\n" * 30}
        image_sets.archived(kit, place / "ILSVRC2012_devkit_t12.tar.gz")
        with pytest.raises(DataError, match=r"meta.mat cannot be read"):
            read(place)


def parquet(path: Path, rows: list[dict], names: tuple[str, ...] = (), label: str = "label") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if names:
        features = {label: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=4)


def rows_of(number: int, seed: int, image: str = "image", label: str = "label") -> list[dict]:
    return [
        {image: {"bytes": image_sets.png(seed + one), "path": f"cat{one}.png"}, label: one % 2}
        for one in range(number)
    ]


class TestParquet:
    def test_a_clone_of_the_hub(self, tmp_path):
        train, test = rows_of(11, 0), rows_of(5, 100)
        parquet(tmp_path / "data/train-00000-of-00002.parquet", train[:6], ("cat", "dog"))
        parquet(tmp_path / "data/train-00001-of-00002.parquet", train[6:], ("cat", "dog"))
        parquet(tmp_path / "data/test-00000-of-00001.parquet", test, ("cat", "dog"))
        (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Cats\n")
        found = read(tmp_path)
        assert found.classes == ("cat", "dog")
        assert [(image.split, image.label) for image in found.images] == [
            *(("train", row["label"]) for row in train),
            *(("test", row["label"]) for row in test),
        ]
        assert found.contents([12, 3, 9]).to_pylist() == [
            row["image"]["bytes"] for row in (test[1], train[3], train[9])
        ]

    def test_as_the_library_writes_it(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        features = datasets.Features(
            {"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
        )
        made = datasets.Dataset.from_list(rows_of(6, 0, "img"), features=features)
        made.to_parquet(tmp_path / "train.parquet")
        found = read(tmp_path / "train.parquet")
        assert found.classes == ("cat", "dog")
        assert said(found) == Counter(
            (row["img"]["bytes"], "train", ("cat", "dog")[row["label"]])
            for row in rows_of(6, 0)
            for row in [{"img": row["image"], "label": row["label"]}]
        )

    def test_the_cache_of_the_hub(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        commit = "0" * 40
        folder = tmp_path / "hub" / "datasets--me--cats"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(commit)
        snapshot = folder / "snapshots" / commit
        parquet(snapshot / "data/train-00000-of-00001.parquet", rows_of(6, 0), ("cat", "dog"))
        parquet(snapshot / "data/validation-00000-of-00001.parquet", rows_of(4, 50), ("cat", "dog"))
        found = read("hub:me/cats")
        assert Counter(image.split for image in found.images) == {"train": 6, "test": 4}

    def test_no_such_repository(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        with pytest.raises(ConfigError, match="no images from hub:me/cats: it is not in the cache"):
            read("hub:me/cats")

    def test_columns_of_ones_own(self, tmp_path):
        rows = [
            {"picture": image_sets.png(one), "kind": ("a", "b")[one % 2], "place": one % 3}
            for one in range(6)
        ]
        parquet(tmp_path / "x.parquet", rows)
        found = read(
            tmp_path / "x.parquet", Reading(Columns(image="picture", label="kind", attribute="place"))
        )
        assert found.classes == ("a", "b")
        assert [image.attribute for image in found.images] == ["0", "1", "2", "0", "1", "2"]

    def test_damage(self, tmp_path):
        rows = rows_of(6, 0)
        rows[3]["image"]["bytes"] = None
        rows[4]["image"]["bytes"] = image_sets.png(9)[:40]
        parquet(tmp_path / "x.parquet", rows)
        with pytest.raises(
            DataError, match=r"2 files.*x.parquet, row 3 has no bytes in column image; .*row 4 begins"
        ):
            read(tmp_path / "x.parquet")
        assert read(tmp_path / "x.parquet", DROP).notes == {"empty files": 1, "corrupt images": 1}

    @pytest.mark.parametrize(
        ("label", "message"),
        [(None, r"row 2: label is missing"), (-1, "label -1 is none of 2 classes, as hidden labels are")],
    )
    def test_labels_that_are_none(self, tmp_path, label, message):
        rows = rows_of(6, 0)
        rows[2]["label"] = label
        parquet(tmp_path / "x.parquet", rows, ("cat", "dog"))
        with pytest.raises(DataError, match=message):
            read(tmp_path / "x.parquet")

    def test_columns_that_are_not_there(self, tmp_path):
        parquet(tmp_path / "x.parquet", [{"image": "a.png", "label": 0}])
        with pytest.raises(ConfigError, match="column image is string; images are bytes, or a struct"):
            read(tmp_path / "x.parquet")
        with pytest.raises(ConfigError, match="no column 'kind'; it has image, label: name one with label="):
            read(tmp_path / "x.parquet", Reading(Columns(label="kind")))


WATERBIRDS = "img_id,img_filename,y,split,place\n"


def birds(number: int = 12) -> dict[str, bytes]:
    lines = [f"{one},{one % 3}.Bird/{one}.jpg,{one % 2},{one % 3},{one % 4 // 2}\n" for one in range(number)]
    images = {f"birds/{one % 3}.Bird/{one}.jpg": image_sets.jpeg(one) for one in range(number)}
    return images | {"birds/metadata.csv": (WATERBIRDS + "".join(lines)).encode()}


class TestMetadata:
    @pytest.mark.parametrize("form", ["folder", "tar.gz"])
    def test_as_waterbirds(self, tmp_path, form):
        place = tmp_path / f"set.{form}"
        (image_sets.written if form == "folder" else image_sets.archived)(birds(), place)
        found = read(place, Reading(Columns(attribute="place")))
        assert found.classes == (0, 1)
        assert [(image.label, image.split, image.attribute) for image in found.images] == [
            (one % 2, ("train", "validation", "test")[one % 3], str(one % 4 // 2)) for one in range(12)
        ]
        assert found.contents([5]).to_pylist() == [image_sets.jpeg(5)]

    def test_by_folders_all_the_same(self, tmp_path):
        found = read(image_sets.written(birds(), tmp_path / "set"), Reading(metadata="no"))
        assert found.classes == ("0.Bird", "1.Bird", "2.Bird")

    def test_another_table(self, tmp_path):
        files = birds()
        files["tables/mine.tsv"] = b"file\tlabel\n" + b"".join(
            f"birds/{one % 3}.Bird/{one}.jpg\t{'ab'[one % 2]}\n".encode() for one in range(10)
        )
        place = image_sets.written(files, tmp_path / "set")
        found = read(place, Reading(metadata="tables/mine.tsv"))
        assert found.classes == ("a", "b")
        assert found.notes == {"images that the table does not name": 2}

    def test_what_is_wrong(self, tmp_path):
        place = image_sets.written(birds(), tmp_path / "set")
        with pytest.raises(ConfigError, match=r"there is no table 'other.csv' below the images"):
            read(place, Reading(metadata="other.csv"))
        with pytest.raises(ConfigError, match="attribute='y' is the column of the truth"):
            read(place, Reading(Columns(attribute="y")))
        (place / "birds/0.Bird/6.jpg").unlink()
        with pytest.raises(DataError, match=r"metadata.csv, row 6 names 0.Bird/6.jpg, which is not there"):
            read(place)
        assert read(place, DROP).notes == {"images that the table names and that are not there": 1}
        table = place / "birds/metadata.csv"
        text = table.read_text()
        table.write_text(text.replace("3,0.Bird/3.jpg,1,0,1", "3,0.Bird/3.jpg,,0,1"))
        with pytest.raises(DataError, match=r"metadata.csv, row 3: y is missing"):
            read(place)
        table.write_text(text.replace("3,0.Bird/3.jpg,1,0,1", "3,0.Bird/3.jpg,1,7,1"))
        with pytest.raises(DataError, match=r"row 3: split '7' is none of train, val, test or 0, 1, 2"):
            read(place)

    def test_columns_without_a_table(self, tmp_path):
        place = image_sets.written(image_sets.class_folders(3), tmp_path / "set")
        with pytest.raises(ConfigError, match=r"is read by its folders: columns \(y\) are of tables"):
            read(place, Reading(Columns(label="y")))
