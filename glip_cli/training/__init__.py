"""Tuning a model: data in, a folder that `--model` takes out.

data/                             files of boxes -> batches
assign, loss                      what mmdetection trains: ATSS and the grounding loss
tuning, lora                      which parameters train, and what of them is saved
config, optim                     learning rates, schedules, the official defaults
trainer (parts, distributed, memory, checkpoint, metrics_log)   the training itself
init_model, settings, data_args, validation, report, run        from the flags to a run with its before and after
"""
