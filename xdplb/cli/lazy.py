"""A group whose commands are imported when they are called, and not to be listed: that is what makes it quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click
from click.shell_completion import CompletionItem


class Lazy(click.Group):
    """Commands by name: `places` says where each is ("module:attribute"), `helps` what it does in a line."""

    def __init__(self, places: Mapping[str, str], helps: Mapping[str, str], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]
        self.places, self.helps = places, helps

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order in which they are declared."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.places:
            return None
        module, _, attribute = self.places[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is told with those that are nearly called so."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=self.places, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._help(ctx, name)) for name in self.places])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete a command's name without importing it, or an option."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        names = [name for name in self.places if name.startswith(incomplete)]
        return [CompletionItem(name, help=self._help(ctx, name)) for name in names]

    def _help(self, ctx: click.Context, name: str) -> str:
        if name in self.helps:
            return self.helps[name]
        command = self.get_command(ctx, name)
        return command.get_short_help_str(80) if command else ""
