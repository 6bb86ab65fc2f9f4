"""Which rights this process has."""

import os
import sys


def runs_as_root() -> bool:
    """Whether this process may do anything; False on Windows, where elevation has other rules."""
    return sys.platform != "win32" and os.geteuid() == 0
