"""Which kind of image some bytes are. They are never decoded here: that is the server's risk, not ours."""

from typing import Final

from llama_runner.backends.request import Image

_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
)


def image_of(data: bytes) -> Image | None:
    """The image, with the type that its first bytes show; None when it is none that models take."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Image("image/webp", data)
    found = next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), None)
    return None if found is None else Image(found, data)
