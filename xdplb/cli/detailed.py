"""Commands whose exit status tells whether there are changes: 0 none, 2 some; so 1 is for every error.

As `terraform plan -detailed-exitcode` does; elsewhere 2 means that what was given is wrong.
"""

from __future__ import annotations

from typing import Any

import click

from xdplb.errors import XdplbError

CHANGES = 2


class Detailed(click.Command):
    """Such a command; what it returns is the exit status."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Take what was typed; what is wrong with it ends with 1."""
        try:
            return super().make_context(*arguments, **options)
        except click.ClickException as error:
            error.show()
            raise click.exceptions.Exit(1) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Do it; whatever is wrong ends with 1."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.show()
        except XdplbError as error:
            click.echo(f"xdplb: {error}", err=True)
        raise click.exceptions.Exit(1)
