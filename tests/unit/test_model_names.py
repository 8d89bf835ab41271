"""Settings in the names of models. No torch."""

from __future__ import annotations

import pytest

from surpass.errors import ConfigError
from surpass.models.names import MAX_TOKENS, ModelName, read_name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hub:org/name@v1", ("hub", "org/name@v1")),
        ("hub:org/name@v1(tokens=256)", ("hub", "org/name@v1", 256, False, False)),
        ("hub:org/name( tokens = 1 , weights = bin )", ("hub", "org/name", 1, True, False)),
        ("package:minilm-l6(weights=safetensors)", ("package", "minilm-l6", MAX_TOKENS, False, False)),
        ("dir:/a/b (c)", ("dir", "/a/b (c)")),
        ("dir:/a/b(c)(tokens=2)", ("dir", "/a/b(c)", 2, False, False)),
        ("dir:/a/(b(tokens=2)", ("dir", "/a/(b", 2, False, False)),
        ("dir:/a/b)", ("dir", "/a/b)")),
        ("dir:/a/b()", ("dir", "/a/b()")),
        ("ladder:chess-1(tokens=2)", ("ladder", "chess-1(tokens=2)")),
        ("linear:8", ("linear", "8")),
        ("chess", ("chess", "")),
        ("", ("", "")),
    ],
)
def test_parts(name, parts):
    assert read_name(name) == ModelName(*parts)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "hub:o/n(token=3)",
            r"hub:o/n\(token=3\) has no setting 'token'; it has tokens, weights, layer, pooling and pixels",
        ),
        ("hub:o/n(tokens=0)", "tokens is 0; name a whole number from 1"),
        ("hub:o/n(tokens=True)", "tokens is True; name a whole number from 1"),
        ("hub:o/n(tokens=2.0)", "tokens is 2.0; name a whole number from 1"),
        ("hub:o/n(tokens=many)", "tokens is 'many'; name a whole number from 1"),
        ("package:n(weights=pickle)", "weights is 'pickle'; it is safetensors or bin"),
        ("package:n(tokens=1, tokens=2)", "write key=value, each key once"),
        ("package:n(tokens=)", "write key=value, each key once"),
    ],
)
def test_what_is_no_setting(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_name(name)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_called_so_is_no_setting(tmp_path):
    (tmp_path / "run(tokens=5)").mkdir()
    assert read_name(f"dir:{tmp_path}/run(tokens=5)").rest == f"{tmp_path}/run(tokens=5)"
    assert read_name(f"dir:{tmp_path}/run(tokens=6)").tokens == 6
    assert read_name(f"dir:{tmp_path}/run(tokens=5)(tokens=7)")[1:3] == (f"{tmp_path}/run(tokens=5)", 7)
