"""``ccr-diag analyze embeddings``: what tuning did to the text space, from two plain files."""

from pathlib import Path

import click

from .options import PATH

FORMATS = ("text", "markdown", "csv", "json", "latex")


@click.command()
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
@click.option("--class-names", "names", type=PATH, help="One name a line, for files without names.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="What is written.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("-"),
    show_default=True,
    help="File to write to; - is the terminal.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output file.")
def embeddings(
    zero_shot: Path,
    tuned: Path,
    k: int,
    distance: str,
    neighbours: str,
    images: Path | None,
    names: Path | None,
    form: str,
    output: Path,
    overwrite: bool,
) -> None:
    """Compare the class embeddings of the files ZEROSHOT and TUNED.

    Each is an .npz with 'embeddings' (classes, dim) and 'class_names', or an .npy.

    \b
    ccr-diag analyze embeddings before.npz after.npz --images images.npy
    """  # noqa: D301 (click wants the backspace itself)
    from ccr_diag.embeddings import align, read_class_names, read_embeddings
    from ccr_diag.errors import OutputExists
    from ccr_diag.metrics.geometry import TextGeometry
    from ccr_diag.report_geometry import render_geometry
    from ccr_diag.runs import write_text

    to_file = output != Path("-")
    sources = [path for path in (zero_shot, tuned, images) if path is not None]
    inputs = sources if names is None else [*sources, names]
    if to_file and output.exists():
        if not overwrite:
            raise OutputExists(
                f"The output must be new, but {output} exists; add --overwrite to replace it, or "
                "choose another --output."
            )
        if not output.is_file() or any(p.exists() and p.samefile(output) for p in inputs):
            raise OutputExists(
                f"--overwrite only replaces a file that is not read, but {output} is a folder or "
                "one of the inputs; choose another --output."
            )
    files = [read_embeddings(path) for path in sources]
    for file in files:
        if file.key not in (None, "embeddings"):
            click.echo(
                f"Note: {file.path} has no 'embeddings'; read {file.key!r}, its only array of "
                "floats with two axes.",
                err=True,
            )
    before, after = align(files[0], files[1], None if names is None else read_class_names(names))
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
    text = render_geometry(geometry, form)
    if to_file:
        write_text(output, text)
        click.echo(f"Written: {output}", err=True)
    else:
        click.echo(text, nl=False)
