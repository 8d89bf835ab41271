"""What the bytes of one image are: of which kind, and whether they can be read to their end."""

from __future__ import annotations

import struct
import zlib
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

from surpass.errors import MissingExtraError
from surpass.hub import one_line

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".tga", ".ico", ".jp2", ".j2k", ".avif", ".heic", ".heif"),
    *(".svg", ".raw", ".dng"),
)
"""Endings of names that only images have, also of kinds that cannot be read: none is passed over."""

TRAITS = {
    "grey": "grey images, made RGB",
    "palette": "palette images, made RGB",
    "cmyk": "CMYK images, made RGB",
    "other": "images in another colour space, made RGB",
    "alpha": "images with transparency, laid over white",
    "deep": "images of more than 8 bits a channel, made 8 bits",
    "frames": "files of several images or an animation, of which the first is read",
    "turned": "images turned as their EXIF orientation says",
}
"""What is changed when an image is read, in words."""

FAULTS = {
    "empty": "empty files",
    "corrupt": "corrupt images",
    "foreign": "files that are no images",
    "pointer": "pointers of Git LFS",
}
"""What keeps a file from being read, in words."""

SIDE = 32
"""Pixels along a side of an image of the CIFAR binary files."""

_POINTER = b"version https://git-lfs"
_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
_MODES = {
    "1": ("grey",),
    "L": ("grey",),
    "LA": ("grey", "alpha"),
    "La": ("grey", "alpha"),
    "P": ("palette",),
    "PA": ("palette", "alpha"),
    "RGB": (),
    "RGBX": (),
    "RGBA": ("alpha",),
    "RGBa": ("alpha",),
    "CMYK": ("cmyk",),
    "F": ("grey", "deep"),
}
_DEEP_PNG = 16
_ORIENTATION = 0x0112
_TURNED = range(2, 9)


class Verdict(NamedTuple):
    """What was found of a file.

    Attributes:
        digest: The sha256 of its bytes.
        traits: Keys of `TRAITS`, in their order, with commas between.
        fault: A key of `FAULTS`; empty for an image that can be read.
        said: The reason, for people.
    """

    digest: bytes
    traits: str = ""
    fault: str = ""
    said: str = ""


def examine(content: bytes) -> Verdict:
    """Reads an image to its end, the first frame in all its pixels.

    Damage is what the decoder notices: bytes that are missing or contradict their checksums. JPEG has no
    checksums, so changed bytes in the middle of one may go unnoticed.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    image_module = require_pillow()
    digest = sha256(content).digest()
    if not content:
        return Verdict(digest, fault="empty", said="is empty")
    if content.startswith(_POINTER):
        said = "is a pointer of Git LFS: run `git lfs pull` where it was cloned"
        return Verdict(digest, fault="pointer", said=said)
    try:
        return Verdict(digest, ",".join(_traits(image_module, content)))
    except image_module.UnidentifiedImageError:
        return Verdict(digest, fault=_unidentified(content), said=_beginning(content))
    # Readers of formats raise what they like: OSError, SyntaxError, struct.error, zlib.error, KeyError, ...
    except Exception as error:
        return Verdict(digest, fault="corrupt", said=f"is damaged ({one_line(error)})")


def require_pillow() -> Any:
    """The module that reads images.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            "Pillow, which reads images, is not installed; pip install 'surpass[vision]'"
        ) from None
    return Image


def png_of(planes: bytes) -> bytes:
    """A PNG of an image of the CIFAR binary files: red, green and blue planes of `SIDE` x `SIDE` bytes.

    Not compressed: Parquet compresses what is stored, and there is nothing to choose.
    """
    import numpy as np

    pixels = np.frombuffer(planes, np.uint8).reshape(3, SIDE, SIDE).transpose(1, 2, 0)
    # Each line begins with the number of its filter: none.
    lines = np.pad(pixels.reshape(SIDE, 3 * SIDE), ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _traits(module: Any, content: bytes) -> list[str]:
    found: set[str] = set()
    with module.open(BytesIO(content)) as image:
        found.update(_MODES.get(image.mode, ("grey", "deep") if image.mode.startswith("I") else ("other",)))
        if "transparency" in image.info:
            found.add("alpha")
        if image.format == "PNG":
            if content[24] == _DEEP_PNG:
                found.add("deep")
            # Reading alone looks at no checksums.
            with module.open(BytesIO(content)) as whole:
                whole.verify()
        if getattr(image, "n_frames", 1) > 1:
            found.add("frames")
        if image.getexif().get(_ORIENTATION) in _TURNED:
            found.add("turned")
        if image.format == "JPEG":
            # Every byte is decoded, but only an eighth of the pixels of each side is made.
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
    return [trait for trait in TRAITS if trait in found]


def _unidentified(content: bytes) -> str:
    return "corrupt" if any(map(content.startswith, _BEGINNINGS)) else "foreign"


def _beginning(content: bytes) -> str:
    for beginning, kind in _BEGINNINGS.items():
        if content.startswith(beginning):
            return f"begins like {kind} and cannot be read as such"
    return f"is no image that can be read (begins with {content[:16]!r})"
