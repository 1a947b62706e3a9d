"""A model on a server of `glip serve`, asked over HTTP; nothing here imports torch.

connection   one question over HTTP, tried again where that may help
model        what the server says of its model, and how it reads a prompt
runner       many images, a few of them on their way at once, answered in order
"""
