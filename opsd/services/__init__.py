"""The way to the services inside sprites: HTTP requests, whom to believe, and what of an answer is an observation.

When a service is asked is `opsd.supervisor.polling`; what an observation means is judged in `opsd.core`.
"""
