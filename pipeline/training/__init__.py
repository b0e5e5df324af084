"""CCAF: both stages of training (tasks, prompts, batches, views, sampler), methods, validation, the run record."""
