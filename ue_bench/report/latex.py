"""A report as a booktabs table."""

from __future__ import annotations

from ue_bench.dimensions import NOTHING
from ue_bench.report.display import Text, grid, setting
from ue_bench.report.footer import footer
from ue_bench.report.footnotes import footnotes
from ue_bench.report.tables import Report
from ue_bench.text import one_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "…": r"\ldots{}",
    NOTHING: "--",
}


def as_latex(report: Report) -> str:
    """A ``table`` that needs the package booktabs; how it was made stands above it as comments."""
    table = grid(report)
    comments = [one_line(f"% {label}: {text}") for label, text in footer(report)]
    caption = _title(report) + (f" ({setting(report)})" if setting(report) else "")
    body = [" & ".join(_cell(text) for text in row) + r" \\" for row in table.rows]
    notes = [rf"\par\noindent {escape(note)}" for note in footnotes(report)]
    foot = [r"\par\smallskip\footnotesize\raggedright", *notes] if notes else []
    return "\n".join(
        [
            *comments,
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape(caption)}.}}",
            rf"\begin{{tabular}}{{{'l' * table.names}{'r' * (len(table.headings) - table.names)}}}",
            r"\toprule",
            " & ".join(escape(heading) for heading in table.headings) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *foot,
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text in which LaTeX sees no commands."""
    return "".join(_SPECIAL.get(character, character) for character in one_line(text))


def _title(report: Report) -> str:
    return str(report.plan.get("title") or report.plan.get("suite") or "")


def _cell(text: Text) -> str:
    body = rf"\textbf{{{escape(text.body)}}}" if text.bold else escape(text.body)
    return f"{body}{escape(text.sign)} {escape(text.tail)}".strip()
