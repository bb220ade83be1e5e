"""`semilung list`."""

from __future__ import annotations

import argparse

from semilung.cli.messages import say


def add_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung list`."""
    kinds = ["tasks", "strategies", "losses", "models", "formats", "settings"]
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--markdown", action="store_true", help="as a Markdown table")
    parser.set_defaults(run=_list)


def _list(arguments: argparse.Namespace) -> None:
    from semilung.api.list import list_markdown, settings_help

    if arguments.markdown:
        say(list_markdown(arguments.kind).rstrip())
    elif arguments.kind == "settings":
        say(settings_help(160))
    else:
        _print_names(arguments.kind)


def _print_names(kind: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from semilung.api.list import list_names

    table = Table("name", "what it does", "needs", box=None, pad_edge=False)
    for entry in list_names(kind):
        table.add_row(*entry)
    console = Console()
    console.width = console.width if console.is_terminal else 160
    console.print(table, markup=False)
