"""The stages from which every experiment is composed: what each takes, its identity, what it runs."""

from __future__ import annotations

from surpass.stages.base import TRUTH, Context, ExampleStage, LabelStage, ModelStage, Stage
from surpass.stages.blend import Blend
from surpass.stages.diversify import Diversify
from surpass.stages.examples import Examples, Hint, Truth
from surpass.stages.features import Features
from surpass.stages.labels import Compare, Label, Relabel, Score
from surpass.stages.language import Adapt, Prompt
from surpass.stages.models import Fit, Stop
from surpass.stages.retraining import Retrain

STAGES: dict[str, type[Stage]] = {
    stage.kind: stage
    for stage in (
        Examples,
        Hint,
        Features,
        Truth,
        Fit,
        Stop,
        Blend,
        Adapt,
        Prompt,
        Retrain,
        Diversify,
        Label,
        Relabel,
        Score,
        Compare,
    )
}

__all__ = [
    "STAGES",
    "TRUTH",
    "Adapt",
    "Blend",
    "Compare",
    "Context",
    "Diversify",
    "ExampleStage",
    "Examples",
    "Features",
    "Fit",
    "Hint",
    "Label",
    "LabelStage",
    "ModelStage",
    "Prompt",
    "Relabel",
    "Retrain",
    "Score",
    "Stage",
    "Stop",
    "Truth",
]
