"""A strict reading of the LaTeX that tables are written in, as there is no LaTeX in the tests."""

import re

SPECIAL = re.compile(r"(?<!\\)[#_^~%]")
COMMANDS = {"begin", "end", "centering", "caption", "medskip", "toprule", "midrule", "bottomrule",
            "addlinespace", "par", "parbox", "linewidth", "footnotesize", "textbf", "texttt",
            "textbackslash", "textasciitilde", "textasciicircum"}  # fmt: skip
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def latex_tables(text: str) -> list[list[list[str]]]:
    """Cells of each tabular, a name that stands once at each of its rows; asserts form."""
    assert text.startswith("% \\usepackage{booktabs,graphicx}\n")
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    found: list[list[list[str]]] = []
    stack: list[str] = []
    for line in lines:
        if line == FIT:
            continue
        line = line.replace(r"\end{tabular}}", r"\end{tabular}")
        assert not SPECIAL.search(line), line
        bare = re.sub(r"\\[{}$&%#_\\]", "", line)
        assert bare.count("{") == bare.count("}"), line
        assert bare.count("$") % 2 == 0, line
        text_mode = re.sub(r"\$[^$]*\$", "", bare)
        assert set(re.findall(r"\\([a-z]+)", text_mode)) <= COMMANDS, line
        assert not re.search("[<>±×≥≤−|Σ√²]", text_mode), line
        if begun := re.match(r"\\begin\{(\w+)\}(?:\{(\w+)\})?", line):
            stack.append(begun[1])
            if begun[1] == "tabular":
                places, rows = begun[2], []
                found.append(rows)
        elif ended := re.match(r"\\end\{(\w+)\}", line):
            assert stack.pop() == ended[1]
        elif line.endswith(r" \\"):
            assert stack[-1] == "tabular", line
            cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
            assert len(cells) == len(places), line
            assert not line.startswith(("[", "*")), line  # an option of the line above
            name = cells[0].strip().removeprefix("{}") or rows[-1][0]
            rows.append([name, *(cell.strip() for cell in cells[1:])])
    assert not stack
    return found
