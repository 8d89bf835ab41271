"""Fits of tiny models in one process, and spread over several that are forks of one interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save_file
from torch import Tensor

from reference.language import inputs_of, pairs_of, some_texts
from surpass import labels as lb
from surpass.errors import ConfigError, Stopped
from surpass.models.adapters import find_adapter
from surpass.models.families import load_model
from surpass.models.sources import resolve
from surpass.tasks.chess import ChessTask
from surpass.train.forms import form_of
from surpass.train.loop import Labels, Running
from surpass.train.mesh import Mesh
from surpass.train.mesh_state import gathered
from surpass.train.recipe import Recipe

NUM_EXAMPLES, BATCH = 21, 9
"""No number of processes divides either, and the last batch of an epoch has three examples."""

RECIPE = Recipe(epochs=2, batch_size=BATCH, learning_rate=2e-3, weight_decay=0.1)


class Case(NamedTuple):
    """What is fitted; `mesh` empty for this process alone."""

    model: str
    mesh: str = ""
    loss: str = "xent"
    adapter: str = "full"
    ema: float = 0.0
    micro_batch: int | None = None
    save_memory: bool = False
    pairs: bool = False
    completions: bool = False

    @property
    def alone(self) -> Case:
        """The same in one process, and in one piece."""
        return self._replace(mesh="", micro_batch=None, save_memory=False)

    @property
    def name(self) -> str:
        """For people, and for a file."""
        path = Path(self.model.partition("(")[0].removeprefix("dir:")).name
        said = [f"{value}" for value in self[1:] if value]
        return "-".join([path, *said])


@cache
def _positions() -> Any:
    return ChessTask().examples(part="student", size=NUM_EXAMPLES, seed=0)


def problem(case: Case) -> tuple[pa.Table, pa.Table]:
    """Inputs and labels, the same for all; supervisors are unsure, and examples count differently."""
    chance = np.random.default_rng(0)
    weight_N = chance.exponential(size=NUM_EXAMPLES).astype(np.float32)
    if case.model.startswith("ladder:"):
        tables = _positions()
        truth = lb.truth_labels(tables.truth, lb.num_candidates_of(tables.inputs))
        return tables.inputs, lb.label_table(truth["id"].to_pylist(), lb.rows(truth), weight_N)
    texts = some_texts(2 * NUM_EXAMPLES, seed=3)
    if case.completions:
        ids = [f"t{number}" for number in range(NUM_EXAMPLES)]
        inputs = pa.table({"id": ids, "prompt": texts[:NUM_EXAMPLES], "max_new_tokens": [4] * NUM_EXAMPLES})
        ends = [text.partition(" ")[0] for text in texts[NUM_EXAMPLES:]]
        return inputs, lb.completion_table(ids, ends, weight_N)
    if case.pairs:
        inputs = pairs_of(list(zip(texts[::2], texts[1::2], strict=True)))
    else:
        inputs = inputs_of(texts[:NUM_EXAMPLES])
    sure_N = chance.uniform(0.05, 0.95, NUM_EXAMPLES).astype(np.float32)
    probs = [np.array([p, 1 - p], np.float32) for p in sure_N]
    return inputs, lb.label_table(inputs["id"].to_pylist(), probs, weight_N)


def prepared(case: Case, ranks: Any) -> tuple[Any, Any, Labels]:
    """As `train.run.prepare` does it: a model, examples, labels."""
    inputs, labels = problem(case)
    torch.manual_seed(0)
    model = load_model(resolve(case.model), inputs)
    if ranks is not None:
        ranks.split(model)
    find_adapter(case.adapter)(model)
    if case.save_memory:
        model.save_memory()
    encoded = form_of(inputs).encode(model, inputs, labels, model.encode)
    return (model if ranks is None else ranks.spread(model)), *encoded


def fitted(case: Case, ranks: Any = None, **running: Any) -> dict[str, Tensor]:
    """The curve, all weights, and what the model says at the end."""
    model, examples, labels = prepared(case, ranks)
    inputs, _ = problem(case)
    form = form_of(inputs)
    losses = form.fit(
        model,
        examples,
        labels,
        loss=case.loss,
        recipe=RECIPE,
        seed=4,
        ema=case.ema,
        running=Running(micro_batch=case.micro_batch, ranks=ranks, **running),
    )
    said = form.label(model, examples, inputs)
    with gathered(model):
        state = {f"weights.{name}": value.clone() for name, value in model.state_dict().items()}
    numbers = [0.0] if case.completions else np.concatenate(lb.rows(said))
    return {"losses": losses, "said": torch.tensor(numbers)} | state


def stopped_and_resumed(case: Case, other: str, ranks: Any, work: Path) -> dict[str, Tensor]:
    """The same as `fitted`, but one process is asked to stop after some steps, and another mesh goes on."""
    checkpoint = work / "checkpoint.safetensors"
    checkpoint.unlink(missing_ok=True)
    torch.distributed.barrier()
    asked = iter(range(1, 100))
    last = ranks.number == ranks.mesh.size - 1
    with suppress(Stopped):
        fitted(case, ranks, checkpoint=checkpoint, stop=lambda: last and next(asked) == 3)
        raise AssertionError("nobody stopped")
    torch.distributed.barrier()
    assert checkpoint.exists()
    return fitted(case, type(ranks)(Mesh.parse(other), ranks.place), checkpoint=checkpoint)


class Plan(NamedTuple):
    """What some processes do together, one fit after another; `NUMBER.safetensors` of each.

    Attributes:
        size: How many processes.
        cases: Fits, each with a mesh of its own.
        resumed: Fits that stop, and with which mesh they go on: `resumed-NUMBER.safetensors`.
        refused: Fits that cannot begin; `refused.json` says why.
    """

    size: int
    cases: list[Case]
    resumed: list[tuple[Case, str]]
    refused: list[Case]


def carry_out(plans: list[Plan], folder: Path) -> None:
    """Let processes carry out plans, each in a folder of its number.

    They are forks of one new interpreter that has imported everything: that takes each some seconds.
    """
    command = [sys.executable, "-W", "error", __file__, str(folder), json.dumps(plans)]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    subprocess.run(command, env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, check=True)


def _main(folder: Path, plans: list[Any]) -> None:
    for name in ("torch._dynamo", "surpass.train.ranks"):
        import_module(name)
    for kind in ("llama", "bert", "distilbert", "gemma3"):
        import_module(f"transformers.models.{kind}.modeling_{kind}")
    for number, (size, cases, resumed, refused) in enumerate(plans):
        going_on = [(Case(*case), other) for case, other in resumed]
        plan = Plan(size, [Case(*case) for case in cases], going_on, [Case(*case) for case in refused])
        place = folder / str(number)
        place.mkdir()
        children = []
        for rank in range(size):
            children.append(os.fork())
            if not children[-1]:
                _be(rank, plan, place)
        ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if any(ended):
            sys.exit(f"processes ended with {ended}")


def _be(rank: int, plan: Plan, folder: Path) -> None:
    """Be one of the processes."""
    try:
        torch.set_num_threads(1)
        where = f"file://{folder}/rendezvous"
        torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=plan.size)
        _carry_out(plan, folder)
        torch.distributed.barrier()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _carry_out(plan: Plan, folder: Path) -> None:
    from surpass.models.device import place
    from surpass.train.ranks import Ranks

    def write(found: dict[str, Tensor], name: str) -> None:
        if torch.distributed.get_rank() == 0:
            whole = {name: value.contiguous() for name, value in found.items()}
            save_file(whole, folder / f"{name}.safetensors")

    for number, case in enumerate(plan.cases):
        write(fitted(case, Ranks(Mesh.parse(case.mesh), place())), f"{number}")
    for number, (case, other) in enumerate(plan.resumed):
        ranks = Ranks(Mesh.parse(case.mesh), place())
        write(stopped_and_resumed(case, other, ranks, folder), f"resumed-{number}")
    why = []
    for case in plan.refused:
        try:
            prepared(case, Ranks(Mesh.parse(case.mesh), place()))
        except ConfigError as error:
            why.append(str(error))
    if torch.distributed.get_rank() == 0:
        (folder / "refused.json").write_text(json.dumps(why))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), json.loads(sys.argv[2]))
