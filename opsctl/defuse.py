"""The rule of `opsd.model.defuse` under the name by which the client's parts know it."""

from opsd.model.defuse import defuse, defuse_lines

__all__ = ["defuse", "defuse_lines"]
