"""What things are: frozen records, ids, closed sets, the registry of reasons. Nothing but data.

What to do with them is `opsd.core`; how they reach a disk or a socket is further out.
"""
