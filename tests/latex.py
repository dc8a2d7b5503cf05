"""A strict reading of the LaTeX that tables are written in, as there is no LaTeX in the tests."""

import re

SPECIAL = re.compile(r"(?<!\\)[#_^~%]")
COMMANDS = {"begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "textbf",
            "textbackslash", "textasciitilde", "textasciicircum"}  # fmt: skip


def latex_tables(text: str) -> list[list[list[str]]]:
    """Cells of each tabular as they are written; asserts that the text is well formed."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    found: list[list[list[str]]] = []
    stack: list[str] = []
    for line in lines:
        assert not SPECIAL.search(line), line
        bare = re.sub(r"\\[{}$&%#_\\]", "", line)
        assert bare.count("{") == bare.count("}"), line
        assert bare.count("$") % 2 == 0, line
        text_mode = re.sub(r"\$[^$]*\$", "", bare)
        assert set(re.findall(r"\\([a-z]+)", text_mode)) <= COMMANDS, line
        assert not re.search("[<>±×≥≤−]", text_mode), line
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
            rows.append([cell.strip() for cell in cells])
    assert not stack
    return found
