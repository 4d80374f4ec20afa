"""The HTTP service inside a sprite: the contract's endpoints and ours over TCP, on a daemon for the one repository.

What the daemon does is `opsd.daemon`'s; here is who may ask, for what, and in which form.
Source: control-and-service 9.
"""
