"""`opsctl verify [LOOP]`: recompute the verdicts from the files, and say where memory or disk disagree."""

import msgspec

from opsctl.client import Client, target
from opsctl.exits import Exit
from opsctl.output import Output
from opsctl.render.history import render_verification
from opsd.protocol import VerificationReport

# Every log of the fleet is read from its first byte.
LIMIT_S = 600.0


def run(client: Client, out: Output, loop_id: str | None) -> Exit:
    body = client.get(target("/v1/verify", loop=loop_id), limit_s=LIMIT_S)
    out.show(body, render_verification, rows="loops", name="loopId")
    report = msgspec.json.decode(body, type=VerificationReport)
    return Exit.OK if all(each.ok for each in report.loops) else Exit.NO
