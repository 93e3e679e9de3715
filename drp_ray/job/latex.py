"""The metrics of several results as a LaTeX table with the rules of the package booktabs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ESCAPED: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": r"{-}",
}
"""Signs that TeX would take for something else, or would join (`--`). The quotes need T1 fonts or textcomp."""


@dataclass(frozen=True)
class TableRow:
    """One result: its name, its method, its protocol where that is to be shown, and a number a metric."""

    name: str
    method: str
    values: Sequence[float | None]
    protocol: str | None = None


def escaped(text: str) -> str:
    """A text as LaTeX sets it: one line, without control characters, every special sign written out."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return "".join(ESCAPED.get(sign, sign) for sign in line)


def latex_table(titles: Sequence[str], rows: Sequence[TableRow], caption: str, with_protocol: bool) -> str:
    """The table. Numbers have four decimals; a missing one is a dash. `with_protocol` marks every row with its own."""
    heads = ["Run", "Method", *(["Protocol"] if with_protocol else []), *titles]
    text = len(heads) - len(titles)
    lines = [
        "% needs \\usepackage{booktabs}, and \\usepackage[T1]{fontenc} for quotes",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        rf"\begin{{tabular}}{{{'l' * text}{'r' * len(titles)}}}",
        r"\toprule",
        _line([escaped(head) for head in heads]),
        r"\midrule",
        *(_line(_cells(row, with_protocol)) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: TableRow, with_protocol: bool) -> list[str]:
    texts = [row.name, row.method, *([row.protocol or "none"] if with_protocol else [])]
    return [*map(escaped, texts), *("--" if value is None else f"{value:.4f}" for value in row.values)]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
