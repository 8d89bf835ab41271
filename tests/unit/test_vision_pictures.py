"""Pictures of every kind as red, green and blue, and examples that are decoded when they are read."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from reference.pictures import file_of, images_of, picture, some_files
from surpass.errors import DataError, MissingExtraError
from surpass.models import image_examples
from surpass.models.image_examples import ImageExamples, in_colour, prepared
from surpass.models.image_preparing import Preparation

SQUARE = Preparation(16, None, (16, 16), 2, 1 / 255, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def colours() -> Image.Image:
    return picture(np.random.default_rng(3), 20, 30)


def seen(image: Image.Image, form: str = "PNG", **settings) -> np.ndarray:
    return np.asarray(in_colour(file_of(image, form, **settings)))


class TestKinds:
    def test_colour_is_left_alone(self, colours):
        for form in ("PNG", "BMP", "TIFF", "GIF"):
            given = colours.quantize(64) if form == "GIF" else colours
            np.testing.assert_array_equal(seen(given, form), np.asarray(given.convert("RGB")))

    @pytest.mark.parametrize("mode", ["L", "1"])
    def test_grey(self, colours, mode):
        given = colours.convert(mode)
        found = seen(given)
        assert found.shape == (20, 30, 3)
        for channel in range(3):
            np.testing.assert_array_equal(found[:, :, channel], np.asarray(given.convert("L")))

    def test_palette(self, colours):
        given = colours.quantize(16)
        assert given.mode == "P"
        np.testing.assert_array_equal(seen(given), np.asarray(given.convert("RGB")))

    def test_cmyk(self, colours):
        np.testing.assert_allclose(
            seen(colours.convert("CMYK"), "JPEG", quality=100, subsampling=0).astype(int),
            np.asarray(colours),
            atol=12,
        )

    def test_what_is_transparent_is_white(self, colours):
        clear = colours.convert("RGBA")
        alpha = np.zeros((20, 30), np.uint8)
        alpha[:10] = 255
        alpha[10:15] = 51
        clear.putalpha(Image.fromarray(alpha))
        found, whole = seen(clear).astype(int), np.asarray(colours).astype(int)
        np.testing.assert_array_equal(found[:10], whole[:10])
        np.testing.assert_allclose(found[10:15], whole[10:15] * 0.2 + 255 * 0.8, atol=1)
        assert (found[15:] == 255).all()
        grey = clear.convert("LA")
        assert (seen(grey)[15:] == 255).all()

    def test_a_palette_or_a_colour_may_be_transparent(self, colours):
        given = colours.quantize(4)
        found = seen(given, transparency=0)
        hidden = np.asarray(given) == 0
        assert hidden.any()
        assert (found[hidden] == 255).all()
        np.testing.assert_array_equal(found[~hidden], np.asarray(given.convert("RGB"))[~hidden])
        corner = tuple(int(value) for value in np.asarray(colours)[0, 0])
        assert (seen(colours, transparency=corner)[0, 0] == 255).all()

    def test_sixteen_bits(self):
        values = np.linspace(0, 65535, 16 * 12).reshape(12, 16).astype(np.uint16)
        found = seen(Image.fromarray(values))
        np.testing.assert_array_equal(found[:, :, 0], np.rint(values / 257).astype(np.uint8))
        wide = Image.fromarray(values.astype(np.int32))
        np.testing.assert_array_equal(seen(wide, "TIFF"), found)
        small = Image.fromarray(np.arange(200, dtype=np.int32).reshape(10, 20))
        np.testing.assert_array_equal(seen(small, "TIFF")[:, :, 1].ravel(), np.arange(200))

    def test_fractions(self):
        values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
        wanted = np.rint(values * 255).astype(np.uint8)
        np.testing.assert_array_equal(seen(Image.fromarray(values), "TIFF")[:, :, 2], wanted)

    def test_the_first_of_an_animation(self, colours):
        second = picture(np.random.default_rng(4), 20, 30)
        for form in ("GIF", "PNG"):
            frames = [image.quantize(64) if form == "GIF" else image for image in (colours, second)]
            found = seen(frames[0], form, save_all=True, append_images=frames[1:])
            np.testing.assert_array_equal(found, np.asarray(frames[0].convert("RGB")))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_turned_as_its_exif_data_says(self, colours, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        whole = np.asarray(colours)
        turned = {
            1: whole,
            2: whole[:, ::-1],
            3: whole[::-1, ::-1],
            4: whole[::-1],
            5: whole.transpose(1, 0, 2),
            6: whole[::-1].transpose(1, 0, 2),
            7: whole[::-1, ::-1].transpose(1, 0, 2),
            8: whole[:, ::-1].transpose(1, 0, 2),
        }
        np.testing.assert_array_equal(seen(colours, "PNG", exif=exif), turned[orientation])

    def test_what_cannot_be_decoded(self, colours):
        whole = file_of(colours)
        for data in (b"", b"no picture", whole[: len(whole) // 2], whole[:60] + b"\x00" + whole[61:]):
            with pytest.raises(DataError, match=r"cannot be decoded \(") as caught:
                in_colour(data)
            assert "\n" not in str(caught.value)


class TestExamples:
    def test_one_after_the_other(self):
        files = some_files(9)
        examples = ImageExamples(images_of(files), SQUARE)
        assert len(examples) == 9
        passes = [
            np.array([3, 1]),
            np.array([8]),
            np.array([0, 1, 2]),
            np.array([], np.int64)[:0],
            np.array([4]),
        ]
        passes.pop(3)
        given = list(examples.in_turn(passes))
        for rows, images in zip(passes, given, strict=True):
            assert images.shape == (len(rows), 16, 16, 3)
            for row, image in zip(rows, images, strict=True):
                np.testing.assert_array_equal(image.numpy(), prepared(in_colour(files[row]), SQUARE))

    def test_only_a_few_are_decoded_ahead(self, monkeypatch):
        monkeypatch.setattr(image_examples, "KEPT", 0)
        begun, lock = [], threading.Lock()

        def counted(data):
            with lock:
                begun.append(1)
            return in_colour(data)

        monkeypatch.setattr(image_examples, "in_colour", counted)
        turn = ImageExamples(images_of(some_files(40)), SQUARE).in_turn(
            [np.arange(n, n + 2) for n in range(0, 40, 2)]
        )
        next(turn)
        turn.close()
        assert len(begun) <= 2 * (image_examples.AHEAD + 1)

    def test_small_ones_are_decoded_once(self, monkeypatch):
        begun = []

        def counted(data):
            begun.append(1)
            return in_colour(data)

        monkeypatch.setattr(image_examples, "in_colour", counted)
        rows = np.arange(4)
        for kept, times in ((4 * 16 * 16 * 3, 4), (4 * 16 * 16 * 3 - 1, 8)):
            begun.clear()
            monkeypatch.setattr(image_examples, "KEPT", kept)
            examples = ImageExamples(images_of(some_files(4)), SQUARE)
            first, second = (next(examples.in_turn([rows])) for _ in range(2))
            assert (first == second).all()
            assert len(begun) == times

    def test_digest(self):
        files = some_files(3)
        digest = ImageExamples(images_of(files), SQUARE).digest()
        assert digest == ImageExamples(images_of(files, num_classes=5, more=[1, 2, 3]), SQUARE).digest()
        chunked = pa.concat_tables([images_of(files[:1]), images_of(files[1:])])
        assert digest == ImageExamples(chunked, SQUARE).digest()
        others = [files[::-1], [files[0] + files[1][:1], files[1][1:], files[2]], files[:2]]
        found = {ImageExamples(images_of(other), SQUARE).digest() for other in others}
        assert (
            len({digest, *found, ImageExamples(images_of(files), SQUARE._replace(resample=3)).digest()}) == 5
        )

    def test_a_damaged_one_is_named(self):
        files = [*some_files(2), b"GIF89a", None]
        examples = ImageExamples(images_of(files), SQUARE)
        with pytest.raises(
            DataError, match=r"the image of example 'i2' cannot be decoded \(.*; mend its file or"
        ):
            list(examples.in_turn([np.arange(3)]))
        with pytest.raises(
            DataError, match="the image of example 'i3' is missing; mend its file or leave it out"
        ):
            list(examples.in_turn([np.array([3])]))

    def test_without_images(self):
        with pytest.raises(
            DataError, match=r"no column 'image', .*; they have id, candidates: take a task of images"
        ):
            ImageExamples(images_of(some_files(1)).drop(["image"]), SQUARE)

    def test_without_pillow(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "PIL", None)
        monkeypatch.setitem(sys.modules, "PIL.Image", None)
        examples = ImageExamples(images_of([b"x"]), SQUARE)
        with pytest.raises(MissingExtraError, match=r"images need the package Pillow .* 'surpass\[vision\]'"):
            list(examples.in_turn([np.arange(1)]))


def test_photographs(tmp_path):
    """Files that scikit-learn ships, against PIL alone."""
    sklearn = pytest.importorskip("sklearn")
    for name in ("china.jpg", "flower.jpg"):
        data = (Path(sklearn.__file__).parent / "datasets" / "images" / name).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            whole = image.convert("RGB")
        wanted = whole.resize((int(16 * whole.width / whole.height), 16), 2)
        left = (wanted.width - 16) // 2
        np.testing.assert_array_equal(
            prepared(in_colour(data), SQUARE), np.asarray(wanted)[:, left : left + 16]
        )
