"""The rooms of the house: imports go down only, and the command line starts without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import glip_cli

PACKAGE = Path(glip_cli.__file__).parent
# a room may import from its own floor only where the floor is one room, and from every floor below
FLOORS = [
    ["__main__"],
    ["cli"],
    ["finetune"],
    ["evaluation", "annotate", "cvat"],
    ["data"],
    ["batch", "export"],
    ["detector", "doctor"],
    ["features", "answers"],
    ["plan"],
    ["weights", "output", "sources", "scenes", "device", "views"],
    ["download", "walk"],
    ["postprocess"],
    ["image", "boxes", "model", "prompt"],
    ["pillow", "threads"],
    ["options", "names", "sides", "last_used"],
    ["types"],
    ["errors", "readable", "interrupt", "__init__"],
]
PROMPT = "prompt chunks concepts knowledge lexicon nouns phrases texts tokenizer"
PARTS = {"prompt": set(PROMPT.split()), "boxes": {"boxes"}}
ROOM = {part: room for room, parts in PARTS.items() for part in parts}
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
ALLOWED_BESIDE = {("boxes", "model")}  # the strides of the levels stand with the architecture
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    return ROOM.get(name, name)


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "glip_cli"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return  # only hands out what is asked for
    relative = path.relative_to(PACKAGE)
    here = ROOM.get(name := relative.parts[0].removesuffix(".py"), name)
    assert here in FLOOR, f"{relative} is in no room: give it a place in FLOORS"
    for module in imports(path):
        there = room_of(module)
        if module == "glip_cli.__version__" or there == here or (here, there) in ALLOWED_BESIDE:
            continue
        if module == "glip_cli.Detector":
            there = "detector"
        assert FLOOR.get(there, -1) > FLOOR[here], f"{relative} imports {module}, which is not on a lower floor"


@pytest.mark.parametrize("room", ["output", "sources", "download", "walk", "prompt", "types", "options", "errors"])
def test_rooms_without_torch(room: str) -> None:
    for path in FILES:
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if ROOM.get(name, name) == room:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
            names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
            assert not [n for n in names if n.split(".")[0] in ("torch", "torchvision", "timm", "transformers")], path


@pytest.mark.parametrize("module", ["glip_cli.cli", "glip_cli"])
def test_starting_imports_nothing_heavy(module: str) -> None:
    heavy = ("torch", "timm", "transformers", "numpy", "PIL")
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
