"""The guide to extending Surpass: its files and its commands as they stand there, and what goes wrong."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from processes import Ended, cold, nursery

GUIDE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)^```", GUIDE, re.S | re.M))
COMMANDS = [shlex.split(line) for line in re.findall(r"^```sh\n(.*?)\n```", GUIDE, re.S | re.M)]
TOLERANCE = 5.0
ROW = re.compile(
    r"^  (\S+) +([\d.]+) +([\d.]+) +([\d.]+) +(-?[\d.]+) \[ *(-?[\d.]+), +(-?[\d.]+)\] +(\d+)", re.M
)
RUN = ("run", "my_task:digits")
# One student and nothing else: a few seconds.
SMALL = (*RUN, "seeds=1", "num_train=50", "num_test=50", "epochs=1", "methods=naive(loss=my_losses:gated)")


def write(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def guided(tmp_path_factory) -> tuple[Path, list[Ended]]:
    """The folder in which all commands of the guide were run, and how they ended."""
    folder = write(tmp_path_factory.mktemp("guide"))
    ends = []
    for program, *words in COMMANDS:
        if program == "surpass":
            ends.append(nursery().run(*words, cwd=folder))
        else:
            assert program == "python"
            ends.append(cold(sys.executable, "-W", "error", *words, cwd=folder))
    return folder, ends


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path)


def changed(folder: Path, name: str, before: str, after: str) -> None:
    text = (folder / name).read_text()
    assert text.count(before) == 1, (name, before)
    (folder / name).write_text(text.replace(before, after))


def planned(folder: Path, *words: str) -> dict[str, tuple[str, str]]:
    """Kind and state of each stage of a study, by id."""
    stages = nursery().run("plan", *words[1:], "--json", cwd=folder).json()
    return {stage["id"]: (stage["kind"], stage["state"]) for stage in stages}


def complaint(folder: Path, *words: str, code: int = 2) -> str:
    ended = nursery().run(*words, cwd=folder)
    assert ended.code == code, ended
    assert ended.err.startswith("error: ") or "\nerror: " in ended.err
    assert "Traceback" not in ended.err
    return " ".join(ended.err.split())


class TestTheGuide:
    def test_it_shows_a_loss_a_rule_a_method_and_a_task(self):
        assert list(FILES) == ["my_losses.py", "my_rules.py", "my_methods.py", "my_task.py", "my_run.py"]
        assert [words[0] for words in COMMANDS] == ["surpass", "surpass", "python"]

    @pytest.mark.parametrize(("name", "most"), [("my_losses.py", 8), ("my_methods.py", 10)])
    def test_a_loss_and_a_method_are_short(self, name, most):
        body = FILES[name][FILES[name].index("def ") :]
        assert len(body.splitlines()) <= most

    def test_its_commands_run(self, guided):
        _, ends = guided
        assert [ended.code for ended in ends] == [0, 0, 0], "\n".join(ended.err for ended in ends)
        assert max(ended.seconds for ended in ends) < 60

    def test_the_table_is_the_guides(self, guided):
        (table,) = re.findall(r"<!-- table of `surpass run my_task:digits` -->\n```\n(.*?)```", GUIDE, re.S)
        stated = ROW.findall(table)
        shown = ROW.findall(guided[1][1].out.split("\n\n")[0])
        assert len(stated) == 3
        assert [row[0] for row in shown] == [row[0] for row in stated]
        for here, there in zip(shown, stated, strict=True):
            accuracies = [list(map(float, row[1:4])) for row in (here, there)]
            assert accuracies[0] == pytest.approx(accuracies[1], abs=TOLERANCE)
            assert here[7] == there[7]
        assert f"to within {TOLERANCE:g} points of accuracy" in GUIDE

    def test_a_second_run_computes_nothing(self, guided):
        folder, ends = guided
        again = nursery().run(*RUN, cwd=folder)
        assert again.out == ends[1].out
        assert "nothing to compute" in again.err

    def test_python_prints_a_line_for_each_method(self, guided):
        lines = guided[1][2].out.splitlines()
        assert [line.partition(":")[0] for line in lines] == ["naive", "my_methods"]


class TestIdentity:
    def test_editing_a_loss_recomputes_what_it_taught_and_no_more(self, guided):
        folder, _ = guided
        before = planned(folder, *RUN)
        assert {state for _, state in before.values()} == {"done"}
        text = (folder / "my_losses.py").read_text()
        (folder / "my_losses.py").write_text(text + "# A thought.\n")
        after = planned(folder, *RUN)
        gone, new = before.keys() - after.keys(), after.keys() - before.keys()
        assert len(gone) == len(new) == 3 * 4, "fit, label, score and comparison of each seed"
        assert sorted(after[id] for id in new) == sorted((before[id][0], "to do") for id in gone)
        (folder / "my_losses.py").write_text(text)
        assert planned(folder, *RUN) == before

    def test_editing_a_rule(self, guided):
        folder, _ = guided
        before = planned(folder, *RUN)
        text = (folder / "my_rules.py").read_text()
        (folder / "my_rules.py").write_text(text + "\n")
        new = planned(folder, *RUN).keys() - before.keys()
        assert len(new) == 3 * 5, "the same and the labels"
        (folder / "my_rules.py").write_text(text)

    def test_editing_a_task_recomputes_all(self, guided):
        folder, _ = guided
        before = planned(folder, *RUN)
        text = (folder / "my_task.py").read_text()
        (folder / "my_task.py").write_text(text + "\n")
        assert not planned(folder, *RUN).keys() & before.keys()
        (folder / "my_task.py").write_text(text)

    def test_editing_a_method_without_a_change_of_meaning_recomputes_nothing(self, guided):
        folder, _ = guided
        before = planned(folder, *RUN)
        text = (folder / "my_methods.py").read_text()
        (folder / "my_methods.py").write_text(text + "\n")
        assert planned(folder, *RUN) == before
        (folder / "my_methods.py").write_text(text)

    def test_a_setting_counts(self, folder):
        default, other = (
            planned(folder, *SMALL[:-1], f"methods=naive(loss=my_losses:gated{settings})")
            for settings in ("", "(strength=0.25)")
        )
        assert len(default.keys() - other.keys()) == 4


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("methods", "parts"),
        [
            ("my_method:two_minds", ["no method 'my_method:two_minds'", "name it as your_module:function"]),
            ("my_methods:three_minds", ["no method 'my_methods:three_minds'", "three_minds"]),
            ("my_methods:two_minds(part=3)", ["has no setting 'part'", "it has parts"]),
            ("my_losses:gated", ["does not take one argument", "name it as naive(loss=my_losses:gated)"]),
            ("naive(loss=my_loses:gated)", ["no loss 'my_loses:gated'"]),
            ("naive(loss=my_losses:gatted)", ["no loss 'my_losses:gatted'"]),
            ("naive(loss=my_losses:gated(power=2))", ["has no setting 'power'", "it has strength"]),
            ("naive(loss=my_losses:gated(progress=2))", ["no setting 'progress'", "put it behind a *"]),
            ("naive(loss=my_losses:gated(strength=2)", ["is no name"]),
            ("naive(lose=my_losses:gated)", ["method naive has no setting 'lose'; it has loss"]),
        ],
    )
    def test_a_wrong_name(self, folder, methods, parts):
        said = complaint(folder, *RUN, f"methods={methods}")
        for part in parts:
            assert part in said
        assert not (folder / "surpass-store").exists() or not list((folder / "surpass-store").glob("fit/*"))

    @pytest.mark.parametrize(
        ("returns", "part"),
        [("None", "gives NoneType"), ("w2s.weak_labels", "gives Label"), ("3", "gives int")],
    )
    def test_a_method_that_gives_nonsense(self, folder, returns, part):
        (folder / "odd.py").write_text(f"def method(w2s):\n    return {returns}\n")
        said = complaint(folder, *RUN, "methods=odd:method")
        assert part in said
        assert "w2s.student(labels)" in said

    @pytest.mark.parametrize(
        ("before", "after", "part"),
        [
            (" * hardened(logits_NC)", "", "gives a target whose row"),
            ("(1 - gate_N1) * weak", "(1 + gate_N1) * weak", "rows sum to 1"),
            ("logits_NC.new_ones(len(logits_NC))", "logits_NC.new_ones(3)", "gives weights of shape (3,)"),
            ("logits_NC.new_ones(len(logits_NC))", "-logits_NC.new_ones(len(logits_NC))", "below 0"),
            ("target_NC, weight_N=", "target_NC / 0, weight_N=", "not finite"),
            ("return Target(target_NC", "return tuple, (target_NC", "gives tuple"),
        ],
    )
    def test_a_loss_that_gives_nonsense(self, folder, before, after, part):
        if "tuple" in after:
            before, after = FILES["my_losses.py"].splitlines()[-1].strip(), "return target_NC, None"
        changed(folder, "my_losses.py", before, after)
        said = complaint(folder, *SMALL, "--quiet", code=1)
        assert "loss my_losses:gated" in said
        assert part in said

    def test_a_loss_that_raises_shows_where(self, folder):
        changed(folder, "my_losses.py", "    sure_N = ", "    assert False, 'so there'\n    sure_N = ")
        ended = nursery().run(*SMALL, "--quiet", cwd=folder)
        assert ended.code == 1
        assert "so there" in ended.err
        assert "my_losses.py" in ended.err
        assert "while computing fit mlp-all-from-linear-24-my_losses:gated" in ended.err
