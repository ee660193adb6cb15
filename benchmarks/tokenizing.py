"""From a text to shards against the library `tokenizers` alone: rate and peak memory, on a synthetic text of 1 GB.

The text is drawn from a seed: words of a made-up vocabulary by Zipf's law, lines of a dozen words. Byte pairs (8,192) are
trained once, on the first 100 MB, in a process of their own, whose memory is told too. Then each contender runs in fresh
processes, in the order library, product, product, library, ...:

- library: reads the text block by block, as the product does, `encode_batch_fast`, takes the ids, writes nothing;
- product: `prepare` on the content in the cache: hashes, splits, encodes, writes shards and manifest.

Both have the same number of threads of the library. Seconds are those of the work, without the start of Python, by the clock and
of the processors (a busy machine spoils the first); memory is the most that the process ever held.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 8192
WORDS, LINE = 200_000, 12
MEGABYTE = 10**6
NAME = "synthetic"


def write_text(path: Path, size: int, seed: int) -> None:
    """`size` bytes of words by Zipf's law, the more frequent the shorter; written a few megabytes at a time."""
    draw = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlcumwfgypbvkjxqz"))
    shares = 1 / np.arange(1, 27)
    lengths = 2 + np.minimum(draw.poisson(np.log10(np.arange(1, WORDS + 1)) * 1.3), 14)
    drawn = draw.choice(letters, size=int(lengths.sum()), p=shares / shares.sum())
    words = ["".join(word) for word in np.split(drawn, np.cumsum(lengths)[:-1])]
    bounds = np.cumsum(1 / np.arange(1, WORDS + 1))
    left = size
    with path.open("wb") as file:
        while left:
            chosen = np.searchsorted(bounds, draw.random(1 << 19) * bounds[-1]).tolist()
            lines = [" ".join(words[i] for i in chosen[j : j + LINE]) for j in range(0, len(chosen), LINE)]
            left -= file.write((".\n".join(lines) + ".\n").encode()[:left])


def train(folder: Path) -> dict[str, Any]:
    """Train on the start of the text and leave the vocabulary there."""
    from nnn_bench.config.datasets import BytePairTokens
    from nnn_bench.config.paths import Project
    from nnn_bench.data.blocks import text_blocks
    from nnn_bench.data.tokenizers.byte_pairs import Tokenizer

    path = folder / "text.txt"
    settings = BytePairTokens(kind="byte_pairs", vocabulary=VOCABULARY)
    texts = (block.text for block in text_blocks(path, 0, path.stat().st_size))
    made = Tokenizer.train(settings, texts, Project(folder))
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(made.tokens)}))
    (folder / "merges.json").write_text(json.dumps(made.merges))
    return {"vocabulary": made.size, "bytes": min(settings.training_bytes, path.stat().st_size)}


def product(folder: Path) -> dict[str, Any]:
    """All of `prepare` but the training: the vocabulary is that of `train`."""
    from nnn_bench.config.datasets import Dataset, VocabularyTokens
    from nnn_bench.config.paths import Project
    from nnn_bench.data.prepare import prepare

    source = {"kind": "file", "path": "text.txt"}
    dataset = Dataset.model_validate({"summary": "-", "licence": "-", "citation": "-", "source": source})
    settings = VocabularyTokens(kind="vocabulary", path="vocab.json", merges="merges.json")
    manifest = prepare(NAME, dataset, "pairs", settings, Project(folder))
    return {"tokens": sum(split.tokens for split in manifest.splits.values())}


def content(folder: Path) -> dict[str, Any]:
    """Read the text into the cache, which is no part of what is timed."""
    from nnn_bench.config.datasets import Dataset
    from nnn_bench.config.paths import Project
    from nnn_bench.data.content import make_content

    source = {"kind": "file", "path": "text.txt"}
    dataset = Dataset.model_validate({"summary": "-", "licence": "-", "citation": "-", "source": source})
    return {"bytes": make_content(NAME, dataset, Project(folder)).bytes}


def library(folder: Path) -> dict[str, Any]:
    """The library on the same blocks, as many side by side."""
    from nnn_bench.data.blocks import text_blocks
    from nnn_bench.data.encoding.byte_level import byte_level
    from nnn_bench.data.parts import BLOCK, BLOCKS_AT_ONCE

    vocabulary, path = json.loads((folder / "vocab.json").read_text()), folder / "text.txt"
    merges = [(left, right) for left, right in json.loads((folder / "merges.json").read_text())]
    encoder = byte_level(list(vocabulary), merges)
    blocks = text_blocks(path, 0, path.stat().st_size, BLOCK)
    tokens = 0
    while several := [block.text for block in islice(blocks, BLOCKS_AT_ONCE)]:
        tokens += sum(len(one.ids) for one in encoder.encode_batch_fast(several, add_special_tokens=False))
    return {"tokens": tokens}


WORK: dict[str, Callable[[Path], dict[str, Any]]] = {
    "train": train,
    "content": content,
    "library": library,
    "product": product,
}


def in_a_process(work: str, folder: Path, threads: int) -> dict[str, Any]:
    """What the work says, its seconds and its peak memory, from a process of its own."""
    variables = {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.tokenizing", "--work", work, "--folder", str(folder)]
    done = subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    told = f"{found['seconds']:8.1f} s {found['processor_seconds']:8.1f} s of processors {found['peak_bytes'] / MEGABYTE:6.0f} MB"
    print(f"  {work:<8} {told}", file=sys.stderr, flush=True)
    return found


def worked(work: str, folder: Path) -> dict[str, Any]:
    start, used = time.perf_counter(), time.process_time()
    found = WORK[work](folder)
    seconds = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - used}
    # not getrusage, which counts in what the parent held when it made this process
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {**found, **seconds, "peak_bytes": int(peak.split()[1]) * 1024}


def measured(folder: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.timing import row

    size = chosen.megabytes * MEGABYTE
    write_text(folder / "text.txt", size, chosen.seed)
    prepared = {work: in_a_process(work, folder, chosen.threads) for work in ("train", "content")}
    runs: dict[str, list[dict[str, Any]]] = {"library": [], "product": []}
    for number in range(chosen.rounds):
        for work in list(runs) if number % 2 == 0 else reversed(runs):
            if work == "product":
                shutil.rmtree(folder / ".cache" / "tokens", ignore_errors=True)
            runs[work].append(in_a_process(work, folder, chosen.threads))
    found = row(f"{chosen.megabytes:,} MB", {work: [one["seconds"] for one in some] for work, some in runs.items()})
    found["megabytes_per_second"] = {work: size / 1e3 / found["ms"][work] for work in runs}
    found["rate_to_library"] = found["ms"]["library"] / found["ms"]["product"]
    busy = {work: statistics.median(one["processor_seconds"] for one in some) for work, some in runs.items()}
    found["processor_ms"] = {work: seconds * 1e3 for work, seconds in busy.items()}
    found["processor_rate_to_library"] = busy["library"] / busy["product"]
    found["peak_bytes"] = {work: max(one["peak_bytes"] for one in some) for work, some in runs.items()}
    found["tokens"] = {work: some[0]["tokens"] for work, some in runs.items()}
    found["training"], found["content"] = prepared["train"], prepared["content"]
    found["peak_bytes"] |= {work: one["peak_bytes"] for work, one in prepared.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="of the text")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each contender")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the library, for both")
    parser.add_argument("--seed", type=int, default=0, help="of the text")
    parser.add_argument("--work", choices=list(WORK), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        print(json.dumps(worked(chosen.work, chosen.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), chosen)
    from benchmarks.timing import publish

    note = "text to shards against the library alone; target: rate_to_library >= 0.8, peak_bytes of each below 500 MB"
    publish("tokenizing", [found], chosen.threads, note)
    peaks = ", ".join(f"{work} {peak / MEGABYTE:.0f} MB" for work, peak in found["peak_bytes"].items())
    rates = ", ".join(f"{work} {rate:.2f} MB/s" for work, rate in found["megabytes_per_second"].items())
    print(
        f"  {rates}: {found['rate_to_library']:.2f} of the library's rate "
        f"({found['processor_rate_to_library']:.2f} by processor time); at most {peaks}"
    )


if __name__ == "__main__":
    main()
