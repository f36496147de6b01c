"""What the import contracts cannot say: that they name every module, and hold at run time."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import seqscan

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    module.name for module in pkgutil.iter_modules(seqscan.__path__) if module.name != "__main__"
)
WITHIN = sorted(
    module.name.removeprefix("seqscan.")
    for module in pkgutil.walk_packages(seqscan.__path__, "seqscan.")
    if not module.name.endswith("__main__")
)
"""With what is in packages."""

# May import torch, themselves or by what they import; every other module is NumPy and SciPy only.
TORCH = {
    "benchmark",
    "checkpoint",
    "cli",
    "device",
    "discovery",
    "distributed",
    "embed",
    "encoder",
    "estimator",
    "finetune",
    "growth",
    "knowledge",
    "losses",
    "memory",
    "model",
    "overview",
    "pipeline",
    "plan",
    "pretrain",
    "residues",
    "scaling",
    "scan",
    "threads",
    "update",
}
# Of a package that may.
FREE_WITHIN = {"residues.consensus", "residues.maps", "residues.tracks"}
# These import the others in their subcommands alone.
STARTS_WITHOUT_TORCH = {"cli", "knowledge"}
# Learn or select, so that they may not reach a label.
LABEL_FREE = {
    "discovery",
    "embed",
    "estimator",
    "finetune",
    "growth",
    "head",
    "hierarchy",
    "memory",
    "model",
    "neighbors",
    "novelty",
    "pretrain",
    "prior",
    "residues",
    "scaling",
    "scan",
    "segments",
    "tally",
    "update",
}
READ_LABELS = {"baselines", "datasets", "evaluate", "knowledge"}


def contract(name):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return next(entry for entry in settings["contracts"] if entry["name"].startswith(name))


def listed(name, key):
    return {module.removeprefix("seqscan.") for module in contract(name)[key]}


def test_contracts_name_every_module_they_should():
    present = set(MODULES)
    assert listed("No torch", "source_modules") == (present - TORCH) | FREE_WITHIN
    assert listed("No labels", "source_modules") == present & LABEL_FREE
    assert listed("No labels", "forbidden_modules") == present & READ_LABELS


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_listed_and_exist(name):
    module = importlib.import_module(f"seqscan.{name}")
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__) > 0
    for public in module.__all__:
        assert hasattr(module, public) or find_spec(f"{module.__name__}.{public}"), public
        assert not public.startswith("_")


def test_start_without_torch():
    free = [
        f"seqscan.{name}" for name in [*MODULES, *FREE_WITHIN] if name not in TORCH - STARTS_WITHOUT_TORCH
    ]
    program = f"""
import importlib, sys
for name in {free!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(name for name in WITHIN if name.split(".")[0] in LABEL_FREE))
def test_no_function_that_reads_labels_is_named_where_labels_are_forbidden(name):
    # `results.read_truth` stands in a module that label-free ones may import: the contract cannot catch it.
    tree = ast.parse(inspect.getsource(importlib.import_module(f"seqscan.{name}")))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert not used & {"read_truth", "pfam10_labels"}
