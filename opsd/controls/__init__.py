"""Acts on real processes: the runtime's commands, signals, and runs started to outlive us.

Which act an intent needs, and whether it may be done, is decided in `opsd.core.intents`; what is said of it afterwards
is the control desk's.
"""

from opsd.controls.host import HostControls

__all__ = ["HostControls"]
