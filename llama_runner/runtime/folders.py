"""Looking for GGUF files below a folder: bounded, in order of names, never led out by a link (R8, G16)."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from llama_runner.core.text import visible_controls

# Publisher, repository, revision and a folder per quantization are four levels.
_MAX_DEPTH: Final = 6
# Thousands of models with all that lies beside them; a budget keeps a mistaken "/" from hanging the list.
_MAX_ENTRIES: Final = 50_000
_SUFFIX: Final = ".gguf"


class FolderScan:
    """One look at one tree.

    Args:
        root: What links inside may not lead out of.
        problems: Gets a sentence for whatever was left out.
    """

    def __init__(self, root: Path, problems: list[str]) -> None:
        self._root = root
        self._inside = resolved(root) or root
        self._problems = problems
        self._left = _MAX_ENTRIES

    def models(self, folder: Path | None = None) -> Iterator[Path]:
        """GGUF files below `folder`, the root itself without one."""
        for path in self.files(folder):
            if path.suffix.lower() == _SUFFIX:
                yield path

    def files(self, folder: Path | None = None) -> Iterator[Path]:
        """All files below `folder`, in order of their names."""
        yield from self._below(folder or self._inside, 0)

    def folders(self, folder: Path) -> list[Path]:
        """The folders directly in `folder`, in order of their names."""
        return [Path(entry.path) for entry in self._entries(folder) if entry.is_dir(follow_symlinks=False)]

    def holds(self, path: Path) -> bool:
        """Whether what `path` leads to is there and below the root."""
        target = resolved(path)
        return target is not None and target.is_relative_to(self._inside)

    def _below(self, folder: Path, depth: int) -> Iterator[Path]:
        for entry in self._entries(folder):
            path = Path(entry.path)
            # A link may point anywhere; what it points to must be below the root too (safety R8).
            if entry.is_symlink() and not self.holds(path):
                continue
            if entry.is_dir():
                # A linked folder is reached by its own name; following links to folders could go round.
                if depth < _MAX_DEPTH and not entry.is_symlink():
                    yield from self._below(path, depth + 1)
            elif entry.is_file():
                yield path

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        taken: list[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if self._left <= 0:
                        break
                    self._count()
                    taken.append(entry)
        except OSError as error:
            self._problems.append(
                f"{visible_controls(str(folder), 1024)} cannot be read: {error.strerror or error}."
            )
        return sorted(taken, key=lambda entry: entry.name.lower())

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._problems.append(
                f"{self._root} has more than {_MAX_ENTRIES} entries; the rest was not looked at."
            )


def resolved(path: Path) -> Path | None:
    """Where `path` really is; None for what is not there and for links that go round."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
