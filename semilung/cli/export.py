"""`semilung export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from semilung.cli.messages import say
from semilung.types import UserError


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `semilung export`."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN",
                        help="a run's folder; and settings: inference.key=value instead of "
                        "the run's, such as inference.threshold=0.3")  # fmt: skip
    parser.add_argument("--to", choices=["safetensors", "monai", "onnx"], default="safetensors",
                        help="weights and settings for semilung (the default), a bundle for MONAI, "
                        "or ONNX")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="new folder, or file.onnx")
    parser.add_argument("--checkpoint", choices=["last", "best"], default="last")
    parser.add_argument("--half", action="store_true", help="float16 weights, half the size")
    parser.add_argument("--overwrite", action="store_true", help="replace an export")
    parser.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    from semilung.api.export import export

    if len(arguments.runs) > 1:
        raise UserError(
            f"an export holds one net, and {len(arguments.runs)} runs were given; export one each, "
            f"and average them in predict (--run EXPORT_A --run EXPORT_B)"
        )
    written = export(
        arguments.runs[0],
        arguments.out,
        to=arguments.to,
        checkpoint=arguments.checkpoint,
        half=arguments.half,
        settings=arguments.settings,
        overwrite=arguments.overwrite,
    )
    say(str(written))
