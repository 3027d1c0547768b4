"""Waiting for what a process will do soon."""

import sys
import time


def until(what, ready, patience, step):
    """Asks again and again, for a bounded time, until `ready` gives something."""
    deadline = time.monotonic() + patience
    while not (found := ready()):
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {patience} s")
        time.sleep(step)
    return found
