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
from surpass.stages.outcome import Rate, RollOuts, Synthetic
from surpass.stages.retraining import Retrain
from surpass.stages.sampled import Sample
from surpass.stages.solutions import Chosen, Graded, Outcomes, SolutionStage, Steps, Written

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
        Sample,
        Written,
        Graded,
        Chosen,
        Steps,
        Outcomes,
        RollOuts,
        Synthetic,
        Rate,
    )
}

__all__ = [
    "STAGES",
    "TRUTH",
    "Adapt",
    "Blend",
    "Chosen",
    "Compare",
    "Context",
    "Diversify",
    "ExampleStage",
    "Examples",
    "Features",
    "Fit",
    "Graded",
    "Hint",
    "Label",
    "LabelStage",
    "ModelStage",
    "Outcomes",
    "Prompt",
    "Rate",
    "Relabel",
    "Retrain",
    "RollOuts",
    "Sample",
    "Score",
    "SolutionStage",
    "Stage",
    "Steps",
    "Stop",
    "Synthetic",
    "Truth",
    "Written",
]
