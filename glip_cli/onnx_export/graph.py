"""Pieces of a network -> one ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from importlib.metadata import version

import onnx_ir
import torch

from glip_cli.errors import UsageError
from glip_cli.onnx_export.pieces import Piece

SHAPES: dict[str, list[int | str]] = {
    "pixels": ["batch", 3, "height", "width"],
    "ids": ["batch", "tokens"],
    "mask": ["batch", "tokens"],
    "logits": ["batch", "locations", "tokens"],
    "deltas": ["batch", "locations", 4],
    "centerness": ["batch", "locations"],
}
"""Of the inputs and outputs of the whole."""


def join(pieces: Iterable[Piece], inputs: tuple[str, ...], opset: int) -> onnx_ir.Model:
    """One graph of pieces that are given in the order of their work.

    Args:
        pieces: what a piece takes an earlier one gives, or `inputs` name it.
        inputs: of the whole; its outputs are those of the last piece.
        opset: version of ONNX's operators, 19 or later.
    """
    values: dict[str, onnx_ir.Value] = {}
    graph = onnx_ir.Graph([], [], nodes=[], opset_imports={"": opset}, name="glip")
    for number, piece in enumerate(pieces):
        part = convert(piece, opset).graph
        _name_apart(part, f"{number}.")
        for value in part.inputs:
            _link(value, values, graph, inputs)
        outputs = list(part.outputs)
        _move(part, graph)
        values |= {str(value.name): value for value in outputs}
        last = outputs
    graph.outputs.extend(last)
    for value in (*graph.inputs, *graph.outputs):
        value.shape = onnx_ir.Shape(SHAPES[str(value.name)])
    return onnx_ir.Model(graph, ir_version=10, producer_name="glip")


def _name_apart(part: onnx_ir.Graph, prefix: str) -> None:
    """Two pieces may use one name for two things; and what is "height" in one is half of it in the next."""
    borders = {id(value) for value in (*part.inputs, *part.outputs)}
    inner = [value for node in part for value in node.outputs]
    for value in (*inner, *part.initializers.values()):
        if id(value) not in borders:
            value.name = prefix + str(value.name)
        if not value.is_initializer():
            value.shape = None
    for node in part:
        node.name = prefix + str(node.name)


def _link(
    value: onnx_ir.Value, values: dict[str, onnx_ir.Value], graph: onnx_ir.Graph, inputs: tuple[str, ...]
) -> None:
    """Connect an input of a piece to an earlier piece's output, or to an input of the whole graph."""
    name = str(value.name)
    if name not in values:
        assert name in inputs, name
        values[name] = onnx_ir.Value(name=name, type=value.type)
        graph.inputs.append(values[name])
    onnx_ir.convenience.replace_all_uses_with(value, values[name])


def _move(part: onnx_ir.Graph, graph: onnx_ir.Graph) -> None:
    initializers, nodes = list(part.initializers.values()), list(part)
    part.outputs.clear()
    part.initializers.clear()
    part.remove(nodes)
    for value in initializers:
        graph.register_initializer(value)
    graph.extend(nodes)


def convert(piece: Piece, opset: int) -> onnx_ir.Model:
    """By torch's exporter; its own messages are hidden. Raises UsageError where it fails."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                piece.run.eval(),
                piece.examples,
                dynamo=True,
                dynamic_shapes=(piece.dims,),  # of one parameter, *inputs
                input_names=list(piece.takes),
                output_names=list(piece.gives),
                opset_version=opset,
                verbose=False,
            )
        except Exception as error:  # of many classes, torch's and onnxscript's: they change together
            raise UsageError(
                f"torch {torch.__version__} and onnxscript {version('onnxscript')} cannot export this network "
                f"({type(error).__name__}); pip install -U 'glip-cli[export]' brings newer ones"
            ) from error
    assert program is not None
    return program.model
