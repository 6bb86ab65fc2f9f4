"""Double-click and PyInstaller entry. Everything is in `llama_runner.__main__`."""

import sys

from llama_runner.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
