"""`hydra/launcher=kerasnn`: the runs of a sweep, each in a process of its own with a device of its own."""
