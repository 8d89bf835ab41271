"""A process that asks sympy, math-verify and pylatexenc, and dies of what takes too long.

`limited` starts it. It is run as a file and imports nothing of Surpass. A line on its input is a question,
[kind, first, second, seconds]; a line on its output is the answer: true, false, or a text.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

_MEMORY = 2 * 2**30
_DEPTH = 3000


def is_zero(expression: str, _: str) -> bool:
    """Whether sympy simplifies an expression to 0; False where it cannot read it."""
    from sympy import simplify
    from sympy.parsing.sympy_parser import (
        implicit_multiplication_application,
        parse_expr,
        standard_transformations,
    )

    rules = (*standard_transformations, implicit_multiplication_application)
    return bool(simplify(parse_expr(expression, transformations=rules)) == 0)


def is_verified(answer: str, reference: str) -> bool:
    """Whether math-verify finds an answer equal to a reference; its own time limits are not needed here."""
    from math_verify import parse, verify

    said, wanted = (parse(text, parsing_timeout=None) for text in (answer, reference))
    return bool(verify(wanted, said, timeout_seconds=None))


def as_plain(latex: str, _: str) -> str | bool:
    """LaTeX as plain text; False where pylatexenc cannot read it."""
    from pylatexenc.latex2text import LatexNodes2Text

    return str(LatexNodes2Text().latex_to_text(latex))


_KINDS = {"zero": is_zero, "verify": is_verified, "plain": as_plain}
_MODULES = {"zero": "sympy", "verify": "math_verify", "plain": "pylatexenc.latex2text"}


def main() -> None:
    """Answer questions until there are no more."""
    # Answers go out where prints of other libraries cannot get between them.
    with open(3, "w", encoding="utf-8", closefd=False) as out:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.setrecursionlimit(_DEPTH)
        for line in sys.stdin:
            kind, first, second, seconds = json.loads(line)
            # Imports are not on the clock of the first question.
            with suppress(ImportError):
                import_module(_MODULES[kind])
            # The kernel ends the process, even in the middle of one huge multiplication.
            signal.setitimer(signal.ITIMER_PROF, seconds)
            answer = _answer(kind, first, second)
            signal.setitimer(signal.ITIMER_PROF, 0)
            out.write(json.dumps(answer) + "\n")
            out.flush()


def _answer(kind: str, first: str, second: str) -> Any:
    try:
        return _KINDS[kind](first, second)
    # What cannot be read is not equal: these libraries raise whatever their parsers stumble over.
    except Exception:
        return False


if __name__ == "__main__":
    main()
