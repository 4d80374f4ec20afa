"""The operations manager for Superloop loop runs. Importing this package imports nothing else."""

VERSION = "0.1.0"
