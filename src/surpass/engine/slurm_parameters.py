"""What `--slurm name=value,...` says of jobs."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Self

from surpass.errors import ConfigError

_CLUSTERS = ("slurm", "local")
_SHARED = ("name", "timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "stderr_to_stdout")
_OURS = ("nodes", "tasks_per_node", "ntasks_per_node", "array_parallelism", "additional_parameters", "signal")
_MINUTES = 60


class Parameters(NamedTuple):
    """Parameters of jobs.

    Attributes:
        cluster: `slurm`, or `local` for processes here.
        folder: Where runs have their folders; all machines see it.
        values: What submitit or `sbatch` is told, by name.
    """

    cluster: str
    folder: Path
    values: dict[str, Any]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `partition=gpu,timeout_min=240`.

        Raises:
            ConfigError: Some of it makes no sense.
        """
        values: dict[str, Any] = {}
        for part in filter(None, (each.strip() for each in text.split(","))):
            name, sign, value = part.partition("=")
            if not sign or not name.isidentifier():
                raise ConfigError(f"slurm parameter {part!r} must be name=value, as in partition=gpu")
            if name in _OURS:
                raise ConfigError(
                    f"slurm parameter {name} is not for choice: each worker is one job of one task"
                )
            values[name] = _value(value)
        cluster = values.pop("cluster", _CLUSTERS[0])
        if cluster not in _CLUSTERS:
            raise ConfigError(f"slurm parameter cluster={cluster!r} must be one of {', '.join(_CLUSTERS)}")
        for name in ("timeout_min", "cpus_per_task", "gpus_per_node"):
            if not isinstance(values.get(name, 1), int) or values.get(name, 1) < 0:
                raise ConfigError(f"slurm parameter {name}={values[name]!r} must be a whole number")
        folder = Path(str(values.pop("folder", "surpass-slurm"))).expanduser().absolute()
        return cls(cluster, folder, values)

    @property
    def cpus(self) -> int | None:
        """Processors of a job, where they are given."""
        cpus: int | None = self.values.get("cpus_per_task")
        return cpus

    def executor(self, folder: Path, threads: int) -> Any:
        """What submits jobs, each with so many threads.

        Raises:
            ConfigError: There is no Slurm, or it has no such parameter.
        """
        submitit = import_module("submitit")
        log = logging.getLogger("submitit")  # which prints to standard output, where results are
        log.handlers.clear()
        log.setLevel(logging.WARNING)
        shared = {"name": "surpass", "timeout_min": _MINUTES, "cpus_per_task": threads}
        shared |= {name: value for name, value in self.values.items() if name in _SHARED}
        others = {name: value for name, value in self.values.items() if name not in _SHARED}
        known = set(submitit.SlurmExecutor._valid_parameters())
        named = {f"slurm_{name}": value for name, value in others.items() if name in known}
        rest = {name.replace("_", "-"): value for name, value in others.items() if name not in known}
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
            # Who dies of what is the driver's to count, and it submits again.
            executor.update_parameters(
                slurm_additional_parameters=rest | {"no-requeue": True}, **shared, **named
            )
        except (RuntimeError, NameError, AssertionError, ValueError) as error:
            why = " ".join(str(error).split())
            raise ConfigError(
                f"no jobs with cluster={self.cluster}: {why}; cluster=local tries it on this machine"
            ) from error
        return executor


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdecimal() else text
