"""Tuning a model: data in, a folder that `--model` takes out.

dataset, sampler, transforms, batches   files of boxes -> batches
assign, loss                      what mmdetection trains: ATSS and the grounding loss
tuning, lora                      which parameters train, and what of them is saved
config, optim                     learning rates, schedules, the official defaults
trainer (parts, distributed, checkpoint, metrics_log)           the training itself
validation, validation_loss, report                             what is measured after each epoch, and shown
init_model, settings, data_args, run                            from the flags to a run with its before and after
"""
