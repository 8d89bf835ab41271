"""Layer sweeps: the same study with the student's states read behind each of several blocks.

One pass over the examples gives the states of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from surpass.errors import ConfigError
from surpass.models.names import SETTINGS, read_name
from surpass.models.sources import resolve
from surpass.results import Results
from surpass.study import Study


class Layer(NamedTuple):
    """One method with the student's states read behind one block; accuracies are means over seeds.

    Attributes:
        weak_model: The supervisor.
        strong_model: Student and ceiling, as they are called at the model's end.
        layer: The number of the block, from 1; None for the model's end.
        method: How the student was trained.
        oracle: Whether it used ground truth.
        weak: Accuracy of the supervisor.
        student: Accuracy of the student.
        ceiling: Accuracy of the ceiling, whose states are read there too.
        pgr: Performance gap recovered, between that supervisor and that ceiling; NaN where it is undefined.
        low: Of its interval.
        high: Of its interval.
        reason: Why it is undefined.
    """

    weak_model: str
    strong_model: str
    layer: int | None
    method: str
    oracle: bool
    weak: float
    student: float
    ceiling: float
    pgr: float
    low: float
    high: float
    reason: str | None


def at_layer(model: str, layer: int | None) -> str:
    """The name of a model whose states are read behind a block; None for its end.

    `package:mpnet(tokens=128)` at 6 is `package:mpnet(tokens=128, layer=6)`.

    Raises:
        ConfigError: The model has no layers, or its name says one already.
    """
    if model.partition(":")[0] not in SETTINGS:
        raise ConfigError(f"{model} has no layers to read; name a model of texts or images")
    named = read_name(model)
    if named.layer is not None:
        raise ConfigError(f"{model} names a layer already; name the model without it")
    if layer is None:
        return model
    begun = f"{model}(" if named.plain else f"{model.rstrip()[:-1]}, "
    return f"{begun}layer={layer})"


def layer_study(study: Study, layers: Sequence[int], *, end: bool = True) -> Study:
    """The study with each student at each layer, its heads alone trained.

    Args:
        study: Its supervisors stay as they are.
        layers: Numbers of blocks, from 1.
        end: Whether the student's end is among them.

    Raises:
        ConfigError: No layer is named, or a student has none.
    """
    places: list[int | None] = [*dict.fromkeys(layers), *([None] if end else [])]
    if not places:
        raise ConfigError("layers is empty and end=False: name at least one")
    read = {strong: [at_layer(strong, layer) for layer in places] for _, strong in study.pairs}
    pairs = tuple((weak, model) for weak, strong in study.pairs for model in read[strong])
    used = {model for pair in pairs for model in pair} | set(study.between)
    rates = [(name, rate) for model, rate in study.learning_rates for name in (model, *read.get(model, []))]
    return study.replace(
        name=f"{study.name}-layers",
        pairs=pairs,
        adapter="frozen",
        learning_rates=tuple(dict.fromkeys(entry for entry in rates if entry[0] in used)),
    )


def by_layer(study: Study, results: Results) -> list[Layer]:
    """Accuracy and PGR by layer: pairs and methods as they come, layers ascending, the end last.

    Empty where no student's name says a layer.

    Choosing the best of these rows chooses by the test; sweep on `test_part=validation` for that.
    """
    sources = {resolve(strong).short_name: resolve(strong) for _, strong in study.pairs}
    if not any(source.layer for source in sources.values()):
        return []
    found = []
    for summary in results.summary():
        source, estimate = sources[summary.key.strong_model], summary.estimate
        found.append(
            Layer(
                weak_model=summary.key.weak_model,
                strong_model=source.short_name.replace(f"-layer{source.layer}", "", 1),
                layer=source.layer,
                method=summary.key.method,
                oracle=summary.key.oracle,
                weak=estimate.weak,
                student=estimate.student,
                ceiling=estimate.ceiling,
                pgr=estimate.value,
                low=estimate.low,
                high=estimate.high,
                reason=estimate.reason,
            )
        )
    order = {(row.weak_model, row.strong_model): place for place, row in reversed([*enumerate(found)])}
    methods = {method: place for place, method in enumerate(study.methods)}

    def place(row: Layer) -> tuple[int, int, bool, int]:
        return (
            order[row.weak_model, row.strong_model],
            methods[row.method],
            row.layer is None,
            row.layer or 0,
        )

    return sorted(found, key=place)
