"""How a one-shot command reaches its loop: as its caller says, whatever a registry has to say about it."""

from opsd.model.ids import LoopId
from opsd.model.oneshot import ControlCommand, PassOptions
from opsd.model.run import LoopRef, ServiceRef
from opsd.model.transport import TransportMode


def ref_for(options: PassOptions | ControlCommand, loop_id: LoopId, repo_path: str) -> LoopRef:
    """`repo_path` is the checkout on this host; the token of a service travels beside the reference."""
    if options.transport is TransportMode.LOCAL or options.service is None:
        return LoopRef(loop_id, repo_path)
    service = ServiceRef(
        options.service.base_url,
        retry_attempts=options.retry_attempts,
        retry_backoff_s=float(options.retry_backoff_seconds),
    )
    return LoopRef(loop_id, repo_path, TransportMode.SPRITE_SERVICE, service=service)
