"""Intents: whether one may be carried out, what that takes, what proves it, and what is written down of it.

Everything here is pure and speaks of one loop. Taking intents in, carrying them out and writing rows is the work of the
control desk (`opsd.supervisor.control`); the records are `opsd.model.intent`. Source: control-and-service 2 to 6.
"""
