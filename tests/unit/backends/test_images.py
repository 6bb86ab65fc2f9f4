"""Images are known by their first bytes, never by their name, and never decoded."""

import pytest

from llama_runner.backends.images import image_of


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0..JFIF", "image/jpeg"),
        (b"GIF87a...", "image/gif"),
        (b"GIF89a...", "image/gif"),
        (b"BM6...", "image/bmp"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
def test_an_image_is_what_its_first_bytes_say(data: bytes, media_type: str) -> None:
    image = image_of(data)
    assert image is not None
    assert (image.media_type, image.data) == (media_type, data)
    assert "data" not in repr(image)


@pytest.mark.parametrize("data", [b"", b"RIFF\x10\x00\x00\x00WAVEfmt ", b"<svg/>", b"%PDF-1.7", b"\x89PN"])
def test_anything_else_is_no_image(data: bytes) -> None:
    assert image_of(data) is None
