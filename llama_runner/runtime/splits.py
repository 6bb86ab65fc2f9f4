"""Models that come in several files: which parts belong together, whether all are there and whole (G15)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from llama_runner.core.errors import ModelFileError
from llama_runner.core.text import visible_controls
from llama_runner.runtime.gguf import GgufHeader
from llama_runner.runtime.header_cache import HeaderCache

# No model comes in more parts.
_MAX_PARTS: Final = 1_000
_NAME: Final = re.compile(r"^(?P<stem>.+)-(?P<part>\d{5})-of-(?P<count>\d{5})$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Split:
    """What the name of one part says.

    Attributes:
        stem: The name that all parts share.
        number: Of this part, from 1.
    """

    path: Path
    stem: str
    number: int
    count: int

    def part(self, number: int) -> Path:
        """The path of another part, beside this one and spelt like it."""
        return self.path.with_name(
            f"{self.path.stem[: len(self.stem)]}-{number:05d}{self.path.stem[-9:]}{self.path.suffix}"
        )


def split_of(path: Path) -> Split | None:
    """What a file's name says of parts; None for a file that is a model by itself."""
    found = _NAME.match(path.stem)
    return Split(path, found["stem"], int(found["part"]), int(found["count"])) if found else None


def first_part(path: Path) -> Path:
    """The file that an engine is given for `path`: the first part where it is one of several."""
    split = split_of(path)
    first = split.part(1) if split else path
    return first if first.is_file() else path


def whole_header(path: Path, headers: HeaderCache) -> GgufHeader:
    """The header of a model in one or several files, with size, tensors and weights of all of them.

    Raises:
        ModelFileError: A file is unusable, a part is missing, or names and content disagree.
    """
    header = headers.read(path)
    split = split_of(path)
    if split is None:
        if (header.split_count or 1) > 1:
            raise ModelFileError(
                f"{visible_controls(path.name)} is one of {header.split_count} parts of a model, "
                "but its name was changed.",
                "Give all parts their original names.",
            )
        return header
    _check_names(split, header)
    rest = [headers.read(split.part(number)) for number in range(2, split.count + 1)]
    return _together([header, *rest])


def _check_names(split: Split, header: GgufHeader) -> None:
    name = visible_controls(split.path.name)
    if not 0 < split.count <= _MAX_PARTS or (header.split_count or split.count) != split.count:
        raise ModelFileError(
            f"{name} claims {split.count} parts, which its content contradicts.",
            "Download all parts again.",
        )
    if split.number != 1:
        raise ModelFileError(
            f"{name} is part {split.number} of {split.count}, and part 1 is not beside it.",
            "Download all parts into one folder.",
        )
    parts = [split.part(number) for number in range(1, split.count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise ModelFileError(
            f"{name} lacks {len(missing)} of its {split.count} parts, first {visible_controls(missing[0])}.",
            "Download all parts into one folder.",
        )


def _together(headers: Sequence[GgufHeader]) -> GgufHeader:
    counts = [header.parameter_count or 0 for header in headers]
    return replace(
        headers[0],
        file_size_bytes=sum(header.file_size_bytes for header in headers),
        n_tensors=sum(header.n_tensors for header in headers),
        parameter_count=sum(counts) or None,
        expert_bytes=sum(header.expert_bytes for header in headers),
        split_count=len(headers),
    )
