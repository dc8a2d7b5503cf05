"""What every command can do beside its work: say what it would do, and keep its options in a file.

    @command(plan)      in place of @click.command()
    @click.argument(…)
    def predict(…): …

adds ``--config``, ``--print-config`` and ``--dry-run``. ``plan`` takes what the command takes, and
gives the lines that ``--dry-run`` shows: it refuses what the command would refuse as far as it can
tell without loading weights, and writes nothing.
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import click

from .config_file import read_options, written_options
from .options import PATH

Plan = Callable[..., Iterable[str]]
CONFIG, PRINT, DRY_RUN = "config", "print_config", "dry_run"
WORDS = "ccr_diag.cli.words"


class Command(click.Command):
    """A command with ``--config``, ``--print-config`` and ``--dry-run``.

    Args:
        plan: the lines that ``--dry-run`` shows.
        resolve: puts what ``--print-config`` shows in place of what was given, where the command
            itself finds out defaults.
        by_name: parameters that a file calls by their own name, not by that of the option.
        *args: of ``click.Command``.
        **kwargs: of ``click.Command``.
    """

    def __init__(
        self,
        *args: Any,
        plan: Plan,
        resolve: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        by_name: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.options = tuple(self.params)
        self.plan, self.resolve, self.by_name = plan, resolve, by_name
        self.params += [
            click.Option(
                [f"--{CONFIG}"], type=PATH, is_eager=True, expose_value=False,
                callback=self._take_file,
                help="TOML file of these options and arguments; flags override it.",
            ),
            click.Option(
                ["--print-config", PRINT], is_flag=True,
                help="Only print them all as such a file.",
            ),
            click.Option(
                ["--dry-run", DRY_RUN], is_flag=True,
                help="Only say what would be read and written, and what it takes.",
            ),
        ]  # fmt: skip

    def _take_file(
        self, context: click.Context, option: click.Parameter, path: Path | None
    ) -> None:
        """Let what a file says stand in for defaults."""
        if path is not None:
            context.default_map = read_options(path, context, self.options, self.by_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words, for ``command_line``."""
        ctx.meta[WORDS] = [*ctx.command_path.split(), *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Do the work, or only speak of it."""
        printed, dry = ctx.params.pop(PRINT), ctx.params.pop(DRY_RUN)
        if printed:
            values = self.resolve(ctx.params)
            click.echo(written_options(self.options, values, self.by_name), nl=False)
            return None
        if dry:
            for line in [*self.plan(**ctx.params)]:
                click.echo(line)
            return None
        return super().invoke(ctx)


def command(plan: Plan, **how: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; see ``Command``."""
    return click.command(cls=Command, plan=plan, **how)


def command_line() -> list[str]:
    """The words by which the running command was called, from ``ccr-diag`` on."""
    words: list[str] = click.get_current_context().meta[WORDS]
    return words
