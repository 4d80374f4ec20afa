"""`ops-manager`: the runbook's one-shot commands, over the daemon's core, store and transports, and without a daemon.

What each command takes and prints is the contract's. Nothing here imports asyncio on the way to a local pass or a
status: these are started many times, and their start is what callers feel.
"""
