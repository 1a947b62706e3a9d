"""Tuning a model: data in, a folder that `--model` takes out.

dataset, sampler, transforms, batches                   files of boxes -> batches
assign, loss                                            what mmdetection trains: ATSS and the grounding loss
config, optim, tuning, lora                             rates and schedules; which parameters train, and what is saved
trainer, gradients, distributed, checkpoint, metrics_log    the training itself
validation, report                                      what is measured, and shown
init_model, settings, job, run                          from the flags to a run with its before and after
"""
