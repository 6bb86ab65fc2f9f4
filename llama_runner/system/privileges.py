"""Which rights this process has."""

import ctypes
import os
import sys


def runs_as_root() -> bool:
    """Whether this process may do anything: as root, or elevated on Windows."""
    if sys.platform == "win32":
        return bool(ctypes.windll.shell32.IsUserAnAdmin())
    return os.geteuid() == 0
