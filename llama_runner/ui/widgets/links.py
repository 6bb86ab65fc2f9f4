"""Which links of untrusted text may be followed, and as what they are shown. No Qt, no I/O."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

# Longer ones are data in disguise (U10).
MAX_URL_CHARS: Final = 2048

_PLAIN_URL: Final = re.compile(r"[!-~\u00a1-\uffef]+")
_HOST: Final = re.compile(
    r"(?i)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?|\[[0-9a-f:.]+\]"
)
_MAIL: Final = re.compile(r"(?i)mailto:[a-z0-9._+-]{1,64}@[a-z0-9.-]{1,253}")


@dataclass(frozen=True, slots=True)
class Link:
    """A link that may be opened.

    Attributes:
        url: ASCII only: what the browser gets and what the person is shown.
        host: Its host, in ASCII too, so that look-alike letters are told apart.
    """

    url: str
    host: str


def check_link(text: str) -> Link | None:
    """The link, or None when it is not plainly a web page or a mail address.

    Refused: other schemes, user information before the host, white space, backslashes, long ones (U9, U10).
    """
    if len(text) > MAX_URL_CHARS or not _PLAIN_URL.fullmatch(text) or "\\" in text:
        return None
    if _MAIL.fullmatch(text):
        return Link(text, text.partition("@")[2])
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return None
    host = ascii_host(parts.hostname)
    if host is None:
        return None
    rest = _ascii_rest(text[text.index(parts.netloc) + len(parts.netloc) :])
    suffix = "" if port is None else f":{port}"
    return Link(f"{parts.scheme.lower()}://{host}{suffix}{rest}", host)


def ascii_host(host: str) -> str | None:
    """`host` in ASCII (punycode), None when it is no host name."""
    if ":" in host:
        host = f"[{host}]"
    elif not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return host if _HOST.fullmatch(host) else None


def _ascii_rest(rest: str) -> str:
    return "".join(c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode()) for c in rest)
