"""``ccr-diag data``: what a data set holds, as other files, and lists of it to share."""

import click

from .data_check import check
from .data_convert import convert
from .data_split import split


@click.group()
def data() -> None:
    """Check a data set, write it as a manifest, and share lists of it."""


data.add_command(check)
data.add_command(convert)
data.add_command(split)
