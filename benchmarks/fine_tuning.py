"""Fine-tuning: whole experiments against a Trainer and a plain loop, its rate, and its memory.

    python benchmarks/fine_tuning.py FOLDER_OF_SST2 [--parts rate study many ...] [--json FILE]

Needs packaged models: `surpass models fetch minilm-l3 minilm-l6 mpnet`. `docs/benchmarks.md` says what is
measured, and what came out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from measured import Measured, table
from tuning_frozen import kept
from tuning_labels import in_one_load
from tuning_memory import peaks
from tuning_rates import rates
from tuning_studies import Sizes, many, one_seed

from surpass.engine.inline import run
from surpass.stages import Examples
from surpass.store import Store
from surpass.tasks import find_task

PARTS = ("rate", "study", "many", "labels", "memory", "frozen")


def main(arguments: Sequence[str] | None = None) -> list[Measured]:
    """Measure, print, and write."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    _quiet()
    found: list[Measured] = []

    def add(measured: Sequence[Measured]) -> None:
        found.extend(measured)
        print(table(measured), flush=True)

    with tempfile.TemporaryDirectory(prefix="tuning-", dir=options.folder) as name:
        folder = Path(name)
        if "rate" in options.parts:
            texts = Examples(
                task=find_task(f"sst2(source={options.sst2})"), part="weak", size=options.texts, seed=0
            )
            store = Store(folder / "texts")
            run([texts], store)
            artifact = store.find(texts.kind, texts.id)
            assert artifact is not None
            inputs = pq.read_table(artifact.file("inputs.parquet"))
            for model in options.models:
                add(rates(model, inputs, options.rounds, options.batch, options.clock))
        sizes = Sizes(options.train, options.test, options.epochs)
        if "study" in options.parts:
            add(one_seed(options.sst2, sizes, folder, options.rounds, options.threads, options.clock))
        if "many" in options.parts:
            once = sizes._replace(epochs=1, seeds=options.seeds)
            add(many(options.sst2, once, folder, options.threads, options.clock))
        if "labels" in options.parts:
            common = options.rounds, options.threads, options.clock
            add([in_one_load(options.sst2, folder, size, *common) for size in (20, options.test)])
        if "memory" in options.parts:
            add(peaks(options.models, options.threads))
        if "frozen" in options.parts:
            add(kept(options.sst2, options.texts, folder, options.rounds, options.clock))
    if options.json:
        options.json.write_text(json.dumps([each._asdict() for each in found], indent=1) + "\n")
    return found


def _quiet() -> None:
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def _options(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sst2", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--models", nargs="+", default=["package:minilm-l6", "package:mpnet"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=256, help="of the rate")
    parser.add_argument("--batch", type=int, default=32, help="examples of an optimizer step, of the rate")
    parser.add_argument("--train", type=int, default=400, help="examples of either half")
    parser.add_argument("--test", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="of five methods")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu where others run too")
    parser.add_argument("--folder", type=Path, help="for temporary files")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
