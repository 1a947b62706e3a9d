"""Tuning a model: data in, a folder that `--model` takes out.

data/                         files of boxes -> batches
assign.py, loss.py            what mmdetection trains: ATSS and the grounding loss
modes.py, lora.py, adapters.py    what is trained, and what of it is saved
recipe.py, rates.py, optimizers.py, schedule.py    how: rates, patience, the official defaults
loop.py (parts, average, processes, memory, checkpoint, history)   the training itself
start.py, named.py, keep.py, job.py   what the command names -> a run with its before and after
"""
