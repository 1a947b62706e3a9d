"""The network: tensors in, `RawOutput` out. Never a file, a path, a tokenizer or the network."""
