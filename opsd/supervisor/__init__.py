"""The running tasks of the daemon: who is looked at when, in which batches, and who hears of what changed."""
