"""Arguments of commands, with the names that may have been meant by a typo."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from semilung.suggestions import suggestion


class Parser(argparse.ArgumentParser):
    """Python's, whose errors suggest the option, command or choice that is nearest."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with 2."""
        super().error(f"{message}{self._hint(message)}")

    def options(self) -> set[str]:
        """Option strings of this parser and of its commands."""
        names = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                names |= {name for parser in action.choices.values() for name in parser.options()}
        return names

    def _hint(self, message: str) -> str:
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            return suggestion(choice[1], re.findall(r"'(.*?)'", choice[2]))
        if unknown := re.search(r"unrecognized arguments: (-\S*)", message):
            return suggestion(unknown[1].partition("=")[0], self.options())
        return ""
