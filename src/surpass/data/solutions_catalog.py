"""All forms of solutions that are known by name: where their files are, and how a row is read."""

from __future__ import annotations

from functools import partial

from surpass.data.base import HubPlace, Published
from surpass.data.solutions_forms import SolutionForm
from surpass.data.solutions_prm800k import prm800k
from surpass.data.solutions_problems import GSM8K_SOLUTIONS, MATH_SOLUTIONS
from surpass.data.solutions_published import math_shepherd, own, processbench, stepwise

__all__ = ["FORMS"]

_PRM800K = (
    Published(("phase1_train.jsonl", "phase2_train.jsonl"), ("phase1_test.jsonl", "phase2_test.jsonl")),
    Published(("phase2_train.jsonl",), ("phase2_test.jsonl",)),
    Published(("phase1_train.jsonl",), ("phase1_test.jsonl",)),
)
_PRM800K_FORM = SolutionForm(
    name="prm800k",
    title="PRM800K",
    columns=("question", "label"),
    read=prm800k,
    published=_PRM800K,
    licence="MIT",
    url="https://github.com/openai/prm800k",
    cite="Lightman et al. 2023",
)
_BENCHES = ("gsm8k", "math", "olympiadbench", "omnimath")

FORMS: dict[str, SolutionForm] = {
    "prm800k": _PRM800K_FORM,
    "prm800k-candidates": SolutionForm(
        name="prm800k-candidates",
        title="PRM800K, each rated completion",
        columns=("question", "label"),
        read=partial(prm800k, candidates=True),
        published=_PRM800K,
        licence="MIT",
        url="https://github.com/openai/prm800k",
        cite="Lightman et al. 2023",
    ),
    "math-shepherd": SolutionForm(
        name="math-shepherd",
        title="Math-Shepherd",
        columns=("input", "label"),
        read=math_shepherd,
        published=(Published(("math-shepherd.jsonl",)),),
        hub=HubPlace("peiyi9979/Math-Shepherd", test=()),
        url="https://huggingface.co/datasets/peiyi9979/Math-Shepherd",
        cite="Wang et al. 2023",
    ),
    "processbench": SolutionForm(
        name="processbench",
        title="ProcessBench",
        columns=("problem", "steps", "label"),
        read=processbench,
        published=(Published((), tuple(f"{name}.json" for name in _BENCHES)),),
        hub=HubPlace("Qwen/ProcessBench", train=(), test=_BENCHES),
        licence="Apache-2.0",
        url="https://github.com/QwenLM/ProcessBench",
        cite="Zheng et al. 2024",
    ),
    "stepwise": SolutionForm(
        name="stepwise",
        title="prompt, completions and labels (TRL's stepwise supervision)",
        columns=("prompt", "completions", "labels"),
        read=stepwise,
    ),
    "solutions": SolutionForm(
        name="solutions", title="a file of your own", columns=("problem", "steps"), read=own
    ),
    "gsm8k": GSM8K_SOLUTIONS,
    "math": MATH_SOLUTIONS,
}
"""Forms by name."""
