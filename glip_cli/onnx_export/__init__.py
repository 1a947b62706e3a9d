"""A model as an ONNX file, which onnxruntime runs.

pieces    the network in pieces, with the sizes that may change
graph     pieces -> torch's exporter -> one graph
metadata  of the file: architecture, tokenizer, prompt, preprocessing
session   file -> a model for `Detector`, run by onnxruntime
check     compare file and torch
export    all of it; the file is written only if the check passes
"""
