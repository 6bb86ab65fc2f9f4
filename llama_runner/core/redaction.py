"""Secrets out of text (safety R9): by the shape of a credential, and by knowing the secret itself.

Hiding too much is cheap, showing a key is not. Redacting twice changes nothing.
"""

import logging
import re
from typing import Final
from urllib.parse import quote

HIDDEN: Final = "[redacted]"
# A shorter "secret" would blank out ordinary words all over the log.
MIN_SECRET_CHARS: Final = 4

# Every repetition below has a bound or a delimiter it cannot cross, so that no text makes a pattern slow.
_NAME: Final = (
    r"(?<![a-z0-9])(?:[a-z0-9]{1,20}[-_]){0,4}"
    r"(?:authorization|(?:api|access|private|secret)[-_]?key|secret|password|passwd|token)"
)
# Between a name and its value: `: `, `=`, `": "`, and `', b'` as in the repr of a header pair.
_SEPARATOR: Final = r"""(?:\\?["'])?\s{0,4}[:=]\s{0,4}|["']\s{0,4},\s{0,4}(?=b?["'])"""
_SCHEME: Final = r"(?:(?:bearer|basic|digest|token)\s{1,4})?"
# A quoted value to its quote, any other to the next delimiter; what is hidden already stays as it is.
_VALUE: Final = (
    rf"""b?\\?(["']){_SCHEME}(?!\[redacted\])[^"'\r\n]+|{_SCHEME}(?!\[redacted\])[^\s"'\\&,;)\]}}]+"""
)
_PATTERNS: Final = (
    # User information in a URL.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^\s/?#]*@"), rf"\1{HIDDEN}@"),
    # A cookie header, whole.
    (re.compile(r"(?i)\b((?:set-)?cookie\s{0,4}[:=]\s{0,4})[^\r\n]+"), rf"\1{HIDDEN}"),
    # By name: a header, a JSON field, a query parameter, an environment variable.
    (re.compile(rf"(?i)({_NAME}(?:{_SEPARATOR}))(?:{_VALUE})"), rf"\1\2{HIDDEN}"),
    # By name: a command line option followed by its value.
    (
        re.compile(r"(?i)(--[a-z-]{0,20}(?:key|token|secret|password)\s{1,4})(?!\[redacted\])\S+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s{1,4}[a-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    # Keys that vendors mark by a prefix.
    (
        re.compile(r"\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|ghs|github_pat|glpat|nvapi|r8)[-_][A-Za-z0-9_-]{6,}"),
        HIDDEN,
    ),
    (re.compile(r"\bAIza[A-Za-z0-9_-]{20,}"), HIDDEN),
)


def redact(text: str) -> str:
    """`text` with everything that looks like a credential hidden."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class Redactor:
    """Hides credentials by their shape, and known secrets wherever they stand. Safe from any thread."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._known: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Never show `secret` again, as it is or as it stands in a URL. Very short ones are ignored."""
        if len(secret) < MIN_SECRET_CHARS:
            return
        self._secrets |= {secret, quote(secret, safe="")}
        # Longest first: a secret that begins with another one is hidden whole. One assignment, so that a
        # reader in another thread sees the old pattern or the new one.
        ordered = sorted(self._secrets, key=lambda known: (-len(known), known))
        self._known = re.compile("|".join(re.escape(known) for known in ordered))

    def redact(self, text: str) -> str:
        """`text` without known secrets and without anything that looks like one."""
        known = self._known
        return redact(text if known is None else known.sub(HIDDEN, text))


class RedactingFilter(logging.Filter):
    """Redacts a record in place: message, arguments and traceback. Put it on handlers, not on loggers."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record pass."""
        record.msg = self._redactor.redact(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redactor.redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redactor.redact(record.stack_info)
        return True
