"""The operators' client of opsd: it asks over the control socket, and shows. It knows the protocol, nothing deeper."""
