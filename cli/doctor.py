"""``ccr-diag doctor``: what this machine offers, and how weights get onto it."""

import json
from collections.abc import Iterator
from typing import Any

import click

from .command import command


def plan(form: str) -> list[str]:
    """What is looked at."""
    return ["Reads: versions, devices, caches and weights here, and whether the hub answers"]


@command(plan)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="What is written.",
)  # fmt: skip
@click.pass_context
def doctor(context: click.Context, form: str) -> None:
    """Say what this machine offers: versions, devices, caches, weights.

    Writes nothing. Exit code 1 where something is found that makes every command fail.

    \b
    ccr-diag doctor --format json
    """  # noqa: D301 (click wants the backspace itself)
    from ccr_diag.machine import examine

    found = examine()
    if form == "json":
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(lines(found)))
    for problem in found["problems"]:
        click.echo(f"Problem: {problem}", err=True)
    context.exit(1 if found["problems"] else 0)


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The findings of ``machine.examine`` as text."""
    yield from _table("Versions", found["versions"])
    yield ""
    yield from _table("Extras", {each["name"]: _of_extra(each) for each in found["extras"]})
    yield ""
    yield from _table("Devices", _devices(found))
    yield ""
    yield from _table("Caches", {name: _of_cache(each) for name, each in found["caches"].items()})
    yield ""
    yield "Weights on this disk, which need no network"
    for each in found["weights"]:
        tag = f" --pretrained {each['pretrained']}" if each["pretrained"] else ""
        yield f"  --model {each['model']}{tag}"
    yield ""
    unreachable, address = found["hub"]["unreachable"], found["hub"]["address"]
    if not unreachable:
        yield f"The hub {address} can be reached: other weights are fetched when they are named."
        return
    yield f"The hub {address} was not reached ({unreachable})."
    yield from get_weights(found["caches"]["hub"]["path"])


def get_weights(hub_cache: str) -> Iterator[str]:
    """How weights get here without the hub."""
    from ccr_diag.machine import EXAMPLE

    model, tag, repository = EXAMPLE
    folder = repository.rpartition("/")[2]
    yield "Other weights come here in one of three ways; the example is OpenAI's ViT-B-16."
    yield "  1. Where the hub can be reached, fetch a folder, and copy it here:"
    yield f"       hf download {repository} --local-dir {folder}"
    yield "     It must hold open_clip_config.json and open_clip_model.safetensors. Then"
    yield f"       --model local-dir:PATH/{folder}"
    yield f"  2. Or copy a folder of the hub's cache there into {hub_cache}:"
    yield f"       models--{repository.replace('/', '--')}"
    yield f"     and set HF_HUB_OFFLINE=1. Then --model {model} --pretrained {tag}"
    yield "  3. Or name a weights file of a model that open_clip knows:"
    yield f"       --model {model} --pretrained PATH/open_clip_model.safetensors"
    yield "A mirror of the hub is named by HF_ENDPOINT."


def _table(title: str, rows: dict[str, str]) -> Iterator[str]:
    """A title, and names with their values in a second column."""
    width = max(map(len, rows), default=0)
    yield title
    yield from (f"  {name:<{width}}  {value}" for name, value in rows.items())


def _of_extra(extra: dict[str, Any]) -> str:
    """Whether it is there, or how to get it."""
    if not extra["missing"]:
        return "installed"
    return f"not installed ({', '.join(extra['missing'])}): {extra['install']}"


def _of_cache(cache: dict[str, Any]) -> str:
    """Its place, size and room."""
    writable = "" if cache["writable"] else ", not writable"
    return f"{cache['path']} ({_size(cache['bytes'])}, {_size(cache['free'])} free{writable})"


def _devices(found: dict[str, Any]) -> dict[str, str]:
    """One row a kind of device."""
    memory = "" if found["memory"] is None else f", {_size(found['memory'])} of memory"
    rows = {"cpu": f"{found['cpus']} cores{memory}"}
    if not (devices := found["devices"]):
        return rows
    rows["cpu"] += f", threads of torch: {devices['threads']}"
    cards = [f"{each['name']} ({_size(each['memory'])})" for each in devices["cuda"]]
    rows["cuda"] = "; ".join([*(cards or ["none found"]), *devices["warnings"]])
    rows["mps"] = "found" if devices["mps"] else "none found"
    rows["--device auto"] = f"takes {devices['auto']}"
    rows["--precision amp_bf16"] = f"works on {', '.join(devices['amp_bf16']) or 'none'}"
    return rows


def _size(n_bytes: int) -> str:
    """Bytes in the largest unit that leaves a whole."""
    size, units = float(n_bytes), ["bytes", "KB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"
