from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from surpass.calls import Call, code_digest, find, is_outside, parse, settings_of
from surpass.errors import ConfigError


def scaled(values: list[float], *, scale: float = 2.0, power: int = 1, mode: str = "up") -> list[object]:
    return [value * scale**power for value in values] + [mode]


def bare(values: list[float]) -> list[float]:
    return values


def demanding(values: list[float], extra: int, *, needed: int, **more: int) -> None:
    """Nothing here is a setting."""


KNOWN = {"scaled": scaled, "bare": bare, "demanding": demanding}


class TestParse:
    @pytest.mark.parametrize(
        ("text", "name", "settings"),
        [
            ("xent", "xent", {}),
            (" xent ", "xent", {}),
            ("xent()", "xent", {}),
            ("xent( )", "xent", {}),
            ("a(b=1)", "a", {"b": 1}),
            ("a(b=1, c=-0.5,d=1e-3)", "a", {"b": 1, "c": -0.5, "d": 1e-3}),
            ("a( b = True , c=False)", "a", {"b": True, "c": False}),
            ("a(b=word)", "a", {"b": "word"}),
            ("a(b='word', c=\"1\")", "a", {"b": "word", "c": "1"}),
            ("a(b='x, y', c=2)", "a", {"b": "x, y", "c": 2}),
            ("a(b=None)", "a", {"b": "None"}),
            ("a(b=[1])", "a", {"b": "[1]"}),
            ("a(b={[]: 1})", "a", {"b": "{[]: 1}"}),
            ("a(b=x=y)", "a", {"b": "x=y"}),
            ("a(b=gce(q=0.5, k=1), c=2)", "a", {"b": "gce(q=0.5, k=1)", "c": 2}),
            ("my.module:loss(b=2)", "my.module:loss", {"b": 2}),
            ("a(\n b=1,\n c=2\n)", "a", {"b": 1, "c": 2}),
        ],
    )
    def test_reads(self, text, name, settings):
        call = parse(text)
        assert call == Call(name, settings)
        assert [type(value) for value in call.settings.values()] == list(map(type, settings.values()))

    @pytest.mark.parametrize(
        "text", ["", " ", "1a", "a-b", "a(", "a)", "a(b=1", "a b", "a:b:c", "a:", ":a", "a()b"]
    )
    def test_what_is_no_name(self, text):
        with pytest.raises(ConfigError, match="is no name; write name, name") as caught:
            parse(text)
        assert repr(text) in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("a(1)", "1"),
            ("a(b)", "b"),
            ("a(b=)", "b="),
            ("a(=1)", "=1"),
            ("a(b=1,)", ""),
            ("a(b=1,,c=2)", ""),
            ("a(b=1, b=2)", "b=2"),
            ("a(b.c=1)", "b.c=1"),
            ("a(2b=1)", "2b=1"),
        ],
    )
    def test_what_is_no_setting(self, text, part):
        with pytest.raises(ConfigError, match="is no setting; write key=value, each key once") as caught:
            parse(text)
        assert f"{text!r}: {part!r} is" in str(caught.value)


class TestFind:
    def test_binds_the_settings(self):
        found = find("scaled(scale=3, mode=down)", KNOWN, "loss")
        assert isinstance(found, partial)
        assert found.func is scaled
        assert found([1.0]) == [3.0, "down"]
        assert find("scaled", KNOWN, "loss")([1.0]) == [2.0, "up"]

    def test_settings_are_keyword_only_and_have_a_default(self):
        assert settings_of(scaled) == {"scale": 2.0, "power": 1, "mode": "up"}
        assert settings_of(bare) == settings_of(demanding) == {}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("scald", r"no loss 'scald'; did you mean scaled\?"),
            ("zzz(scale=1)", "no loss 'zzz'; there are: bare, demanding, scaled"),
            ("scaled.x", r"no loss 'scaled\.x'; did you mean scaled\?"),
            ("scaled(factor=1)", "loss scaled has no setting 'factor'; it has scale, power, mode"),
            ("bare(x=1)", "loss bare has no setting 'x'; it has none"),
            ("scaled(values=1)", r"no setting 'values'; put it behind a \* in the function, with a default"),
            ("demanding(needed=1)", "loss demanding has no setting 'needed'"),
            ("demanding(other=1)", "loss demanding has no setting 'other'"),
        ],
    )
    def test_what_there_is_not(self, text, message):
        with pytest.raises(ConfigError, match=message) as caught:
            find(text, KNOWN, "loss")
        assert "\n" not in str(caught.value)


MODULE = "def twice(x, *, times=2):\n    return x * times\n\nNUMBER = 3\n"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module in the current folder, which is on nobody's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "own_losses_of_mine.py"
    path.write_text(MODULE)
    yield path
    sys.modules.pop(path.stem, None)


class TestOutside:
    def test_a_module_of_the_current_folder(self, outside):
        assert find("own_losses_of_mine:twice", {}, "loss")(4) == 8
        assert find("own_losses_of_mine:twice(times=3)", {}, "loss")(4) == 12
        with pytest.raises(
            ConfigError, match="loss own_losses_of_mine:twice has no setting 'x'; put it behind"
        ):
            find("own_losses_of_mine:twice(x=3)", {}, "loss")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "no_such_module:f",
                r"no loss 'no_such_module:f' \(No module named 'no_such_module'\); name it as",
            ),
            ("own_losses_of_mine:thrice", "no loss 'own_losses_of_mine:thrice' .*no attribute 'thrice'"),
            ("own_losses_of_mine:NUMBER", "loss 'own_losses_of_mine:NUMBER' is a int; it must be a function"),
        ],
    )
    def test_what_there_is_not(self, outside, name, message):
        with pytest.raises(ConfigError, match=message):
            find(name, {}, "loss")

    def test_who_is_outside(self):
        assert is_outside("my_module:f(a=1)")
        assert is_outside("surpassing:f")
        assert not is_outside("xent(a=1)")
        assert not is_outside("surpass.losses.noise:gce(q=1)")

    def test_the_digest_is_that_of_the_file(self, outside):
        expected = {"code": sha256(MODULE.encode()).hexdigest()}
        assert code_digest("own_losses_of_mine:twice(times=3)") == expected
        find("own_losses_of_mine:twice", {}, "loss")
        assert code_digest("own_losses_of_mine:twice") == expected
        assert code_digest("xent(a=1)") == code_digest("surpass.losses.noise:gce") == {}

    def test_an_edit_while_python_runs_is_refused(self, outside):
        code_digest("own_losses_of_mine:twice")
        outside.write_text(MODULE.replace("* times", "+ times"))
        with pytest.raises(ConfigError, match=r"own_losses_of_mine\.py was changed after it was read; start"):
            code_digest("own_losses_of_mine:twice")

    @pytest.mark.parametrize("name", ["sys:exit", "no_such_module:f", "no_such.module:f"])
    def test_what_lies_in_no_file(self, name):
        with pytest.raises(ConfigError, match=f"{name} lies in no file, so edits would go unseen"):
            code_digest(name)

    def test_of_a_script_that_is_being_run(self, tmp_path):
        script = tmp_path / "script.py"
        script.write_text("from surpass.calls import code_digest\nprint(code_digest('__main__:f')['code'])\n")
        ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == sha256(script.read_bytes()).hexdigest()
