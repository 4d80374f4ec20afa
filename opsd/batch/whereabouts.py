"""Where a command's loop is: in the repository it names, unless the registry there says that it is elsewhere."""

from opsd.batch.command import CommandError, Outside
from opsd.model.ids import LoopId
from opsd.model.oneshot import PassOptions
from opsd.model.run import LoopRef
from opsd.store.layout import Layout


def ref_of(layout: Layout, loop_id: LoopId, options: PassOptions, outside: Outside) -> LoopRef:
    """The way to the loop is the command's own; a registry may name the checkout."""
    from opsd.app.whereabouts import ref_for  # commands that make no pass do without all of that

    return ref_for(options, loop_id, checkout_of(layout, loop_id, outside))


def checkout_of(layout: Layout, loop_id: LoopId, outside: Outside) -> str:
    """
    Raises:
        CommandError: the registry makes no sense, so nobody knows.
    """
    if outside.files.stat(layout.registry) is None:
        return layout.home
    from opsd.transports.registry import load_registry, loop_refs

    reading = load_registry(outside.files, layout.registry)
    if reading is None:
        return layout.home
    if reading.registry is None:
        raise CommandError(f"{layout.registry}: {'; '.join(reading.errors)}")
    for ref in loop_refs(reading.registry, layout.home):
        if ref.loop_id == loop_id and ref.has_checkout:
            return ref.repo_path
    return layout.home
