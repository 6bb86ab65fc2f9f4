"""The rule about API keys, without I/O: what can travel in a header, and errors that never quote one."""

from typing import Final

from llama_runner.core.errors import UsageError

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
