"""Conversations of other programs into ours: read piece by piece, kept in batches, each only once.

A file of any size takes the memory of one conversation. Cancelled, what was kept until then stays.
"""

import asyncio
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from llama_runner.chat.history import History
from llama_runner.chat.history_opening import MIN_FREE_BYTES
from llama_runner.chat.history_values import KeptConversation
from llama_runner.chat.importing_formats import FORMATS, conversation_of
from llama_runner.chat.importing_parts import Remarks, Unusable
from llama_runner.chat.importing_scanner import ObjectScanner, TooLong
from llama_runner.core.errors import StorageError, UsageError
from llama_runner.core.format import count, size
from llama_runner.core.jsonio import JsonRejected, parse_json

# C12: months of talk; parsed it takes ten times that.
MAX_CONVERSATION_BYTES: Final = 16 * 1024 * 1024
# Small enough that looking through it holds up nobody else.
PIECE_BYTES: Final = 256 * 1024
# Each batch is on the disk before the next is read: one wait for the disk for many small conversations.
BATCH_CONVERSATIONS: Final = 50
BATCH_BYTES: Final = 4 * 1024 * 1024
# A million empty parts in a file of a few megabytes would take gigabytes when parsed.
MAX_PARTS: Final = 1_000_000
_UTF8_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """How far an import is, or what came of it.

    Attributes:
        read_bytes: Of `total_bytes`.
        new: Conversations that were added.
        replaced: Those that had changed where they came from since the last import, and not here.
        known: Those that are here already.
        messages: How many messages the first two have.
        left_out: What was not taken, by reason.
    """

    read_bytes: int = 0
    total_bytes: int = 0
    new: int = 0
    replaced: int = 0
    known: int = 0
    messages: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


async def import_file(
    history: History, path: Path, progress: Callable[[ImportReport], None] = lambda _: None
) -> ImportReport:
    """Keep the conversations of an export.

    Args:
        progress: Called after each batch.

    Raises:
        UsageError: The file holds no conversations that this program knows.
        StorageError: It cannot be read, or nothing more can be kept; what was kept stays.
    """
    report = ImportReport()
    with closing(await asyncio.to_thread(Export, path)) as export:
        while batch := await asyncio.to_thread(export.batch):
            added = await history.put_new(batch)
            report = dataclasses.replace(
                report,
                new=report.new + added.new,
                replaced=report.replaced + added.replaced,
                known=report.known + added.known,
                messages=report.messages + added.messages,
                read_bytes=export.read_bytes,
                total_bytes=export.total_bytes,
                left_out=dict(export.remarks.counts),
            )
            progress(report)
        if not (report.new or report.replaced or report.known):
            raise _nothing(path, export.remarks.counts)
        return dataclasses.replace(report, read_bytes=export.read_bytes, left_out=dict(export.remarks.counts))


def in_words(report: ImportReport) -> tuple[str, ...]:
    """What an import brought, and what not: a line each."""
    told = [f"Conversations imported: {count(report.new)}, messages in all: {count(report.messages)}."]
    if report.replaced:
        told.append(f"Grown there since the last import, and renewed here: {count(report.replaced)}.")
    if report.known:
        told.append(f"Here already: {count(report.known)}.")
    told += [f"Left out: {reason} ({count(number)})." for reason, number in report.left_out.items()]
    return tuple(told)


def _nothing(path: Path, left_out: Mapping[str, int]) -> UsageError:
    why = "; ".join(f"{number} {reason}" for reason, number in left_out.items())
    names = ", ".join(known.name for known in FORMATS)
    return UsageError(
        f"{path.name} holds no conversations to import{f': {why}' if why else ''}.",
        f"Give an export of {names}, as JSON.",
    )


class Export:
    """An export while it is read. Blocking; not for two threads at once.

    Raises:
        UsageError: It does not look like JSON.
        StorageError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.read_bytes = 0
        self.remarks = Remarks()
        self._path = path
        try:
            if not path.is_file():
                raise StorageError(f"{path} is not a file.", "Give the JSON file of an export.")
            self.total_bytes = path.stat().st_size
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error
        self._scanner = ObjectScanner(MAX_CONVERSATION_BYTES)
        self._found = self._conversations()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def batch(self) -> list[KeptConversation]:
        """The next conversations; none at the end. Raises UsageError, StorageError."""
        found: list[KeptConversation] = []
        begun = self.read_bytes
        for conversation in self._found:
            found.append(conversation)
            if len(found) >= BATCH_CONVERSATIONS or self.read_bytes - begun >= BATCH_BYTES:
                break
        return found

    def _conversations(self) -> Iterator[KeptConversation]:
        for piece in self._pieces():
            for found in self._scanner.feed(piece):
                if (conversation := self._read(found)) is not None:
                    yield conversation
        if self._scanner.unfinished:
            self.remarks.add("conversation cut off at the end of the file")

    def _pieces(self) -> Iterator[bytes]:
        while piece := self._piece():
            if not self.read_bytes:
                piece = self._begin(piece)
            self.read_bytes += len(piece)
            yield piece

    def _piece(self) -> bytes:
        try:
            return self._file.read(PIECE_BYTES)
        except OSError as error:
            raise self._unreadable(error) from error

    def _begin(self, piece: bytes) -> bytes:
        text = piece.removeprefix(_UTF8_BOM)
        if text.startswith(b"PK\x03\x04"):
            raise UsageError(
                f"{self._path.name} is packed.",
                "Unpack it and give the JSON file in it (conversations.json).",
            )
        if not text.lstrip().startswith((b"[", b"{")):
            raise _nothing(self._path, {})
        return text

    def _read(self, found: bytes | TooLong) -> KeptConversation | None:
        if isinstance(found, TooLong):
            self.remarks.add(f"conversations of more than {size(MAX_CONVERSATION_BYTES)}")
            return None
        if found.count(b",") + found.count(b"{") + found.count(b"[") > MAX_PARTS:
            self.remarks.add(f"conversations of more than {MAX_PARTS:,} parts")
            return None
        try:
            return conversation_of(parse_json(found, max_bytes=MAX_CONVERSATION_BYTES), self.remarks)
        except JsonRejected:
            self.remarks.add("objects that are not JSON")
        except Unusable as error:
            self.remarks.add(f"objects {error}")
        return None

    def _unreadable(self, error: OSError) -> StorageError:
        return StorageError(
            f"{self._path} cannot be read: {error.strerror or error}.", "Check the path and its permissions."
        )


def room_for(folder: Path, export: Path) -> None:
    """Refuse an import that would fill the disk. Blocking; raises StorageError."""
    try:
        free, wanted = shutil.disk_usage(folder).free, export.stat().st_size
    except OSError as error:
        raise StorageError(
            f"{export} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    # With its index it takes about as much again, and once more while it is copied.
    if free < 2 * wanted + MIN_FREE_BYTES:
        raise StorageError(
            f"There is too little room for {size(wanted)} of conversations: {size(free)} are free.",
            "Make room on the disk.",
        )
