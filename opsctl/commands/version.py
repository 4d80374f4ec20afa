"""`opsctl version`: the client's and the daemon's, and whether they fit."""

import json

from opsctl.client import Client
from opsctl.exits import Exit
from opsctl.output import JSON, JSONL, NAME, YAML, Output
from opsd import VERSION


def run(client: Client, out: Output) -> Exit:
    body = client.get("/v1/version")
    daemon = json.loads(body)
    if out.form in (JSON, JSONL, YAML):
        both = json.dumps({"client": VERSION, "daemon": daemon}).encode()
        out.show(both, lambda *_: "", rows=None, name=None)
    elif out.form == NAME:
        out.text(daemon["version"])
    else:
        out.text(f"opsctl {VERSION}")
        out.text(f"opsd   {daemon['version']}  pid {daemon['pid']}  since {daemon['startedAt']}  {client.socket_path}")
    if daemon["version"] != VERSION:
        out.note(f"opsctl is {VERSION}, opsd is {daemon['version']}: restart opsd after an upgrade")
    return Exit.OK
