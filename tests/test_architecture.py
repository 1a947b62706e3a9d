"""The layers of the package: imports go down only, and the command line starts without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import glip_cli

PACKAGE = Path(glip_cli.__file__).parent
LAYERS = (
    "__main__ cli integrations server client doctor training annotation evaluation onnx_export runs detector inference "
    "checkpoints data outputs prompts model options types utils errors __init__"
).split()
"""From top to bottom: a file imports from its own layer and from those below it."""
WITHOUT_TORCH = [
    *("client", "outputs", "prompts", "options", "types", "utils", "errors", "data/download.py"),
    *(f"data/{name}.py" for name in ("sources", "image_input", "stores", "archives")),
    *(f"runs/{name}.py" for name in ("items", "in_flight", "journal", "local", "prefetch", "read_image", "run_dir")),
]
UPWARD = {
    ("types.py", f"glip_cli.outputs.{name}") for name in ("images.plot", "images.save_detections", "records.record")
}
"""What `Detections` draws and writes itself with, imported when it does."""
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Every module, and every name of a module, that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(parts: list[str] | tuple[str, ...]) -> str:
    name = parts[0].removesuffix(".py")
    return glip_cli.PUBLIC.get(name, "__init__" if name == "__version__" else name).split(".")[0]


@pytest.mark.parametrize("name", [name for name in FILES if name != "__init__.py"])
def test_imports_go_down(name: str) -> None:
    here = LAYERS.index(layer_of(Path(name).parts))
    for module in imports(FILES[name]):
        if module.startswith("glip_cli.") and (name, module) not in UPWARD:
            there = LAYERS.index(layer_of(module.split(".")[1:]))
            assert there >= here, f"{name} imports {module}, of a layer above its own"


@pytest.mark.parametrize("start", WITHOUT_TORCH)
def test_layers_without_torch(start: str) -> None:
    chosen = [path for name, path in FILES.items() if name.removesuffix(".py").startswith(start.removesuffix(".py"))]
    assert chosen
    for path in chosen:
        heavy = {name.split(".")[0] for name in imports(path)} & {"torch", "torchvision", "timm", "transformers"}
        assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize("module", ["glip_cli.cli", "glip_cli"])
def test_starting_imports_nothing_heavy(module: str) -> None:
    heavy = ("torch", "timm", "transformers", "numpy", "PIL", "jinja2", "matplotlib")
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
