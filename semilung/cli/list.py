"""`semilung list`."""

from __future__ import annotations

import argparse

from semilung.cli.messages import say


def add_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung list`."""
    parser.add_argument("kind", choices=["tasks", "strategies", "losses", "models", "settings"])
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table")
    parser.set_defaults(run=_list)


def _list(arguments: argparse.Namespace) -> None:
    if arguments.kind == "settings":
        _list_settings(markdown=arguments.markdown)
    else:
        _list_names(arguments.kind, as_markdown=arguments.markdown)


def _list_names(kind: str, *, as_markdown: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from semilung.catalogue import catalogue, markdown

    if as_markdown:
        say(markdown(kind))
        return
    table = Table("name", "what it does", "needs", box=None, pad_edge=False)
    for entry in catalogue(kind):
        table.add_row(*entry)
    console = Console()
    console.width = console.width if console.is_terminal else 160
    console.print(table, markup=False)


def _list_settings(*, markdown: bool) -> None:
    from semilung.config.settings_table import settings_help, settings_page

    say(settings_page().rstrip() if markdown else settings_help(160))
