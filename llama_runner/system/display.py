"""Whether a window can be shown at all."""

from collections.abc import Mapping


def has_display(env: Mapping[str, str], platform: str) -> bool:
    """Whether a window has somewhere to go: on Windows and macOS always, else by the environment."""
    if platform in ("win32", "darwin"):
        return True
    return any(env.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
