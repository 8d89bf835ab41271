from __future__ import annotations

import io
import re
import sys
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from reference import image_sets
from surpass.data.images_content import FAULTS, TRAITS, examine, png_of
from surpass.errors import MissingExtraError


def grey() -> bytes:
    return image_sets.encoded(Image.fromarray(image_sets.noise(0, channels=1)), "PNG")


def colour(mode: str, kind: str) -> bytes:
    return image_sets.encoded(Image.fromarray(image_sets.noise(0)).convert(mode), kind)


KINDS = {
    "png": (image_sets.png(), ""),
    "jpeg": (image_sets.jpeg(), ""),
    "large jpeg": (image_sets.jpeg(side=100), ""),
    "webp": (colour("RGB", "WEBP"), ""),
    "bmp": (colour("RGB", "BMP"), ""),
    "grey": (grey(), "grey"),
    "grey jpeg": (image_sets.jpeg(mode="L"), "grey"),
    "bilevel": (colour("1", "PNG"), "grey"),
    "cmyk": (image_sets.jpeg(mode="CMYK"), "cmyk"),
    "palette": (colour("P", "PNG"), "palette"),
    "gif": (image_sets.moving("GIF", 1), "palette"),
    "transparent": (colour("RGBA", "PNG"), "alpha"),
    "16 bits": (image_sets.deep_png(), "grey,deep"),
    "16 bits in colour": (image_sets.deep_colour_png(), "deep"),
    "animation": (image_sets.moving("GIF"), "palette,frames"),
    "moving png": (image_sets.moving("PNG"), "frames"),
    "moving webp": (image_sets.moving("WEBP"), "frames"),
    "pages": (image_sets.moving("TIFF"), "frames"),
    "turned": (image_sets.turned(), "turned"),
    "lab": (image_sets.encoded(Image.fromarray(image_sets.noise(0)).convert("LAB"), "TIFF"), "other"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images(kind):
    content, traits = KINDS[kind]
    verdict = examine(content)
    assert (verdict.fault, verdict.said, verdict.traits) == ("", "", traits)
    assert verdict.digest == sha256(content).digest()


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0no data at all", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\xff\xff\xff\xff"],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_data_are_no_damage(exif):
    content = image_sets.encoded(Image.fromarray(image_sets.noise(0)), "JPEG", exif=exif)
    assert (examine(content).fault, examine(content).traits) == ("", "")


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(
        MissingExtraError, match=r"Pillow, .* is not installed; pip install 'surpass\[vision\]'"
    ):
        examine(b"")


def test_every_trait_is_tried():
    assert {trait for _, traits in KINDS.values() for trait in traits.split(",") if trait} == set(TRAITS)


CRC_OFF = bytearray(image_sets.png())
CRC_OFF[45] ^= 1
DAMAGED = {
    "empty": (b"", "empty", "is empty"),
    "text": (b"hello there, no image", "foreign", "is no image that can be read .begins with b'hello"),
    "page": (b"<html>404</html>", "foreign", "<html>"),
    "cut jpeg": (image_sets.jpeg(side=64)[:-200], "corrupt", "is damaged .*truncated"),
    "cut large jpeg": (image_sets.jpeg(side=300)[:-2000], "corrupt", "is damaged .*truncated"),
    "cut png": (image_sets.png()[:-60], "corrupt", "is damaged"),
    "png with one other bit": (bytes(CRC_OFF), "corrupt", "is damaged"),
    "cut gif": (image_sets.moving("GIF", 1)[:-100], "corrupt", "is damaged"),
    "cut webp": (KINDS["webp"][0][:-40], "corrupt", "begins like WebP|is damaged"),
    "header of a jpeg": (image_sets.jpeg()[:8], "corrupt", "begins like JPEG and cannot be read|is damaged"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer", "git lfs pull"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage(kind):
    content, fault, said = DAMAGED[kind]
    verdict = examine(content)
    assert verdict.fault == fault
    assert re.search(said, verdict.said)
    assert verdict.digest == sha256(content).digest()


def test_every_fault_is_tried():
    assert {fault for _, fault, _ in DAMAGED.values()} == set(FAULTS)


def test_png_of_raw_pixels():
    content, pixels = image_sets.record((3,), 5)
    with Image.open(io.BytesIO(png_of(content[1:]))) as image:
        image.verify()
    with Image.open(io.BytesIO(png_of(content[1:]))) as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), pixels)
    assert examine(png_of(content[1:])).fault == ""
