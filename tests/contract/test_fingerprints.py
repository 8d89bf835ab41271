"""Code that computes numbers does not change behind the back of what is in people's stores.

`fingerprints.json` holds, per stage, its version and a digest of the code its result depends on. Where
the code changed and the version did not, this fails, and somebody decides:

    numbers change:  raise the stage's `version`, then  python tests/contract/test_fingerprints.py --write
    they do not:     python tests/contract/test_fingerprints.py --no-numeric-change fit label
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest

from reference.imports import MODULES, behind
from surpass.models.families import FAMILIES
from surpass.stages import STAGES

RECORD = Path(__file__).with_name("fingerprints.json")
COMMAND = "python tests/contract/test_fingerprints.py"

_FAMILIES = tuple(place.partition(":")[0].removeprefix("surpass.") for place in FAMILIES.values())
_TASKS = tuple(
    f"tasks.{name}"
    for name in ("chess", "planted", "features", "text", "preference", "generation", "chess_text", "process")
)
_TASKS += ("world.task", "world.steps_task")
ENTRIES: dict[str, tuple[str, ...]] = {
    "examples": _TASKS,
    "hint": ("labels",),
    "features": ("train.label", *_FAMILIES),
    "truth": ("labels",),
    "fit": ("train.run", *_FAMILIES),
    "stop": ("train.run", *_FAMILIES),
    "blend": ("train.average", *_FAMILIES),
    "prompt": ("train.language",),
    "adapt": ("train.language",),
    "retrain": ("train.retrain",),
    "diversify": ("train.diversify",),
    "label": ("train.label", *_FAMILIES),
    "relabel": ("running.relabelling",),
    "score": ("running.scoring",),
    "compare": ("running.scoring",),
    "sample": ("world.drawing", "models.generation"),
    "graded": ("running.solving", "world.checker", "reasoning.graders"),
    "written": ("running.solving", "world.authors", "world.writers"),
    "chosen": ("running.solving",),
    "steps": ("running.solving",),
    "outcomes": ("running.solving",),
    "rollouts": ("running.rollouts", "models.generation"),
    "synthetic": ("running.solving",),
    "rate": ("running.solving",),
}
"""Where the code of each stage begins: all that these modules import counts, too."""

CARRIES_NO_NUMBERS = {"", "clock", "errors", "disk", "identity", "owner", "store.artifact", "calls"}
CARRIES_NO_NUMBERS |= {"tasks", "tasks.base"}
CARRIES_NO_NUMBERS |= {"train", "models", "models.sources", "models.card", "models.families", "models.names"}
CARRIES_NO_NUMBERS |= {"ladder", "hub", "models.hub", "models.packaged", "models.packaged.table"}
CARRIES_NO_NUMBERS |= {f"models.packaged.{name}" for name in ("cache", "places", "from_gguf")}


def code_of(kind: str) -> list[str]:
    """The modules that a stage's numbers depend on, and its own class as `module:name`."""
    modules = {module for entry in ENTRIES[kind] for module in behind(entry) | {entry}}
    own = STAGES[kind]
    home = own.__module__.removeprefix("surpass.")
    return [f"{home}:{own.__name__}", *sorted(modules - CARRIES_NO_NUMBERS)]


_ANNOTATIONS = {"returns", "annotation", "type_comment", "kind"}


def _is_docstring(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _shape(node: object) -> Any:
    """What code does, as plain lists: equal in all versions of Python, whatever its words and types."""
    if isinstance(node, ast.AST):
        ignored = _ANNOTATIONS if isinstance(node, ast.arg | ast.FunctionDef | ast.Constant) else set()
        parts = [(name, _shape(value)) for name, value in ast.iter_fields(node) if name not in ignored]
        return [type(node).__name__, *([name, shape] for name, shape in parts if shape not in (None, []))]
    if isinstance(node, list):
        return [_shape(item) for item in node if not _is_docstring(item)]
    return node if node is None else repr(node)


def fingerprint_of(source: str, name: str = "") -> str:
    """Digest of a module's code, or of one class or function in it."""
    body = ast.parse(source).body
    if name:
        body = [node for node in body if getattr(node, "name", None) == name]
        assert body, f"there is no {name} any more"
    return sha256(json.dumps(_shape(body)).encode()).hexdigest()


def fingerprint(kind: str) -> str:
    """Digest of all the code of a stage, 16 hex digits."""
    places = [place.partition(":") for place in code_of(kind)]
    digests = [
        [module, name, fingerprint_of(MODULES[module].read_text(), name)] for module, _, name in places
    ]
    return sha256(json.dumps(digests).encode()).hexdigest()[:16]


def recorded() -> dict[str, dict[str, Any]]:
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


@pytest.mark.parametrize("kind", STAGES)
def test_code_and_version_change_together(kind):
    entry, version = recorded().get(kind), STAGES[kind].version
    assert entry is not None, f"stage {kind} is new: run `{COMMAND} --write`"
    assert version >= entry["version"], (
        f"{STAGES[kind].__name__}.version went back to {version}: versions only rise"
    )
    if version > entry["version"]:
        pytest.fail(f"{STAGES[kind].__name__}.version was raised: run `{COMMAND} --write`")
    if fingerprint(kind) != entry["fingerprint"]:
        pytest.fail(
            f"code of stage {kind} changed. If numbers change: raise {STAGES[kind].__name__}.version "
            f"and run `{COMMAND} --write`; else run `{COMMAND} --no-numeric-change {kind}`"
        )


def test_no_stage_is_left_in_the_record():
    assert recorded().keys() == STAGES.keys() == ENTRIES.keys()


def test_code_is_what_a_stage_runs():
    assert {"stages.models:Fit", "losses.confidence", "train.loop", "labels"} <= set(code_of("fit"))
    assert {"models.policy", "models.tabular"} <= set(code_of("label"))
    assert {"rules.probes", "labels"} <= set(code_of("relabel"))
    assert not set(code_of("score")) & {"train.loop", "losses"}


class TestFingerprint:
    CODE = 'A = 1\ndef f(x):\n    "What it does."\n    return x + A\n'

    @pytest.mark.parametrize(
        "same",
        [
            "A=1 # why\n\n\ndef f(x):\n  return (x + A)\n",
            '"""Module."""\nA = 1\n"""Of A."""\ndef f(x: int) -> int:\n    """Other."""\n    return x + A\n',
        ],
    )
    def test_words_layout_and_types_do_not_count(self, same):
        assert fingerprint_of(same) == fingerprint_of(self.CODE)

    @pytest.mark.parametrize(
        "change", [("1", "2"), ("x + A", "x - A"), ("f(", "g("), ("return x", "return -x")]
    )
    def test_code_does(self, change):
        assert fingerprint_of(self.CODE.replace(*change)) != fingerprint_of(self.CODE)

    def test_one_thing_of_a_module(self):
        other = self.CODE.replace("1", "2")
        assert fingerprint_of(other, "f") == fingerprint_of(self.CODE, "f")
        with pytest.raises(AssertionError, match="no g any more"):
            fingerprint_of(self.CODE, "g")

    def test_the_record_is_kept_by_its_own_command(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(sys.modules[__name__], "RECORD", tmp_path / "record.json")
        assert main(["--write"]) == 0
        assert recorded()["fit"] == {
            "version": STAGES["fit"].version,
            "fingerprint": fingerprint("fit"),
            "unchanged": 0,
        }
        monkeypatch.setitem(ENTRIES, "fit", ("train.loop",))
        assert main(["--write"]) == 1
        assert "fit: code changed and its version did not" in capsys.readouterr().err
        assert main(["--no-numeric-change", "fit"]) == 0
        assert recorded()["fit"]["unchanged"] == 1
        monkeypatch.setitem(ENTRIES, "fit", ("losses",))
        monkeypatch.setattr(STAGES["fit"], "version", STAGES["fit"].version + 1)
        assert main(["--write"]) == 0
        assert recorded()["fit"] == {
            "version": STAGES["fit"].version,
            "fingerprint": fingerprint("fit"),
            "unchanged": 0,
        }


def main(arguments: Sequence[str]) -> int:
    """Keep the record; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="record new stages and raised versions")
    parser.add_argument("--no-numeric-change", nargs="+", default=[], metavar="KIND", choices=list(STAGES))
    asked = parser.parse_args(arguments)
    record, code = recorded(), 0
    for kind, stage in STAGES.items():
        before = record.get(kind)
        now = {"version": stage.version, "fingerprint": fingerprint(kind), "unchanged": 0}
        if before is None or stage.version > before["version"]:
            if asked.write:
                record[kind] = now
        elif now["fingerprint"] != before["fingerprint"]:
            if kind in asked.no_numeric_change:
                record[kind] = now | {"unchanged": before["unchanged"] + 1}
            else:
                sys.stderr.write(f"{kind}: code changed and its version did not\n")
                code = 1
    lines = [f" {json.dumps(kind)}: {json.dumps(record[kind])}" for kind in STAGES if kind in record]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
