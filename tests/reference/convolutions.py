"""Convolutional networks written out once more, from the weights of a state alone: slow twins."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional


def convolved(x: Tensor, weight: Tensor, stride: int, padding: int, bias: Tensor | None = None) -> Tensor:
    """Place by place: every window unfolded and multiplied; as many groups as the shapes say."""
    kernel = weight.shape[2]
    groups = x.shape[1] // weight.shape[1]
    size = [(side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:]]
    windows = functional.unfold(x, kernel, padding=padding, stride=stride)
    windows = windows.view(len(x), groups, -1, windows.shape[2])
    found = torch.einsum("ngkp,gok->ngop", windows, weight.view(groups, len(weight) // groups, -1))
    found = found.reshape(len(x), len(weight), *size)
    return found if bias is None else found + bias[:, None, None]


def normed(x: Tensor, state: Mapping[str, Tensor], name: str, epsilon: float) -> Tensor:
    """With statistics of its own."""
    scale = state[f"{name}.weight"] / (state[f"{name}.running_var"] + epsilon).sqrt()
    shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def same(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Padded as TensorFlow does it: a side is divided by the stride and rounded up."""
    kernel, side = weight.shape[2], x.shape[2]
    lacking = max(((side + stride - 1) // stride - 1) * stride + kernel - side, 0)
    before, behind = lacking // 2, lacking - lacking // 2
    return convolved(functional.pad(x, (before, behind, before, behind)), weight, stride, 0)


def efficientnet_lite(state: Mapping[str, Tensor], strides: list[int], x: Tensor) -> Tensor:
    """The state of each image; `strides` of each block."""

    def part(x: Tensor, convolution: str, norm: str, stride: int = 1, cut: bool = True) -> Tensor:
        found = normed(same(x, state[f"{convolution}.weight"], stride), state, norm, 1e-3)
        return found.clamp(0, 6) if cut else found

    x = part(x, "_conv_stem", "_bn0", 2)
    for number, stride in enumerate(strides):
        block, hidden = f"_blocks.{number}.", x
        if f"{block}_expand_conv.weight" in state:
            hidden = part(hidden, f"{block}_expand_conv", f"{block}_bn0")
        hidden = part(hidden, f"{block}_depthwise_conv", f"{block}_bn1", stride)
        hidden = part(hidden, f"{block}_project_conv", f"{block}_bn2", cut=False)
        x = x + hidden if hidden.shape == x.shape and stride == 1 else hidden
    return part(x, "_conv_head", "_bn1").mean(dim=(2, 3))


def alexnet(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The last hidden layer of each image."""
    for number, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
        weight, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
        x = convolved(x, weight, stride, padding, bias).clamp(min=0)
        if number in (0, 3, 10):
            x = x.unfold(2, 3, 2).unfold(3, 3, 2).flatten(4).amax(dim=4)
    side = x.shape[2]
    cells = [(row * side // 6, -(-(row + 1) * side // 6)) for row in range(6)]
    x = torch.stack(
        [
            torch.stack([x[:, :, top:end, left:right].mean(dim=(2, 3)) for left, right in cells], dim=2)
            for top, end in cells
        ],
        dim=2,
    ).flatten(1)
    for name in ("classifier.1", "classifier.4"):
        x = (x @ state[f"{name}.weight"].T + state[f"{name}.bias"]).clamp(min=0)
    return x


def small_network(state: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """The state of one image, (1, 3, H, W)."""

    def part(x: Tensor, convolution: str, norm: str, stride: int) -> Tensor:
        found = convolved(x, state[f"{convolution}.weight"], stride, 1)[0]
        num_groups = next(number for number in (8, 4, 2, 1) if len(found) % number == 0)
        groups = []
        for group in found.split(len(found) // num_groups):
            groups.append((group - group.mean()) / (group.var(correction=0) + 1e-5).sqrt())
        scaled = (
            torch.cat(groups) * state[f"{norm}.weight"][:, None, None] + state[f"{norm}.bias"][:, None, None]
        )
        return scaled[None]

    x = part(image, "stem", "norm", 1).clamp(min=0)
    for number, stride in enumerate((1, 2, 2)):
        block = f"stages.{number}."
        hidden = part(x, f"{block}conv1", f"{block}norm1", stride).clamp(min=0)
        hidden = part(hidden, f"{block}conv2", f"{block}norm2", 1)
        beside = f"{block}beside.weight"
        x = (hidden + (convolved(x, state[beside], stride, 0) if beside in state else x)).clamp(min=0)
    return x.mean(dim=(2, 3))


def transformers_mobilenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of MobileNetV2 under the names of transformers."""
    renamed = {}
    for name, value in state.items():
        first, number, *rest = name.split(".")
        if number == "0":
            where = "conv_stem.first_conv"
        elif number == "18":
            where = "conv_1x1"
        elif number == "1":
            where = "conv_stem." + ("conv_3x3" if rest[:2] == ["conv", "0"] else "reduce_1x1")
        else:
            where = (
                f"layer.{int(number) - 2}."
                + ("expand_1x1", "conv_3x3", "reduce_1x1", "reduce_1x1")[int(rest[1])]
            )
        last = ".".join(rest[-2:]) if rest[-2].isdigit() else rest[-1]
        is_norm = value.dim() != 4
        renamed[f"{where}.{'normalization' if is_norm else 'convolution'}.{last.rpartition('.')[2]}"] = value
        assert first == "features"
    return renamed


def transformers_resnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of ResNet-50 under the names of transformers."""
    renamed = {}
    for name, value in state.items():
        parts = name.split(".")
        kind = "convolution" if value.dim() == 4 else "normalization"
        if parts[0] in ("conv1", "bn1"):
            where = "embedder.embedder"
        else:
            stage, block, what = int(parts[0].removeprefix("layer")) - 1, parts[1], parts[2]
            where = f"encoder.stages.{stage}.layers.{block}."
            where += "shortcut" if what == "downsample" else f"layer.{int(what[-1]) - 1}"
        renamed[f"{where}.{kind}.{parts[-1]}"] = value
    return renamed
