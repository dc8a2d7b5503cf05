"""What the paper on CCR prints, as data: ``printed.toml``, with where it is from and doubts.

These numbers were not measured here. They stand beside measured ones on request, in columns or rows
of their own.
"""

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("printed.toml")
SHOTS = 16  # a class, in all of its tables


@dataclass(frozen=True, eq=False)
class Printed:
    """One table of the paper.

    Args:
        values: columns framework, metric, group, data ("" for an average over data sets), method,
            mean (a fraction, as measured numbers are), printed (in ``unit``), unit, where.
        notes: where the numbers are from, what they cannot be compared with, and what contradicts
            itself in them.
    """

    values: pd.DataFrame
    notes: tuple[str, ...]


def printed(name: str) -> Printed | None:
    """What the paper prints for a table of ``tables.paper_tables``; None where nothing is known."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    for table in content["table"]:
        if table["name"] == name:
            rows = [
                {
                    "framework": row["framework"],
                    "metric": row["metric"],
                    "group": row["group"],
                    "data": row.get("data", ""),
                    "method": method,
                    "mean": value / 100,
                    "printed": value,
                    "unit": table["unit"],
                    "where": table["where"],
                }
                for row in table["row"]
                for method, value in zip(table["methods"], row["values"], strict=True)
                if not math.isnan(value)
            ]
            origin = (
                f"(paper): {content['source']}: {table['where']}; {content['setting']}. Numbers "
                "on other data or another backbone are not comparable with it."
            )
            return Printed(pd.DataFrame(rows), (origin, *table["cautions"]))
    return None
