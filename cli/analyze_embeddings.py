"""``ccr-diag analyze embeddings``: what tuning did to the text space, from two plain files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .answer import answer_options, check_output, line_width, output_line, write
from .command import command, command_line
from .options import PATH, class_names_option
from .report_file import check_report, report_lines, report_option, write_report

if TYPE_CHECKING:
    from ccr_diag.metrics.geometry import TextGeometry


def plan(
    zero_shot: Path,
    tuned: Path,
    images: Path | None,
    class_names: Path | None,
    output: Path,
    overwrite: bool,
    report: Path | None,
    **options: Any,
) -> list[str]:
    """The files that are compared."""
    check_output(output, overwrite, [zero_shot, tuned, images, class_names])
    check_report(report, output, overwrite, [zero_shot, tuned, images, class_names])

    from ccr_diag.plan import embedding_lines

    found = [path for path in (zero_shot, tuned, images) if path is not None]
    return [*embedding_lines(found), output_line(output), *report_lines(report)]


@command(plan)
@click.argument("zero_shot", metavar="ZEROSHOT", type=PATH)
@click.argument("tuned", metavar="TUNED", type=PATH)
@click.option(
    "--k", type=click.IntRange(min=1), default=5, show_default=True, help="Neighbours of a class."
)
@click.option(
    "--distance",
    type=click.Choice(("cosine", "euclidean")),
    default="cosine",
    show_default=True,
    help="Distance of ED, between unit rows.",
)
@click.option(
    "--neighbours",
    type=click.Choice(("tuned", "zero-shot")),
    default="tuned",
    show_default=True,
    help="The space in which the neighbours of the tuned ED are found.",
)
@click.option("--images", type=PATH, help="Image embeddings, for the modality gap.")
@class_names_option
@answer_options
@report_option
def embeddings(
    zero_shot: Path,
    tuned: Path,
    k: int,
    distance: str,
    neighbours: str,
    images: Path | None,
    class_names: Path | None,
    form: str,
    output: Path,
    overwrite: bool,
    report: Path | None,
) -> None:
    """Compare the class embeddings of the files ZEROSHOT and TUNED.

    Each is an .npz with 'embeddings' (classes, dim) and 'class_names', or an .npy.

    \b
    ccr-diag analyze embeddings before.npz after.npz --images images.npy
    """  # noqa: D301 (click wants the backspace itself)
    check_output(output, overwrite, [zero_shot, tuned, images, class_names])
    check_report(report, output, overwrite, [zero_shot, tuned, images, class_names])

    from ccr_diag.embeddings import align, read_class_names, read_embeddings
    from ccr_diag.metrics.geometry import TextGeometry
    from ccr_diag.report_geometry import render_geometry

    sources = [path for path in (zero_shot, tuned, images) if path is not None]
    files = [read_embeddings(path) for path in sources]
    for file in files:
        if file.key not in (None, "embeddings"):
            click.echo(
                f"Note: {file.path} has no 'embeddings'; read {file.key!r}, its only array of "
                "floats with two axes.",
                err=True,
            )
    names = None if class_names is None else read_class_names(class_names)
    before, after = align(files[0], files[1], names)
    unnamed = [file.path for file in files[:2] if file.class_names is None]
    if unnamed and names is None:
        source = "numbered" if len(unnamed) == 2 else "named as in the other file"
        click.echo(
            f"Note: {' and '.join(map(str, unnamed))} without class names: rows are {source}, "
            "their order taken to be the same.",
            err=True,
        )
    geometry = TextGeometry.compare(
        before.rows,
        after.rows,
        before.class_names,
        files[2].rows if images is not None else None,
        k=k,
        distance=distance,
        neighbours=neighbours,
    )
    if geometry.k < k:
        click.echo(f"Note: a class has only {geometry.k} others; K is {geometry.k}.", err=True)
    write(render_geometry(geometry, form, line_width(output)), output)
    others = [] if class_names is None else [class_names]
    write_report(report, lambda: _page(geometry, [*sources, *others]))


def _page(geometry: "TextGeometry", inputs: Sequence[Path]) -> str:
    """What draws is loaded only if there is something to draw."""
    from ccr_diag.figures.html_report.geometry_page import geometry_page
    from ccr_diag.metrics.geometry import definitions
    from ccr_diag.provenance import provenance

    made = provenance(command_line(), inputs)
    page: str = geometry_page(geometry.to_json(), definitions(geometry), made)
    return page
