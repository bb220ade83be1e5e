"""What all HTML pages have in common: escaping templates, and pictures as part of the page."""

from __future__ import annotations

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined


def template_environment(package: str) -> Environment:
    """Return the environment of the templates in a package's folder `page_files`.

    Names are escaped, and a variable that is missing is an error.
    """
    return Environment(
        loader=PackageLoader(package, "page_files"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def data_uri(kind: str, content: bytes) -> str:
    """Return a picture as part of a page, so that the page needs no other file.

    Example:
        >>> data_uri("png", b"abc")
        'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
