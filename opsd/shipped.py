"""Where the files lie that came with opsd: beside the package in a checkout, within it where it is installed."""

import os

THRESHOLD_PROFILES = "ops-manager-threshold-profiles.v1.json"


def config(name: str) -> str:
    """The path of the shipped configuration file `name`."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = f"{package}/config/{name}"
    return installed if os.path.isfile(installed) else f"{os.path.dirname(package)}/config/{name}"
