"""A model on a server of `glip serve`, over HTTP; nothing here imports torch.

connection   one request over HTTP, tried again where that may help
model        what the server says of its model, how it reads a prompt, and what it finds in images, a few at once
"""
