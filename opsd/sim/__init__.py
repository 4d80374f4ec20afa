"""A simulated Superloop runtime and fleets of it, for demo, tests and benchmarks. The daemon never needs it.

It stands in for another program, so it shares no record and no reader with the daemon: what both agree on is the
contract's text. Only the standard library is used, because one process per live run must start cheaply.
"""
