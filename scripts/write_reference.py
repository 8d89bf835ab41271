"""Write the reference of Python names and of the command line, from the code, as pages of MyST.

`scripts/build_docs.py` calls it; the pages are not kept in the repository.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

# Pages of the Python reference: title, a sentence, and groups of names by the module people import them from.
PAGES: dict[str, tuple[str, str, dict[str, dict[str, tuple[str, ...]]]]] = {
    "python": (
        "The public names",
        "What `import surpass` gives. Names are imported when they are first used; `import surpass` alone "
        "loads no torch.",
        {
            "To compare": {"surpass": ("find_recipe", "RECIPES", "Study", "Recipe", "ChessTask")},
            "To run": {"surpass": ("run", "Settings", "open_store", "Store")},
            "What comes out": {"surpass": ("Results", "PgrEstimate", "estimate_pgr", "pgr")},
            "What goes wrong": {"surpass": ("SurpassError", "ConfigError", "DataError", "StoreError")},
        },
    ),
    "extending": (
        "For extenders",
        "What losses, rules, methods, tasks and trackers of your own meet. The guide is "
        "[extending](../extending.md).",
        {
            "Methods": {"surpass.methods": ("WeakToStrong",), "surpass.errors": ("NotApplicable",)},
            "Losses": {
                "surpass.losses": ("Target", "per_example", "labels_only", "soft_cross_entropy"),
                "surpass.losses.base": ("settings", "hardened", "ramp"),
            },
            "Rules": {"surpass.rules": ("Given", "find_rule"), "surpass.labels": ("rows",)},
            "Tasks": {
                "surpass.tasks": ("Task", "ExampleTables", "find_task"),
                "surpass.tasks.splits": ("assign", "subsample"),
                "surpass.identity": ("remembered_digest",),
            },
            "Trackers": {"surpass.trackers": ("Tracker",)},
        },
    ),
    "stages": (
        "Stages",
        "What every study is made of. A stage is a frozen description; its id is a digest of all that can "
        "change what it gives. Running one: `surpass.experiment.run_stage`.",
        {
            "Running": {"surpass.experiment": ("run_stage", "gather")},
            "What they share": {
                "surpass.stages": ("Stage", "ExampleStage", "LabelStage", "ModelStage", "Context")
            },
            "Stages": {"surpass.stages": ("*STAGES",)},
        },
    ),
    "numbers": (
        "Metrics and statistics",
        "Plain functions on arrays, which need no study and no store: see [metrics](../metrics.md) and "
        "[statistics](../statistics.md) for formulas and what they promise.",
        {
            "Metrics": {"surpass.metrics": ("*",)},
            "Statistics": {
                "surpass.stats": ("*",),
                "surpass.stats.comparison": ("compare_methods",),
                "surpass.stats.paired": (
                    "holm",
                    "benjamini_hochberg",
                    "wilcoxon_signed_rank",
                    "sign_flip_test",
                    "mcnemar",
                ),
                "surpass.stats.power": (
                    "difference_variance",
                    "pgr_variance",
                    "seeds_needed",
                    "smallest_difference",
                ),
            },
        },
    ),
    "analyses": (
        "Analyses",
        "What is asked of a finished study beyond its table.",
        {
            "Of a study": {
                "surpass.analyses.worst_groups": ("by_group",),
                "surpass.analyses.saliency": ("saliency_study", "saliency"),
                "surpass.layers": ("layer_study", "by_layer"),
                "surpass.analyses.step_metrics": ("by_step", "validation_labels"),
                "surpass.analyses.step_scores": ("score_solutions",),
            },
            "Of solutions": {
                "surpass.reasoning.best_of_n": (
                    "best_of_n",
                    "oracle",
                    "mean_of_n",
                    "all_sizes",
                    "answer_classes",
                ),
                "surpass.reasoning.curves": (
                    "curve",
                    "curves_by_group",
                    "difference",
                    "quantiles_of_difficulty",
                ),
                "surpass.reasoning.voting": ("voting", "majority_exactly"),
                "surpass.reasoning.reductions": ("solution_scores",),
                "surpass.reasoning.first_error": (
                    "predicted_first_errors",
                    "best_threshold",
                    "first_error_scores",
                ),
                "surpass.reasoning.graders": ("grade", "graded"),
            },
            "Studies of reward models": {"surpass.reward_study": ("RewardStudy",)},
        },
    ),
}
SECTIONS = {
    "Args": "Arguments",
    "Attributes": "Attributes",
    "Returns": "Returns",
    "Yields": "Yields",
    "Raises": "Raises",
    "Source": "Source",
    "Example": "Example",
}
MISSING = inspect.Parameter.empty


def write_reference(folder: Path) -> None:
    """Write all pages of the reference into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, about, groups) in PAGES.items():
        parts = [f"# {title}", about]
        for heading, modules in groups.items():
            parts.append(f"## {heading}")
            for module, name_, thing in _things(modules):
                parts.append(_described(f"{module}.{name_}", thing))
        (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (folder / "command-line.md").write_text(_command_line(), encoding="utf-8")


def _things(modules: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str, Any]]:
    """Modules, names and what they name.

    `*` is all public functions and classes of a module that `surpass` itself does not have, `*DICT` what a
    dict of classes holds.
    """
    import surpass

    for module_name, names in modules.items():
        module = import_module(module_name)
        for name in names:
            if name == "*":
                public = sorted(set(module.__all__) - set(surpass.__all__))
                chosen = [(each, getattr(module, each)) for each in public if callable(getattr(module, each))]
            elif name.startswith("*"):
                chosen = [(value.__name__, value) for value in getattr(module, name[1:]).values()]
            else:
                chosen = [(name, getattr(module, name))]
            for each, thing in chosen:
                yield module_name, each, thing


def _described(path: str, thing: Any) -> str:
    """A directive of Sphinx's Python domain with what the docstring says."""
    if inspect.isclass(thing):
        return _class(path, thing)
    if callable(thing):
        return _directive("function", f"{path}{_signature(thing)}", _body(inspect.getdoc(thing)))
    names = ", ".join(f"`{name}`" for name in thing) if isinstance(thing, dict) else ""
    return _directive("data", path, f"By name: {names}." if names else "")


def _class(path: str, thing: type) -> str:
    kind = "exception" if issubclass(thing, BaseException) else "class"
    signature = "" if kind == "exception" or getattr(thing, "_is_protocol", False) else _signature(thing)
    members = [
        _directive(
            "property" if isinstance(member, property) or not callable(function) else "method",
            f"{name}{'' if isinstance(member, property) or not callable(function) else _signature(function)}",
            _body(inspect.getdoc(member)),
        )
        for name, member in vars(thing).items()
        for function in [_function_of(member)]
        if not name.startswith("_") and function is not None and inspect.getdoc(member)
    ]
    body = "\n\n".join([_body(inspect.getdoc(thing)), *members])
    return _directive(kind, path + signature, body)


def _function_of(member: Any) -> Any:
    """What to take a signature from: a function, the thing itself for properties, None for other members."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property) or type(member).__name__ == "cached_property":
        return "property"
    return member if inspect.isfunction(member) else None


def _signature(function: Any) -> str:
    """Parameters with defaults, without annotations of `self` and of what is returned by classes."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return "()"
    parameters = [
        parameter.replace(annotation=_plain(parameter.annotation), default=_short(parameter.default))
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    returned = MISSING if inspect.isclass(function) else _plain(signature.return_annotation)
    return str(inspect.Signature(parameters, return_annotation=returned))


class _Bare(str):
    """A text that prints without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _plain(annotation: Any) -> Any:
    if annotation is MISSING:
        return annotation
    text = getattr(annotation, "__forward_arg__", None) or annotation
    text = text if isinstance(text, str) else getattr(text, "__name__", None) or str(text)
    return _Bare(text.replace('"', "'"))


def _short(default: Any) -> Any:
    """A default as people write it: digits, texts and names; anything else is `...`."""
    if default is MISSING or default is None or isinstance(default, bool | int | float | str):
        return default
    if isinstance(default, Enum):
        return _Bare(default.name)
    text = repr(default)
    return _Bare(text if len(text) <= 40 and re.fullmatch(r"[\w.,()\[\]{}'\" -]*", text) else "...")


def _directive(kind: str, title: str, body: str) -> str:
    """A directive whose fence is longer than any in its body."""
    longest = max((len(ticks) for ticks in re.findall(r"^`{3,}", body, re.M)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{{py:{kind}}} {' '.join(title.split())}\n\n{body}\n{fence}"


def _body(doc: str | None) -> str:
    """A docstring as Markdown: its sections become lists."""
    if not doc:
        return ""
    parts: list[str] = []
    for heading, text in _sections(doc):
        if heading is None:
            parts.append(text)
        elif heading in ("Args", "Attributes", "Raises"):
            items = "\n".join(f"- `{name}`: {' '.join(said.split())}" for name, said in _items(text))
            parts.append(f"*{SECTIONS[heading]}*\n\n{items}")
        else:
            parts.append(f"*{SECTIONS[heading]}*: {textwrap.dedent(text).strip()}")
    return "\n\n".join(part.strip("\n") for part in parts)


def _sections(doc: str) -> Iterator[tuple[str | None, str]]:
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):[ \t]*\n", doc, flags=re.M)
    yield None, pieces[0]
    for heading, text in zip(pieces[1::2], pieces[2::2], strict=True):
        inside = re.match(r"(?:[ \t]+[^\n]*\n?|[ \t]*\n)*", text)
        assert inside is not None
        yield heading, textwrap.dedent(inside[0])
        if rest := text[inside.end() :].strip():
            yield None, rest


def _items(text: str) -> Iterator[tuple[str, str]]:
    """Names and what is said of them; lines that go on are indented."""
    name, said = "", ""
    for line in text.splitlines():
        if (new := re.match(r"([\w*, .]+?)(?: \(.*?\))?: (.*)", line)) and not line.startswith(" "):
            if name:
                yield name, said
            name, said = new[1], new[2]
        else:
            said += f" {line}"
    if name:
        yield name, said


def _command_line() -> str:
    """All commands, from the application itself."""
    import typer

    from surpass.cli import app

    parts = [
        "# The command line",
        "`surpass COMMAND --help` says the same on a terminal. Exit codes: 0; 1 where a stage failed or a "
        "check found something wrong; 2 for a command that makes no sense, and for the store; 130 and 143 "
        "after Ctrl-C and SIGTERM. `--json` prints plain data.",
    ]
    parts += [_command(command, path) for path, command in commands(typer.main.get_command(app), "surpass")]
    return "\n\n".join(parts) + "\n"


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command below one that is not hidden, with its words."""
    for name, below in getattr(command, "commands", {}).items():
        if below.hidden:
            continue
        if hasattr(below, "commands"):
            yield from commands(below, f"{path} {name}")
        else:
            yield f"{path} {name}", below


def _command(command: Any, path: str) -> str:
    rows = [
        _row(parameter) for parameter in command.params if parameter.name != "help" and not parameter.hidden
    ]
    table = "\n".join(["| | | |", "|---|---|---|", *rows])
    about = textwrap.dedent(command.help or "").strip()
    return f"## `{path}`\n\n{about}" + (f"\n\n{table}" if rows else "")


def _row(parameter: Any) -> str:
    is_flag = getattr(parameter, "is_flag", False)
    metavar = "" if is_flag else parameter.metavar or parameter.name.upper()
    is_option = parameter.param_type_name == "option"
    named = f"{', '.join(parameter.opts)}{f' {metavar}' if metavar else ''}" if is_option else metavar
    notes = []
    if (
        is_option
        and not is_flag
        and parameter.default not in (None, "", ())
        and not callable(parameter.default)
    ):
        notes.append(f"default `{_written(parameter.default)}`")
    if parameter.required:
        notes.append("required")
    if parameter.envvar:
        notes.append(f"or `{parameter.envvar}`")
    cells = (f"`{named}`", parameter.help or "", ", ".join(notes))
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _written(default: Any) -> str:
    values: Sequence[Any] = default if isinstance(default, list | tuple) else [default]
    return ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


if __name__ == "__main__":
    write_reference(Path("build/docs-source/reference"))
