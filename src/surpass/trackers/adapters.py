"""The trackers that are known, each behind the same three methods."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from surpass.errors import MissingExtraError

PROJECT = "surpass"
_BATCH = 500  # of MLflow, which takes 1000 at most


def needed(module: str, extra: str) -> Any:
    """A module of a package that is optional.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"tracking with {extra} needs its package: pip install 'surpass[{extra}]' ({error})"
        ) from None


class TensorBoard:
    """Event files for TensorBoard, read with `tensorboard --logdir runs`.

    Args:
        folder: Where runs go; each has a folder of its own in it.
    """

    def __init__(self, *, folder: str = "runs") -> None:
        self._files = needed("tensorboard.summary.writer.event_file_writer", "tensorboard")
        self._events = needed("tensorboard.compat.proto.event_pb2", "tensorboard")
        self._values = needed("tensorboard.compat.proto.summary_pb2", "tensorboard")
        self._texts = needed("tensorboard.plugins.text.summary_v2", "tensorboard")
        self._folder = folder

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a file; the settings are its text."""
        moment = time.strftime("%Y%m%d-%H%M%S")
        self._writer = self._files.EventFileWriter(
            os.path.join(self._folder, f"{name}-{moment}-{os.getpid()}")
        )
        text = "\n".join(f"    {line}" for line in json.dumps(config, indent=1).splitlines())
        self._write(0, self._texts.text_pb("config", text))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A scalar for each."""
        values = [self._values.Summary.Value(tag=key, simple_value=value) for key, value in metrics.items()]
        self._write(step, self._values.Summary(value=values))

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, step: int, summary: Any) -> None:
        self._writer.add_event(self._events.Event(step=step, wall_time=time.time(), summary=summary))


class Trackio:
    """Trackio: on this machine, in `TRACKIO_DIR`, unless `TRACKIO_SPACE_ID` names a Space.

    Args:
        project: The project that runs belong to.
    """

    def __init__(self, *, project: str = PROJECT) -> None:
        self._trackio = needed("trackio", "trackio")
        self._project = project

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a run; nothing is opened in a browser or a notebook."""
        told = {"config": dict(config), "embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        self._run = self._trackio.init(self._project, f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", **told)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Values of a step."""
        self._run.log(dict(metrics), step=step)

    def finish(self) -> None:
        """End the run."""
        self._run.finish()


class WandB:
    """Weights & Biases. Without a login nothing is sent: a run is kept in `wandb/`, for `wandb sync`.

    Args:
        project: The project that runs belong to.
    """

    def __init__(self, *, project: str = PROJECT) -> None:
        self._wandb = needed("wandb", "wandb")
        self._project = project

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a run; it asks for nothing at the terminal."""
        mode = os.environ.get("WANDB_MODE") or ("online" if self._has_login() else "offline")
        settings = self._wandb.Settings(console="off", silent=True)
        about = {"project": self._project, "name": name, "config": dict(config)}
        self._run = self._wandb.init(**about, mode=mode, reinit="create_new", settings=settings)
        self._run.define_metric("*", step_metric="step")  # the steps of several fits do not come in order

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Values of a step."""
        self._run.log({**metrics, "step": step})

    def finish(self) -> None:
        """End the run."""
        self._run.finish()

    def _has_login(self) -> bool:
        try:
            return bool(self._wandb.login(prompt=False))
        except TypeError:  # a version that cannot be told not to ask
            return bool(self._wandb.api.api_key)


class MLflow:
    """MLflow, at `MLFLOW_TRACKING_URI`; without that on this machine, where `mlflow ui` looks.

    Args:
        experiment: The experiment that runs belong to.
    """

    def __init__(self, *, experiment: str = PROJECT) -> None:
        self._mlflow = needed("mlflow", "mlflow")
        self._experiment = experiment
        self._waiting: list[Any] = []

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Begin a run; settings are its parameters."""
        self._client = self._mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(self._experiment)
        id = self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        self._run = self._client.create_run(id, run_name=name).info.run_id
        for key, value in config.items():
            text = value if isinstance(value, str) else json.dumps(value)
            self._client.log_param(self._run, key, text[:_BATCH])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Values of a step; they are sent many at a time."""
        now = int(time.time() * 1000)
        for key, value in metrics.items():
            name = re.sub(r"[^\w ./-]", "_", key)
            self._waiting.append(self._mlflow.entities.Metric(name, value, now, step))
        if len(self._waiting) >= _BATCH:
            self._send()

    def finish(self) -> None:
        """Send the rest, and end the run."""
        self._send()
        self._client.set_terminated(self._run)

    def _send(self) -> None:
        while self._waiting:
            part, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._client.log_batch(self._run, metrics=part)
