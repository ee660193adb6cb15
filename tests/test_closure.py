"""Which source a run depends on: exactly what it loads, and nothing that only reads differently."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys

import pytest

from nnn_bench.config import closure
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.paths import Project
from tests.models import VARIANTS as NETWORKS
from tests.models import solved

CATALOG = Catalog(Project.find())
VARIANTS = ["gpt2", "matmul_free", "selection_transformer"]


def covering() -> list[str]:
    """Few variants that have every component of the registry between them: each costs a process of its own."""
    modules = {name: set(closure.component_modules(CATALOG.variant(name).model_tree)) for name in NETWORKS}
    missing, chosen = set().union(*modules.values()), []
    while missing:
        chosen.append(max(modules, key=lambda name: len(modules[name] & missing)))
        missing -= modules[chosen[-1]]
    return chosen


EVERY_KIND = covering()


@pytest.fixture
def copied_package(tmp_path, monkeypatch):
    """A copy of the package's source that the hash reads in place of the installed one."""
    package = tmp_path / "nnn_bench"
    shutil.copytree(closure.PACKAGE_ROOT, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(closure, "PACKAGE_ROOT", package)
    closure._parsed.cache_clear()
    yield package
    closure._parsed.cache_clear()


def hashes():
    closure._parsed.cache_clear()
    return {name: closure.source_hash(CATALOG.variant(name).model_tree) for name in VARIANTS}


def test_comments_and_docstrings_do_not_count(copied_package):
    before = hashes()
    path = copied_package / "models" / "mixers" / "mlgru.py"
    path.write_text(
        "# a remark\n" + path.read_text().replace("The gated linear recurrence", "A gated linear recurrence")
    )
    assert hashes() == before


def test_changed_arithmetic_counts_for_the_variants_that_run_it(copied_package):
    before = hashes()
    path = copied_package / "models" / "mixers" / "mlgru.py"
    text = path.read_text()
    assert "(1 - keep) * F.silu" in text
    path.write_text(text.replace("(1 - keep) * F.silu", "(2 - keep) * F.silu"))
    after = hashes()
    assert [name for name in VARIANTS if after[name] != before[name]] == ["matmul_free"]


def test_a_change_of_the_loop_counts_for_all(copied_package):
    before = hashes()
    path = copied_package / "training" / "loop.py"
    path.write_text(path.read_text() + "\nEXTRA = 1\n")
    assert all(hashes()[name] != before[name] for name in VARIANTS)


def test_reports_and_tracking_do_not_count(copied_package):
    before = hashes()
    for room in ("report", "tracking", "statistics"):
        for path in (copied_package / room).glob("*.py"):
            path.write_text(path.read_text() + "\nEXTRA = 1\n")
    assert hashes() == before


def test_what_makes_the_data_does_not_count(copied_package):
    before = hashes()
    rooms = ("sources", "readers", "tokenizers", "delivery")
    made = [path for room in rooms for path in (copied_package / "data" / room).glob("*.py")]
    named = [
        copied_package / "config" / "datasets.py",
        *(copied_package / "data" / f"{n}.py" for n in ("prepare", "content")),
    ]
    for path in made + named:
        path.write_text(path.read_text() + "\nEXTRA = 1\n")
    assert hashes() == before


#: Trains nothing, but loads for each model tree, as from a fresh start, what a training process does.
LOADER = """
import json, sys
import torch
for tree in json.load(sys.stdin):
    for name in [name for name in sys.modules if name.split(".")[0] == "nnn_bench"]:
        del sys.modules[name]
    trees = "trees" in tree
    __import__("nnn_bench.training.trees" if trees else "nnn_bench.training.trainer")
    from nnn_bench.models.build import build
    made = build(tree, vocabulary=5, context=16)
    if not trees:
        made(torch.zeros(1, 16, dtype=torch.long))
    print(*sorted(name for name in sys.modules if name.split(".")[0] == "nnn_bench"))
"""


@pytest.fixture(scope="module")
def loaded():
    """Modules that a training process of each variant of `EVERY_KIND`, and one of trees, loads."""
    trees = json.dumps([*(solved(variant).model for variant in EVERY_KIND), CATALOG.variant("lightgbm").model_tree])
    done = subprocess.run([sys.executable, "-c", LOADER], input=trees, capture_output=True, text=True, check=True)
    lines = (line.split() for line in done.stdout.splitlines())
    return dict(zip([*EVERY_KIND, "lightgbm"], lines, strict=True))


@pytest.mark.parametrize("variant", EVERY_KIND)
def test_the_closure_is_what_a_training_process_really_loads(variant, loaded):
    components = closure.component_modules(solved(variant).model)
    assert sorted(closure.closure([closure.TRAINING_ROOT, *components])) == loaded[variant]


def test_the_closure_of_trees_is_what_fitting_them_loads(loaded):
    components = list(closure.component_modules(CATALOG.variant("lightgbm").model_tree))
    assert sorted(closure.closure([closure.TREES_ROOT, *components])) == loaded["lightgbm"]
    assert closure.TRAINING_ROOT not in loaded["lightgbm"] and closure.TREES_ROOT not in loaded[EVERY_KIND[0]]


def test_imports_run_one_way():
    order = [
        ["config"],
        ["data", "models"],
        ["budget", "audit", "measure"],
        ["training", "continual"],
        ["speed"],
        ["statistics", "claims"],
        ["report", "tracking"],
        ["progress", "pipeline", "commands", "cli", "__main__"],
    ]
    level = {room: number for number, rooms in enumerate(order) for room in rooms}
    against = []
    for path in closure.PACKAGE_ROOT.rglob("*.py"):
        here = path.relative_to(closure.PACKAGE_ROOT).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for module in _imported(path):
            there = module.split(".")[1]
            if level[there] > level[here] or (level[there] == level[here] < 7 and there != here):
                against.append(f"{path.name}: {module}")
    assert against == []


def test_models_know_no_file_no_optimizer_and_no_tracker():
    for path in (closure.PACKAGE_ROOT / "models").rglob("*.py"):
        words = {word.split(".")[0] for word in _imported(path, package_only=False)} | set(
            _imported(path, package_only=False)
        )
        assert not words & {"pathlib", "os", "io", "json", "mlflow", "torch.optim", "lion_pytorch", "yaml"}, path


def test_component_folders_have_empty_init_files():
    for folder in ("projections", "mixers", "topologies", "windows", "trees", "published"):
        assert (closure.PACKAGE_ROOT / "models" / folder / "__init__.py").read_text() == ""


def _imported(path, package_only=True):
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
    return [name for name in names if not package_only or name.startswith("nnn_bench.")]
