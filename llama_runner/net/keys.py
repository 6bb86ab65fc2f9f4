"""The rules about API keys, without I/O: what can travel in a header and where to; errors never quote one."""

from typing import Final
from urllib.parse import urlsplit

from llama_runner.core.errors import UsageError
from llama_runner.net.addresses import is_loopback, port_of

# Longer than any provider's; a pasted file is no key.
MAX_KEY_CHARS: Final = 4096


def parse_api_key(text: str) -> str | None:
    """The key a person means: without the white space that came with copying; None when nothing is left.

    Raises:
        UsageError: It holds what no header can carry. The text is not quoted.
    """
    key = text.strip()
    if len(key) > MAX_KEY_CHARS or any(not 0x21 <= ord(character) <= 0x7E for character in key):
        raise UsageError(
            "The API key has characters in it that no key has.", "Copy it again, without anything around it."
        )
    return key or None


def origin_of(url: str) -> str:
    """What a key is bound to: scheme, host and port of an address, the port always written."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port_of(url)}"


def is_safe_for_keys(base_url: str) -> bool:
    """Whether a key can travel there unread by others (R11): encrypted, or inside this machine."""
    return base_url.startswith("https://") or is_loopback(base_url)
