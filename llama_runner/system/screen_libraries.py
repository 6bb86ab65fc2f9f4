"""The system's libraries that Qt loads when it opens a window under Linux."""

import ctypes
from typing import Final

# Shared library and the Debian package that brings it. Qt's own message blames another one.
SCREEN_LIBRARIES: Final = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libfontconfig.so.1": "libfontconfig1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
}


def missing_screen_libraries() -> dict[str, str]:
    """Those that cannot be loaded here, with their packages."""
    return {name: package for name, package in SCREEN_LIBRARIES.items() if not _loads(name)}


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
