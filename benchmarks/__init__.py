"""How fast the product is, measured from outside: `python -m benchmarks`, which is what `make bench` runs.

The daemon under measurement is a real subprocess. Whoever stamps, writes or reads is another process than the daemon,
and what never arrives counts as infinitely late. docs/performance.md is the last full run, explained.
"""
