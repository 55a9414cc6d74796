"""Makes text from others safe for a terminal or a page: characters that control a terminal are spelled out."""

from __future__ import annotations

import json
import re
import unicodedata

_STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, bidi and zero-width marks, lone surrogates
_MARKUP = re.compile(r"([\\`*<>|#$~]|(?<!\w)_|_(?!\w)|(?<=\])[(\[:])")  # a bracket alone makes no link


def visible(text: object) -> str:
    r"""The text with lines and tabs; other characters that control a terminal are spelled out: ``\x1b``, ``\u202e``."""
    return str(text).translate(_VISIBLE)


def one_line(text: object) -> str:
    r"""The visible text as a single line: ``"a\n\x1b[31mb"`` becomes ``a \x1b[31mb``."""
    return visible(" ".join(str(text).split()))


def markdown_text(text: object) -> str:
    """The text in one line, escaped so that Markdown shows it unchanged: no markup, HTML, formulas or table cells."""
    return _MARKUP.sub(r"\\\1", one_line(text).replace("&", "&amp;"))


def csv_cell(value: object) -> object:
    """A value for CSV: text becomes one line that no spreadsheet takes for a formula, as it takes ``=1+1``."""
    return no_formula(one_line(value)) if isinstance(value, str) else value


def no_formula(text: str) -> str:
    """The text with a quote before it where a spreadsheet would take it for a formula, as it takes ``=1+1``."""
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) or text[:1] in ("\t", "\r") else text


def ascii_json(text: str) -> str:
    r"""JSON with such characters escaped in its strings: ``\u001b``, ``\u202e``; it reads back unchanged."""
    kept = {letter for letter in set(text) if letter == "\n" or _spell(letter) == letter}
    return "".join(letter if letter in kept else json.dumps(letter)[1:-1] for letter in text)


def _spell(letter: str) -> str:
    if unicodedata.category(letter) not in _STEERING:
        return letter
    return letter.encode("unicode_escape", "surrogatepass").decode()


class _Spelling(dict[int, str]):
    """A letter's number -> how it is spelled, found when it is first asked for."""

    def __missing__(self, number: int) -> str:
        self[number] = _spell(chr(number))
        return self[number]


_VISIBLE = _Spelling({ord(letter): letter for letter in "\n\t"})
