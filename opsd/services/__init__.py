"""The way to the services inside sprites: HTTP requests, whom to believe, and what of an answer is an observation.

When a service is asked is `opsd.supervisor.polling`; what an observation means is judged in `opsd.core`.
"""

from opsd.services.http import HttpServices
from opsd.services.message import Limits
from opsd.services.tokens import Tokens
from opsd.services.trust import Trust

__all__ = ["HttpServices", "Limits", "Tokens", "Trust"]
