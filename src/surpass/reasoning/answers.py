r"""The final answer in the text of a solution: where authors and models mark it.

Marks, of which the last in the text counts: `\boxed{72}` or `\fbox{72}`; `# Answer` and the lines behind it
(PRM800K); `#### 72` (GSM8K); "the answer is 72", "answer: 72" and `A: 72` at the beginning of a line.
"""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_HEADING = re.compile(r"^[ \t]*#[ \t]*Answer[ \t]*:?[ \t]*\r?$", re.MULTILINE)
_HASHES = re.compile(r"####[ \t]*([^\n]*)")
_SAID = re.compile(
    r"(?:\b(?:the|final)[ \t]+answer[ \t]+is|^[ \t]*(?:final[ \t]+|the[ \t]+)?answer[ \t]*:|^[ \t]*A:)"
    r"[ \t]*:?[ \t]*([^\n]+)",
    re.MULTILINE | re.IGNORECASE,
)
_HOPE = "I hope it is correct"


def extract_answer(text: str) -> str | None:
    r"""The answer behind the last mark in a text, without the mark, dollar signs and a full stop.

    A box that is never closed is no mark. Of a mark inside what another has found, the inner counts: "the
    answer is $\boxed{5}$" gives 5.

    Args:
        text: A whole solution, or its last step.

    Returns:
        The answer, never empty; None where no mark has one.
    """
    found = [answer for answer in (_boxed(text), _heading(text), _hashes(text), _said(text)) if answer]
    return max(found)[1] if found else None


def has_answer(text: str) -> bool:
    """Whether there is a mark with an answer in a text."""
    return extract_answer(text) is not None


def _boxed(text: str) -> tuple[int, str] | None:
    marks = list(_BOX.finditer(text))
    closing = _closing_braces(text) if marks else {}
    for mark in reversed(marks):
        start = mark.end()
        if text[start : start + 1] != "{":
            bare = re.match(r"[^\s$]+", text[start:])
            content = bare[0] if bare else ""
        else:
            content = text[start + 1 : closing.get(start, start)]
        if _trimmed(content):
            return mark.start(), _trimmed(content)
    return None


def _closing_braces(text: str) -> dict[int, int]:
    """Where each brace that is closed is closed, in one pass: models write thousands that are not."""
    open_at: list[int] = []
    closing = {}
    for brace in re.finditer(r"\\.|[{}]", text, re.DOTALL):  # \{ and \} are no braces
        if brace[0] == "{":
            open_at.append(brace.start())
        elif brace[0] == "}" and open_at:
            closing[open_at.pop()] = brace.start()
    return closing


def _heading(text: str) -> tuple[int, str] | None:
    for mark in reversed(list(_HEADING.finditer(text))):
        answer = _trimmed(text[mark.end() :])
        if answer:
            return mark.start(), answer
    return None


def _hashes(text: str) -> tuple[int, str] | None:
    return _last(_HASHES, text, 0)


def _said(text: str) -> tuple[int, str] | None:
    return _last(_SAID, text, -1)


def _last(expression: re.Pattern[str], text: str, part: int) -> tuple[int, str] | None:
    for mark in reversed(list(expression.finditer(text))):
        answer = _trimmed(_SAID.split(mark[1])[part])
        if answer:
            return mark.start(), answer
    return None


def _trimmed(answer: str) -> str:
    answer = answer.strip()
    answer = answer.removesuffix(".").removesuffix(_HOPE).strip() if _HOPE in answer else answer
    if answer.endswith(".") and not answer.endswith(".."):
        answer = answer[:-1].rstrip()
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        inner = answer[len(opening) : -len(closing)]
        if answer.startswith(opening) and answer.endswith(closing) and opening not in inner and inner.strip():
            return inner.strip()
    return answer
