"""Use cases, plain and synchronous: one pass over a batch of loops, one explanation, one verification.

They join ports, core and store, know no task and no socket, and so serve the daemon and the command line alike.
"""
