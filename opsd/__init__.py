"""The operations manager for Superloop loop runs. Importing this package imports nothing else."""
