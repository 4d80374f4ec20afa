"""One module per command: ask, show, and say with which code to exit. How things look is `opsctl.render`."""
