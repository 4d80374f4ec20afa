#!/usr/bin/env python3
"""Calls `ops-manager sprite-service` of this checkout's installation, whichever Python runs this file."""

import os
import sys

if __name__ == "__main__":
    script = os.path.join(os.path.dirname(os.path.realpath(__file__)), "ops-manager-sprite-service.sh")
    os.execv(script, [script, *sys.argv[1:]])
