"""What runs beside a loop, on the machine on which the loop runs.

It is there for as long as the loop, once for each, so it is the standard library alone and shares no record with the
daemon: what both agree on is the contract's text.
"""
