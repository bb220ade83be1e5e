"""Arguments of commands, with the names that may have been meant by a typo."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from semilung.suggestions import suggestion


class Parser(argparse.ArgumentParser):
    """Python's, whose errors suggest the option, command or choice that is nearest."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        super().error(f"{message}{self._hint(message)}")

    def options(self) -> set[str]:
        """Return the option strings of this parser and of its commands."""
        names = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                names |= {name for parser in action.choices.values() for name in parser.options()}
        return names

    def parse_command(self, words: Sequence[str], namespace: argparse.Namespace) -> None:
        """Parse the words of a command into a namespace.

        Unknown words are an error of the command's own parser, which prints its usage and not this
        one's.
        """
        _, unknown = self.parse_known_args(words, namespace)
        if unknown:
            self._command(namespace).error(f"unrecognized arguments: {' '.join(unknown)}")

    def _command(self, namespace: argparse.Namespace) -> Parser:
        """Return the parser of the command, at any depth, that a namespace names."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                parser: Parser = action.choices[getattr(namespace, action.dest)]
                return parser._command(namespace)
        return self

    def _hint(self, message: str) -> str:
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            return suggestion(choice[1], re.findall(r"'(.*?)'", choice[2]))
        if unknown := re.search(r"unrecognized arguments: (-\S*)", message):
            return suggestion(unknown[1].partition("=")[0], self.options())
        return ""


class SettingsParser(Parser):
    """The parser of a command of settings `key=value` and few options.

    Args:
        prog: Name of the command.
        description: What it does, printed as it is written.
        metavar: How a setting is written.
        example: An example of a setting.
        epilog: Text after the options.
    """

    def __init__(
        self, *, prog: str, description: str, metavar: str, example: str = "", epilog: str = ""
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._words: list[str] = []
        self.add_argument("settings", nargs="*", metavar=metavar, help=example)
        self.add_argument("--config-dir", type=Path, metavar="DIR", help="further configs, of "
                          "strategies from elsewhere")  # fmt: skip

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Return the settings and options of a command line, in any order."""
        self._words = list(words)
        return self.parse_intermixed_args(words)

    def _hint(self, message: str) -> str:
        """Return the nearest option, or how the option is written as a setting."""
        unknown = re.search(r"unrecognized arguments: (-\S*)", message)
        if (hint := super()._hint(message)) or not unknown:
            return hint
        option, _, value = unknown[1].partition("=")
        key = option.lstrip("-").replace("-", "_")
        if not value and option in self._words:
            value = next(iter(self._words[self._words.index(option) + 1 :]), "")
        return f"; settings are written without dashes, as {key}={value or '...'}"
