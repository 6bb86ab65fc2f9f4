"""Showing a folder to the person, in the file manager of the desktop."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from llama_runner.core.errors import LlamaRunnerError

# An opener that hands over to a running file manager ends at once; one still there is the file manager.
_HANDS_OVER_S: Final = 3.0


def open_folder(folder: Path) -> None:
    """Open `folder` in the file manager; blocks for seconds. Raises LlamaRunnerError when there is none."""
    if sys.platform == "win32":
        os.startfile(folder)
        return
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    unable = LlamaRunnerError(
        "No file manager could be started here.", f"Look into the folder yourself: {folder}"
    )
    try:
        process = subprocess.Popen(
            [opener, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise unable from error
    try:
        failed = process.wait(_HANDS_OVER_S) != 0
    except subprocess.TimeoutExpired:
        process.returncode = 0  # It outlives us on purpose; nobody is to wait for it.
        return
    if failed:
        raise unable
