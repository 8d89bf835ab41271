"""Small made images of every kind, and image sets of them in every form in which sets are published."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 12


def noise(seed: int, *, side: int = SIDE, channels: int = 3) -> np.ndarray:
    shape = (side, side, channels) if channels > 1 else (side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(seed: int = 0) -> bytes:
    return encoded(Image.fromarray(noise(seed)), "PNG")


def jpeg(seed: int = 0, mode: str = "RGB", side: int = SIDE) -> bytes:
    return encoded(Image.fromarray(noise(seed, side=side)).convert(mode), "JPEG")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(noise(1)), "JPEG", exif=exif)


def moving(kind: str, frames: int = 3) -> bytes:
    images = [Image.fromarray(noise(seed)) for seed in range(frames)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:], duration=50)


def deep_png(seed: int = 0) -> bytes:
    values = np.random.default_rng(seed).integers(0, 2**16, (SIDE, SIDE), dtype=np.uint16)
    return encoded(Image.fromarray(values), "PNG")


def deep_colour_png() -> bytes:
    """A PNG of 16 bits a channel in colour, which Pillow reads and cannot write."""
    lines = b"".join(b"\0" + bytes(range(6 * 2)) for _ in range(2))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(lines)))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + body


def class_folders(number: int = 20, splits: Mapping[str, int] | None = None) -> dict[str, bytes]:
    """Files of two classes, `cat` and `dog`, by path: PNG of noise, all different."""
    files = {}
    for place, (split, size) in enumerate((splits or {"": number}).items()):
        for label, name in enumerate(("cat", "dog")):
            for one in range(size):
                path = f"{split}/{name}/{one:03}.png".lstrip("/")
                files[path] = png(seed=10_000 * place + 1000 * label + one)
    return files


def written(files: Mapping[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def archived(files: Mapping[str, bytes], path: Path, folders: tuple[str, ...] = ()) -> Path:
    """An archive by the ending of its name, with empty folders if wanted."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for folder in folders:
                archive.writestr(f"{folder}/", b"")
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    mode = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[path.suffix]
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def record(labels: tuple[int, ...], seed: int) -> tuple[bytes, np.ndarray]:
    """An image as the CIFAR binary files have it, and its pixels (32, 32, 3)."""
    pixels = noise(seed, side=32)
    planes = b"".join(pixels[:, :, channel].tobytes() for channel in range(3))
    return bytes(labels) + planes, pixels


def cifar10(each: int = 20) -> dict[str, bytes]:
    """The binary version: five batches and a test of so many images each, of all classes in turn."""
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    files = {"cifar-10-batches-bin/batches.meta.txt": "".join(f"{name}\n" for name in [*names, ""]).encode()}
    for place, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        records = [record((one % 10,), 1000 * place + one)[0] for one in range(each)]
        files[f"cifar-10-batches-bin/{name}.bin"] = b"".join(records)
    return files


def cifar100(num_train: int = 800, num_test: int = 100) -> dict[str, bytes]:
    files = {
        "cifar-100-binary/fine_label_names.txt": "\n".join(f"fine{n:02}" for n in range(100)).encode(),
        "cifar-100-binary/coarse_label_names.txt": "\n".join(f"coarse{n:02}" for n in range(20)).encode(),
    }
    for place, (name, size) in enumerate((("train", num_train), ("test", num_test))):
        records = [record((one % 20, one % 100), 1000 * place + one)[0] for one in range(size)]
        files[f"cifar-100-binary/{name}.bin"] = b"".join(records)
    return files


def imagenet(folder: Path, each: int = 10) -> tuple[Path, list[int]]:
    """A validation set of three classes with its kit, and the class of each image by WordNet id.

    The kit numbers classes otherwise than WordNet does, and two of them have the same words.
    """
    from scipy.io import savemat

    kind = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("num_children", "f8")]
    rows = [(1, "n03", "crane", 0), (2, "n01", "tench, Tinca tinca", 0), (3, "n02", "crane", 0)]
    rows.append((4, "n00", "entity", 3))
    savemat(stream := io.BytesIO(), {"synsets": np.array(rows, dtype=kind).reshape(-1, 1)})
    numbers = [one % 3 + 1 for one in range(3 * each)]
    kit = {
        "ILSVRC2012_devkit_t12/data/meta.mat": stream.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": "".join(
            f"{number}\n" for number in numbers
        ).encode(),
        "ILSVRC2012_devkit_t12/readme.txt": b"about",
    }
    images = {f"ILSVRC2012_val_{place:08d}.JPEG": jpeg(place) for place in range(1, 3 * each + 1)}
    folder.mkdir(parents=True, exist_ok=True)
    archived(images, folder / "ILSVRC2012_img_val.tar")
    archived(kit, folder / "ILSVRC2012_devkit_t12.tar.gz")
    return folder, [{1: 2, 2: 0, 3: 1}[number] for number in numbers]
