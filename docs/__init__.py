"""The project's pages. Those under `reference/` are written by `docs.generate`; all others are written by hand."""
