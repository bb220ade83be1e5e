"""The environment of the templates of pages."""

from __future__ import annotations

from jinja2 import Environment

from semilung.html_templates import data_uri, template_environment


def page_environment() -> Environment:
    """Return the environment: names are escaped, and plots become data URIs by `svg_uri`."""
    environment = template_environment("semilung.report")
    environment.filters["svg_uri"] = _svg_uri
    return environment


def _svg_uri(svg: str) -> str:
    return data_uri("svg+xml", svg.encode())
