"""docs/quickstart.ipynb runs from its first cell to its last, and shows what it should."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.pages import ROOT

DOCS = ROOT / "docs"


@pytest.mark.long
def test_the_notebook_runs() -> None:
    notebook = nbformat.read(DOCS / "quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(DOCS)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = next(output.data for output in outputs if output.output_type == "execute_result")
    assert "1 mug" in shown["text/plain"]
    assert "image/png" in shown
    assert not [output for output in outputs if output.output_type == "error"]
