"""HTTP over the Unix socket: routes, peer identity, streaming. What the answers say is decided further in."""
