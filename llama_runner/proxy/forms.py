"""Forms with files (multipart/form-data, RFC 7578): read within bounds, written anew with what is known."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from llama_runner.core.errors import InvalidRequestError

# The forms here have a dozen fields.
MAX_FIELDS: Final = 32
_MAX_HEAD_BYTES: Final = 4096
_BOUNDARY: Final = re.compile(
    r"""multipart/form-data\s*;.*?\bboundary="?([0-9A-Za-z'()+_,./:=? -]{1,70})"?""", re.IGNORECASE
)
_NAME: Final = re.compile(rb';\s*name="([^"\r\n]{0,200})"', re.IGNORECASE)
_SUFFIX: Final = re.compile(rb';\s*filename="[^"\r\n]*\.([0-9A-Za-z]{1,5})"', re.IGNORECASE)
_FILE: Final = re.compile(rb";\s*filename\*?=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form; of its name only what says its kind is kept.

    Attributes:
        suffix: Of its name, without the dot; may be empty.
    """

    suffix: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """What is sent on, beside the model's name.

    Attributes:
        texts: By name; several where a name may come again.
    """

    file: File
    texts: Mapping[str, tuple[str, ...]] = field(repr=False)
    # No file has it in it by chance.
    boundary: str = field(default_factory=lambda: secrets.token_hex(24))

    @property
    def content_type(self) -> str:
        """The request's."""
        return f"multipart/form-data; boundary={self.boundary}"

    def encoded(self, model_id: str) -> bytes:
        """The request's body."""
        pieces = [self._text("model", model_id)]
        pieces += [self._text(name, value) for name, values in self.texts.items() for value in values]
        name = f"audio.{self.file.suffix}" if self.file.suffix else "audio"
        head = f'--{self.boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        kind = "Content-Type: application/octet-stream\r\n\r\n"
        end = f"\r\n--{self.boundary}--\r\n"
        return b"".join([*pieces, head.encode(), kind.encode(), self.file.data, end.encode()])

    def _text(self, name: str, value: str) -> bytes:
        head = f'--{self.boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        return head.encode() + value.encode("utf-8", "replace") + b"\r\n"


def read_form(content_type: str, body: bytes) -> dict[str, list[str | File]]:
    """The fields of a form by name, in their order. Raises InvalidRequestError for what is none."""
    found = _BOUNDARY.match(content_type)
    if found is None:
        raise _bad("Send it as multipart/form-data.")
    mark = b"--" + found[1].encode()
    fields: dict[str, list[str | File]] = {}
    at = body.find(mark)
    for _ in range(MAX_FIELDS + 1):
        at += len(mark)
        if body[at : at + 2] == b"--":
            return fields
        end = body.find(b"\r\n" + mark, at)
        if body[at : at + 2] != b"\r\n" or end < 0:
            raise _bad("It ends before its time.")
        name, value = _field(body, at + 2, end)
        fields.setdefault(name, []).append(value)
        at = end + 2
    raise _bad(f"It has more than {MAX_FIELDS} fields.")


def _field(body: bytes, start: int, end: int) -> tuple[str, str | File]:
    head_end = body.find(b"\r\n\r\n", start, min(end, start + _MAX_HEAD_BYTES))
    head = body[start : max(head_end, start)]
    name = _NAME.search(head)
    if head_end < 0 or name is None:
        raise _bad("A field has no name.")
    value = body[head_end + 4 : end]
    if _FILE.search(head) is None:
        return name[1].decode("utf-8", "replace"), value.decode("utf-8", "replace")
    suffix = _SUFFIX.search(head)
    return name[1].decode("utf-8", "replace"), File(suffix[1].decode() if suffix else "", value)


def _bad(why: str) -> InvalidRequestError:
    return InvalidRequestError("The request is not a form that can be read.", why)
