"""Pictures made up for tests, tiny models of images with random weights, and slow twins."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

BIT = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 40},
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
    "do_convert_rgb": True,
}
"""A preprocessor for squares of 32 pixels."""

_TOKENS = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
_MAPS = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 1, 1]}
SHAPES: dict[str, dict[str, Any]] = {
    "vit": _TOKENS,
    "deit": _TOKENS,
    "dinov2": _TOKENS,
    "dinov2_with_registers": _TOKENS | {"num_register_tokens": 2},
    "beit": _TOKENS,
    "swin": {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4]}
    | {"window_size": 4},
    "resnet": _MAPS,
    "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32},
}
"""Tiny models of transformers that read squares of 32 pixels."""

BLOCKS = {"swin": 2, "resnet": 4, "convnext": 4, "mobilenet_v2": 16}
CLASS_TOKEN = {"vit": 1, "deit": 2, "dinov2": 1, "dinov2_with_registers": 3}
"""Tokens before those of the patches, of models that read the first of them."""


_STACKS = {"swin": "encoder.layers", "mobilenet_v2": "layer", "dinov2": "encoder.layer"}
_STACKS |= {
    "dinov2_with_registers": "encoder.layer",
    "resnet": "encoder.stages",
    "convnext": "encoder.stages",
}


def picture(rng: np.random.Generator, height: int, width: int) -> Any:
    """Soft spots of colour, as PIL's image."""
    from PIL import Image

    spots = rng.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((width, height), 3)


def file_of(image: Any, form: str = "PNG", **settings: Any) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    image.save(out, form, **settings)
    return out.getvalue()


def some_files(num: int, *, seed: int = 0) -> list[bytes]:
    """Files of pictures of many shapes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(28, 100, (num, 2)).tolist()
    return [file_of(picture(rng, *size), ("PNG", "JPEG")[n % 2]) for n, size in enumerate(sizes)]


def images_of(files: list[bytes | None], *, num_classes: int = 3, **columns: list[Any]) -> pa.Table:
    candidates = pa.array([list(range(num_classes))] * len(files), pa.list_(pa.uint16()))
    ids = [f"i{number}" for number in range(len(files))]
    images = pa.array(files, pa.large_binary())
    return pa.table({"id": ids, "image": images, "candidates": candidates} | columns)


def save_tiny_vision(
    folder: Path, kind: str, *, num_classes: int | None = None, seed: int = 0, **said: Any
) -> Path:
    """A model of `SHAPES` with random weights and statistics, and a classifier where classes are named."""
    import transformers

    config = transformers.AutoConfig.for_model(kind, **SHAPES[kind])
    if num_classes is not None:
        config.num_labels = num_classes
    torch.manual_seed(seed)
    maker = getattr(transformers, _maker(kind, num_classes is not None))
    model = maker(config).eval()
    with torch.no_grad():  # far from uniform, so that wrong places are noticed
        for parameter in model.parameters():
            if parameter.dim() == 4:
                torch.nn.init.kaiming_normal_(parameter)
            elif parameter.dim() > 1:
                parameter.mul_(2.0)
        for name, value in model.named_buffers():
            value.normal_(std=0.1) if name.endswith("running_mean") else None
            value.uniform_(0.5, 2.0) if name.endswith("running_var") else None
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(BIT | said))
    return folder


def _maker(kind: str, classifies: bool) -> str:
    names = {"vit": "ViT", "deit": "DeiT", "dinov2_with_registers": "Dinov2WithRegisters", "resnet": "ResNet"}
    names |= {"convnext": "ConvNext", "mobilenet_v2": "MobileNetV2"}
    return names.get(kind, kind.capitalize()) + ("ForImageClassification" if classifies else "Model")


def as_processed(folder: Path, file: bytes) -> torch.Tensor:
    """What the processor of transformers makes of one file, float32 (1, 3, height, width)."""
    import transformers
    from PIL import Image

    said = json.loads((folder / "preprocessor_config.json").read_text())
    name = said["image_processor_type"].removesuffix("Fast") + "Pil"
    processor = getattr(transformers, name).from_pretrained(folder)
    image = Image.open(io.BytesIO(file)).convert("RGB")
    return processor(image, return_tensors="pt")["pixel_values"]


def state_of_image(
    folder: Path, kind: str, file: bytes, layer: int | None, pooling: str | None
) -> list[float]:
    """The state of one image alone, pooled place by place from what transformers itself gives."""
    import transformers

    body = transformers.AutoModel.from_pretrained(folder).eval()
    kept: list[Any] = []
    if layer is not None:
        stack = body.get_submodule(_STACKS.get(kind, "layers"))
        stack[layer - 1].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with torch.no_grad():
        given = body(pixel_values=as_processed(folder, file))
    if layer is None and pooling is None and kind not in CLASS_TOKEN:
        return given.pooler_output.flatten().tolist()
    states = kept[0] if kept else given.last_hidden_state
    states = states[0] if isinstance(states, tuple) else states
    if states.dim() == 4:
        places = [
            states[0, :, row, column] for row in range(states.shape[2]) for column in range(states.shape[3])
        ]
    else:
        before = CLASS_TOKEN.get(kind, 1 if kind == "beit" else 0)
        first = (pooling or ("first" if before else "mean")) == "first"
        places = [states[0, 0]] if first else list(states[0, before:])
    return [
        math.fsum(place[number].item() for place in places) / len(places) for number in range(len(places[0]))
    ]
