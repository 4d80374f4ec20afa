"""Reference pages made from the code they describe, so that they cannot say anything else than it does.

`python -m docs.generate` writes them, with `--check` it only says which of them are stale. A module here is a page; the
daemon never imports any of it.
"""
