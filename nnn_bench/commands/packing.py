"""The verb that makes a trained network small, and shows what is in the file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnn_bench.commands.shared import AsJson, open_project, print_table, run_folder
from nnn_bench.config.errors import UserError

if TYPE_CHECKING:
    from nnn_bench.training.packing import Packed

RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="a run's key (DATASET/VARIANT-SPEC/s0) or folder; or a packed file, to show it"),
]


def pack(
    run: RunName,
    output: Annotated[
        Path | None, typer.Option(help="the file to write (default: results/packed/RUN.safetensors)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the trained network of RUN with its ternary matrices in 2 bits a weight, and say what that saves."""
    from nnn_bench.training.packing import pack_run, read_packed, write_packed

    project, _ = open_project()
    path = Path(run)
    if os.path.isfile(path):  # noqa: PTH113  the method of Path fails on a name that is too long to be one
        if output:
            raise UserError(f"{run} is packed already; leave this out to show it", key="--output")
        written, packed = path, read_packed(path)
    else:
        packed = pack_run(project, run_folder(project, run))
        written = output or project.results / "packed" / f"{packed.description.run_key}.safetensors"
        write_packed(packed, written)
    if as_json:
        print(json.dumps(_plain(packed, written), indent=1))
    else:
        _show(packed, written, str(project.relative(written)))


def _plain(packed: Packed, written: Path) -> dict[str, Any]:
    sizes = packed.sizes
    return {
        "run_key": packed.description.run_key,
        "file": str(written),
        "file_bytes": written.stat().st_size,
        "bytes": asdict(sizes),
        "bits_per_ternary_weight": sizes.bits_per_weight,
        "ternary": packed.occupancy,
    }


def _show(packed: Packed, written: Path, shown: str) -> None:
    sizes, occupancy = packed.sizes, packed.occupancy
    told = packed.description
    print(f"{told.run_key}: {shown}, {written.stat().st_size:,} bytes with its description")
    if told.tokenizer is None:
        print("  without its vocabulary: the tokens of this run's data are not at hand")
    print_table(
        [
            ["bytes of", "trained", "packed", "times smaller"],
            _size_row("ternary matrices", sizes.ternary_before, sizes.ternary_packed),
            _size_row("whole network", sizes.model_before, sizes.model_packed),
        ]
    )
    entropy = occupancy["all"]["entropy"]
    print(
        f"  {sizes.weights:,} ternary weights, {sizes.bits_per_weight:.2f} bits each as packed; "
        f"{entropy:.2f} would do at these shares, log2 3 = 1.58 whatever the shares"
    )
    matrices = [_share_row(name, found) for name, found in occupancy["matrices"].items()]
    print_table([["share of", "weights", "-1", "0", "+1"], *matrices, _share_row("all", occupancy["all"])])


def _size_row(name: str, before: int, after: int) -> list[str]:
    return [name, f"{before:,}", f"{after:,}", f"{before / after:.1f}"]


def _share_row(name: str, found: dict[str, Any]) -> list[str]:
    return [name, f"{found['weights']:,}", *(f"{found[value]:.1%}" for value in ("minus", "zero", "plus"))]
