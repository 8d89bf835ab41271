"""What makes a function a rule: it is given what it needs, and the order of the examples is nothing to it.

A rule sees the examples in an order of their own, by a hash of their ids, and its result is put back
into the order they came in. Whoever is first among equals is therefore the same in every order, sums
are equal to the last bit, and ids that mean something (numbered by class, say) favour nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import update_wrapper
from importlib import import_module
from typing import Any, Concatenate, ParamSpec

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surpass.errors import ConfigError, DataError
from surpass.hashing import unit
from surpass.rules.given import Given

P = ParamSpec("P")
Function = Callable[Concatenate[Given, P], pa.Table]

FEATURES, INPUTS, CLASSES = "features", "inputs", "fixed classes"


def rule(
    *, tables: tuple[int, int | None] = (1, 1), needs: Collection[str] = ()
) -> Callable[[Function[P]], Function[P]]:
    """Declare a function to be a rule.

    The rule then gives labels without rows for labels without rows.

    Args:
        tables: How many label tables it takes: at least, and at most (None for any number).
        needs: Which of `FEATURES`, `INPUTS` and `CLASSES` it cannot do without.

    Raises:
        ConfigError: From the rule: something it needs was not given.
        DataError: From the rule: what it was given is not row for row.
    """

    def declare(function: Function[P]) -> Function[P]:
        def checked(given: Given, /, *args: P.args, **settings: P.kwargs) -> pa.Table:
            _require(given, function.__name__, tables, needs)
            ids = _aligned(given)
            if not ids:
                return given.labels[0]
            after = function(_in_own_order(given, ids), *args, **settings)
            place = {example: row for row, example in enumerate(ids)}
            return after.take(pa.array(np.argsort([place[example] for example in after["id"].to_pylist()])))

        update_wrapper(checked, function)
        return checked

    return declare


def _require(given: Given, name: str, tables: tuple[int, int | None], needs: Collection[str]) -> None:
    least, most = tables
    if len(given.labels) < least or (most is not None and len(given.labels) > most):
        wanted = f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"
        raise ConfigError(f"rule {name} takes label tables: {wanted}; it was given {len(given.labels)}")
    if FEATURES in needs and given.features_ND is None:
        raise ConfigError(f"rule {name} needs features of the examples; name a model to take them from")
    if INPUTS in needs and given.inputs is None:
        raise ConfigError(f"rule {name} needs the inputs of the examples; ask for them")
    if CLASSES in needs and given.num_classes is None:
        raise ConfigError(
            f"rule {name} needs fixed classes, and here every example has candidates of its own; "
            "use another rule for this task"
        )


def _aligned(given: Given) -> list[str]:
    """The ids of the examples, once everything is found to be row for row."""
    ids: list[str] = given.labels[0]["id"].to_pylist()
    others = [*given.labels[1:], *([] if given.inputs is None else [given.inputs])]
    if any(other["id"].to_pylist() != ids for other in others):
        raise DataError(
            "label tables and inputs of a rule must have the same ids in the same order; join them"
        )
    reference_ids = [table["id"].to_pylist() for table in given.reference]
    if any(other != reference_ids[0] for other in reference_ids):
        raise DataError("reference tables of a rule must have the same ids in the same order; join them")
    if given.features_ND is not None:
        if given.features_ND.ndim != 2 or len(given.features_ND) != len(ids):
            raise DataError(
                f"features are {given.features_ND.shape}; there must be a row for each of {len(ids)}"
            )
        if not np.isfinite(given.features_ND).all():
            raise DataError("features hold NaN or infinity; they must be finite")
    return ids


def _in_own_order(given: Given, ids: Sequence[str]) -> Given:
    order_N = _own_order(ids)
    place = pa.array(order_N)
    reference_order = _own_order(given.reference[0]["id"].to_pylist()) if given.reference else []
    return Given(
        labels=tuple(table.take(place) for table in given.labels),
        inputs=None if given.inputs is None else given.inputs.take(place),
        features_ND=None if given.features_ND is None else given.features_ND[order_N],
        reference=tuple(table.take(pa.array(reference_order, pa.int64())) for table in given.reference),
        num_classes=given.num_classes,
    )


def _own_order(ids: Sequence[str]) -> list[int]:
    keys = [(unit(example, seed=0, purpose="rule"), example) for example in ids]
    return sorted(range(len(ids)), key=keys.__getitem__)


def draws(ids: Sequence[str], *, seed: int, purpose: str) -> npt.NDArray[np.float64]:
    """A random number in [0, 1) for each id, float64 (N,)."""
    return np.array([unit(example, seed=seed, purpose=purpose) for example in ids], np.float64)


def share(name: str, value: float, *, least: float = 0.0, most: float = 1.0) -> float:
    """A setting that is a share.

    Raises:
        ConfigError: It is outside [least, most].
    """
    if not least <= value <= most:
        raise ConfigError(f"{name} is {value}; use a number from {least:g} to {most:g}")
    return value


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a setting that is too small.

    Raises:
        ConfigError: It is below `least`, or NaN.
    """
    if not value >= least:
        raise ConfigError(f"{name} is {value}; use {least:g} or more")


def one_of(name: str, value: str, allowed: Collection[str]) -> None:
    """Refuse a setting that is none of these.

    Raises:
        ConfigError: Names them.
    """
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; use one of {', '.join(allowed)}")


def optional(module: str) -> Any:
    """A module of an optional package.

    Raises:
        ConfigError: The package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigError(f"this rule needs {package} ({error}); pip install 'surpass[noise]'") from None
