"""The network as an ONNX file, which onnxruntime runs without torch's network.

forms     modules whose forward says in ONNX what the network's own says fastest in torch; the same weights
pieces    the network cut into pieces, with the sizes that may change
graph     pieces -> torch's exporter -> one graph
card      what a file tells of itself: architecture, tokenizer, prompt, how pixels are made
session   file -> what a Detector asks of a network, answered by onnxruntime
check     file and torch side by side
export    all of it, to a file that appears only when it passed
"""
