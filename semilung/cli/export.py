"""`semilung export` and `semilung data export`."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from semilung.cli.messages import say
from semilung.cli.scheduler import add_scheduler
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


def add_data_export(commands: Any) -> None:
    """Add `semilung data export` to the commands of data."""
    exporter = commands.add_parser("export", help="write a manifest's cohort for nnU-Net")
    exporter.add_argument("format", choices=["nnunet"], help="nnU-Net raw, version 2")
    exporter.add_argument("manifest", type=Path)
    exporter.add_argument("out", type=Path, help="new folder, nnUNet_raw/DatasetNNN_NAME")
    exporter.add_argument("--healthy", action="store_true",
                          help="take healthy scans, with empty label maps")  # fmt: skip
    exporter.add_argument("--pseudo-labels", type=Path, metavar="DIR", help="folder that "
                          "`predict --pseudo-labels` wrote: labels of cases without")  # fmt: skip
    add_scheduler(exporter)
    exporter.set_defaults(run=_data_export)


def _data_export(arguments: argparse.Namespace) -> None:
    from semilung.api.export import export_nnunet

    counts = export_nnunet(
        arguments.manifest,
        arguments.out,
        healthy=arguments.healthy,
        pseudo_labels=arguments.pseudo_labels,
        progress=True,
        scheduler=arguments.scheduler,
    )
    say(f"{counts['Tr']} training scans and {counts['Ts']} test scans: {arguments.out}")
    if not re.fullmatch(r"Dataset\d{3}_.+", arguments.out.absolute().name):
        say("nnU-Net reads folders named DatasetNNN_NAME within nnUNet_raw; rename it so")
