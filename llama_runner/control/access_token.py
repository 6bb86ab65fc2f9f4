"""The token that programs show where the proxy asks for one (R1.6): shown once, kept as its SHA-256 only.

Whoever reads the file learns nothing that lets them in: 256 random bits are not found by trying.
"""

import logging
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from llama_runner.core.errors import ConfigError, StorageError
from llama_runner.core.files import read_bounded, write_atomic
from llama_runner.core.jsonio import dump_json
from llama_runner.core.logs import hide_from_logs
from llama_runner.core.paths import Home
from llama_runner.net.credentials import hash_token
from llama_runner.net.keys import parse_api_key

log = logging.getLogger(__name__)

TOKEN_BYTES: Final = 32
# Tells it from a provider's key, in a program's settings as well as for those who look for leaked keys.
PREFIX: Final = "lr-"
FILE_VERSION: Final = 1
MAX_BYTES: Final = 4096
# A file of one's own may hold a shorter token than ours; one that can be guessed is none.
MIN_CHARS: Final = 20


@dataclass(frozen=True, slots=True)
class KeptToken:
    """What is known of the token.

    Attributes:
        made_utc: ISO 8601.
    """

    version: int
    sha256: str
    made_utc: str


_ADAPTER: Final = TypeAdapter(KeptToken)


def token_path(home: Home) -> Path:
    """Where the hash of the token is kept."""
    return home.data_dir / "access_token.json"


def make_token(home: Home, now_utc: datetime) -> str:
    """A new token, in place of the one before. Nobody can read it again. Raises StorageError."""
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    hide_from_logs(token)
    kept = KeptToken(FILE_VERSION, hash_token(token).hex(), now_utc.isoformat(timespec="seconds"))
    write_atomic(token_path(home), dump_json(asdict(kept), indent=2))
    log.info("access token made")
    return token


def forget_token(home: Home) -> bool:
    """Let nobody in by the token any more; False when there was none. Raises StorageError."""
    try:
        token_path(home).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(
            f"{token_path(home)} cannot be removed: {error.strerror or error}.", "Remove it yourself."
        ) from error
    log.info("access token forgotten")
    return True


def kept_token(home: Home) -> KeptToken | None:
    """What is kept; None when there is none, or what is there is not understood: then nobody gets in."""
    try:
        data = read_bounded(token_path(home), max_bytes=MAX_BYTES)
        return None if data is None else _ADAPTER.validate_json(data)
    except (StorageError, ValidationError) as error:
        log.warning("access token ignored path=%s reason=%s", token_path(home), type(error).__name__)
        return None


def kept_hash(home: Home) -> bytes | None:
    """The SHA-256 of the kept token, None without a usable one."""
    kept = kept_token(home)
    try:
        digest = bytes.fromhex(kept.sha256) if kept else b""
    except ValueError:
        return None
    return digest if len(digest) == 32 else None


def read_token_file(path: Path) -> str:
    """The token that a file of the user's own holds, alone on its line. Raises ConfigError."""
    hint = f"Put at least {MIN_CHARS} letters and digits into it, nothing else."
    try:
        data = read_bounded(path, max_bytes=MAX_BYTES)
    except StorageError as error:
        raise ConfigError(error.message, error.hint) from error
    if data is None:
        raise ConfigError(f"The token file {path} is not there.", "Give an existing file.")
    token = parse_api_key(data.decode("utf-8", errors="replace")) or ""
    if len(token) < MIN_CHARS:
        raise ConfigError(f"The token in {path} is too short to keep anybody out.", hint)
    hide_from_logs(token)
    return token
