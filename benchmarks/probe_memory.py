"""A million examples: how much memory a head takes that is trained on states larger than memory.

    python benchmarks/probe_memory.py FOLDER OPTIMIZER MODEL ITERATIONS

runs in a process of its own, on files that `write` has made there, and prints its peak.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from measured import Measured, seconds
from safetensors.torch import save_file

from surpass.memory import highest
from surpass.stages import TRUTH, Context, Examples, Features, Fit, Label, Stage
from surpass.store.artifact import Artifact
from surpass.tasks import find_task
from surpass.train.one_pass import SHARD_BYTES
from surpass.train.recipe import Recipe

_GIGABYTE = 1e9


class Large(NamedTuple):
    """How much: 2 GB on the disk as it stands."""

    examples: int = 1_000_000
    features: int = 1_024
    precision: str = "float16"


def write(folder: Path, large: Large) -> None:
    """Examples of two classes and their states, as the stages of both leave them.

    Raises:
        SystemExit: The disk is too full.
    """
    dtype = getattr(torch, large.precision)
    width = large.features * torch.empty((), dtype=dtype).element_size()
    need, free = 1.1 * width * large.examples, shutil.disk_usage(folder).free
    if free < need:
        raise SystemExit(f"{folder} has {free / 1e9:.1f} GB free and needs {need / 1e9:.1f}; name another")
    for name in ("examples", "features", "work", "fit", "label"):
        (folder / name).mkdir()
    generator = torch.Generator().manual_seed(0)
    normal_D = torch.randn(large.features, generator=generator)
    at_once = max(1, SHARD_BYTES // width)
    truth: list[npt.NDArray[np.int16]] = []
    for number, start in enumerate(range(0, large.examples, at_once)):
        size = min(at_once, large.examples - start)
        states_ND = torch.randn(size, large.features, generator=generator)
        noise_N = torch.randn(size, generator=generator) * large.features**0.5
        truth.append((states_ND @ normal_D + noise_N > 0).numpy().astype(np.int16))
        save_file({"0": states_ND.to(dtype)}, folder / "features" / f"states-{number:05d}.safetensors")
    ids = pa.array([f"e{number}" for number in range(large.examples)], pa.string())
    pq.write_table(pa.table({"id": ids}), folder / "features" / "index.parquet")
    candidates = pa.FixedSizeListArray.from_arrays(
        pa.array(np.tile(np.arange(2, dtype=np.uint16), large.examples)), 2
    ).cast(pa.list_(pa.uint16()))
    pq.write_table(pa.table({"id": ids, "candidates": candidates}), folder / "examples" / "inputs.parquet")
    pq.write_table(
        pa.table({"id": ids, "truth": np.concatenate(truth)}), folder / "examples" / "truth.parquet"
    )


def probe(folder: Path, optimizer: str, model: str, iterations: int) -> dict[str, Any]:
    """Train a head on the truth and label all examples with it, as in a study."""
    recipe = {
        "lbfgs": Recipe(epochs=iterations, optimizer="lbfgs", weight_decay=1e-4),
        "adamw": Recipe(epochs=1, batch_size=1024, learning_rate=1e-3),
    }[optimizer]
    # The task only names the examples, whose files are here already.
    examples = Examples(task=find_task("planted"), part="student", size=None, seed=0)
    fit = Fit(model=model, examples=examples, labels=TRUTH, recipe=recipe, seed=0, adapter="frozen")
    label = Label(source=fit, examples=examples)
    context = {
        stage.kind: Context(find=_finder(folder), out=folder / stage.kind, work=folder / "work")
        for stage in (fit, label)
    }
    training = seconds(lambda: fit.run(context["fit"]))
    labelling = seconds(lambda: label.run(context["label"]))
    said = pq.read_table(folder / "label" / "labels.parquet")["probs"]
    right_N = pq.read_table(folder / "examples" / "truth.parquet")["truth"].to_numpy()
    flat = said.combine_chunks().values.to_numpy()
    accuracy = float(((flat[1::2] > flat[::2]) == (right_N == 1)).mean())
    return {
        "gigabytes": highest() / _GIGABYTE,
        "training": training,
        "labelling": labelling,
        "accuracy": accuracy,
    }


def _finder(folder: Path) -> Any:
    def find(stage: Stage) -> Artifact:
        home = folder / stage.kind
        files = {path.name: {} for path in home.iterdir()}
        said = {"read_outs": [[None, None]]} if isinstance(stage, Features) else {}
        return Artifact(stage.kind, stage.id, home, {"files": files, "said": said})

    return find


def peaks(folder: Path, large: Large, model: str, iterations: int) -> list[Measured]:
    """The peak of either optimizer, each in a process of its own; files are removed afterwards."""
    home = folder / "large"
    home.mkdir()
    try:
        write(home, large)
        found = []
        for optimizer in ("lbfgs", "adamw"):
            command = [sys.executable, __file__, str(home), optimizer, model, str(iterations)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            details = json.loads(said) | large._asdict()
            what = f"{large.examples:,} x {large.features:,}, {optimizer}: memory"
            found.append(Measured(what, details["gigabytes"], 2.0, True, details, "GB"))
        return found
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps(probe(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
