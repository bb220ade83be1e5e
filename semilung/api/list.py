"""`semilung list`: names that a config may use."""

from __future__ import annotations

from collections.abc import Sequence

from semilung.catalogue import KINDS as CATALOGUES
from semilung.catalogue import Entry, catalogue, markdown
from semilung.config.settings_table import Setting, settings, settings_help, settings_page
from semilung.suggestions import require_choice

__all__ = ["KINDS", "list_markdown", "list_names", "settings_help"]

KINDS = (*CATALOGUES, "settings")


def list_names(kind: str) -> Sequence[Entry | Setting]:
    """Return name and description of all strategies, losses, models, formats or settings.

    Args:
        kind: One of `KINDS`.

    Raises:
        UserError: The kind is unknown.

    Example:
        >>> [entry.name for entry in list_names("models")]
        ['dynunet', 'reversible_unet', 'segresnet']
    """
    require_choice("kind", kind, KINDS)
    return list(settings()) if kind == "settings" else catalogue(kind)


def list_markdown(kind: str) -> str:
    """Return the same as a page or table of Markdown; errors as `list_names`."""
    require_choice("kind", kind, KINDS)
    return settings_page() if kind == "settings" else markdown(kind)
