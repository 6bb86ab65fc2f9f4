"""Who is at the other end of an encrypted connection: what went wrong, said so that a person can act on it.

A certificate is trusted by the usual rules, or because a person said yes to exactly this one (its SHA-256).
Nothing here ever goes on without encryption after a failure.
"""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import aiohttp
import certifi

from llama_runner.core.errors import TlsError, UnreachableError, UsageError
from llama_runner.net.addresses import host_of, port_of

# From an origin (`net.keys.origin_of`) to the SHA-256 of the one certificate accepted there; None: the rules.
PinOf = Callable[[str], str | None]

# OpenSSL's own numbers (x509_vfy.h); Python names none of them.
_VERIFY_PROBLEMS: Final = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed: nobody but the server itself vouches for it",
    19: "comes from an authority that this machine does not know",
    20: "comes from an authority that this machine does not know",
    21: "comes from an authority that this machine does not know",
    62: "belongs to another host name",
    64: "belongs to another address",
}
# What OpenSSL says of bytes that are no TLS; which of them depends on the first bytes and its version.
_NO_TLS: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "UNKNOWN_PROTOCOL",
        "UNSUPPORTED_PROTOCOL",
        "HTTP_REQUEST",
        "UNEXPECTED_MESSAGE",
        "BAD_RECORD_TYPE",
    }
)
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
PEEK_TIMEOUT_S: Final = 5.0
# How every sentence begins that a look at the certificate answers, and how the others end.
_ABOUT: Final = "The certificate of "
_WANTS: Final = " wants encryption: write its address with https://."
_LACKS: Final = " answers without encryption: if that is meant to be so, write its address with http://."


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The certificate a server shows.

    Attributes:
        sha256: Of the whole certificate, 64 lower-case hex digits: what a person compares and what is pinned.
        problem: Why the usual rules do not accept it, one sentence; empty when they do.
    """

    sha256: str
    problem: str


@cache
def tls_context() -> ssl.SSLContext:
    """The trust store, read once: it takes longer than a whole request."""
    return ssl.create_default_context(cafile=certifi.where())


def no_pin(origin: str) -> str | None:
    """The rules decide everywhere."""
    return None


def parse_fingerprint(text: str) -> str:
    """A SHA-256 as people paste it, with colons, spaces or capitals. Raises UsageError."""
    plain = text.replace(":", "").replace(" ", "").strip().lower().removeprefix("sha256").lstrip("=")
    if not _FINGERPRINT.fullmatch(plain):
        raise UsageError(
            "That is not the SHA-256 of a certificate.", "It has 64 digits from 0-9 and a-f, in pairs."
        )
    return plain


def ssl_rule(pin: str | None) -> ssl.SSLContext | aiohttp.Fingerprint:
    """What decides whether a certificate is accepted, for aiohttp."""
    if pin is None:
        return tls_context()
    # A list that was edited by hand may hold anything: what is no fingerprint accepts no certificate.
    return aiohttp.Fingerprint(bytes.fromhex(pin) if _FINGERPRINT.fullmatch(pin) else bytes(32))


def is_about_certificate(message: str) -> bool:
    """Whether a message of `tls_error` says that a certificate is not accepted."""
    return message.startswith(_ABOUT)


def is_about_tls(message: str) -> bool:
    """Whether a message says that encryption is what failed, though something answers."""
    return is_about_certificate(message) or message.endswith((_WANTS, _LACKS))


def tls_wanted(url: str) -> TlsError:
    """The error when plain HTTP is spoken to a server that wants https."""
    return TlsError(f"{_address(url)}{_WANTS}")


def tls_error(url: str, cause: BaseException) -> TlsError | None:
    """The error when encryption is what failed (D14), None when it was something else."""
    url = _address(url)
    if isinstance(cause, aiohttp.ServerFingerprintMismatch):
        return TlsError(
            f"{_ABOUT}{url} is another one than the one that was trusted.",
            "Find out why it changed before you trust the new one.",
            certificate=True,
        )
    inner = _inner(cause)
    if url.startswith("https://") and isinstance(inner, (ConnectionResetError, ConnectionAbortedError)):
        return _failed(url, "closed by the server")
    if not isinstance(inner, ssl.SSLError):
        return None
    if isinstance(inner, ssl.SSLCertVerificationError):
        return TlsError(
            f"{_ABOUT}{url} {_verify_problem(inner)}.",
            "Look at the certificate, and trust this one if it is the server's.",
            certificate=True,
        )
    # Unset unless OpenSSL itself raised it.
    reason: str = getattr(inner, "reason", None) or "no reason given"
    if reason in _NO_TLS:
        return TlsError(f"{url}{_LACKS}")
    return _failed(url, reason)


def _address(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


def _failed(url: str, reason: str) -> TlsError:
    return TlsError(
        f"The encrypted connection to {url} failed ({reason}).",
        "Check the address and the server's encryption.",
    )


async def peer_certificate(base_url: str, *, timeout_s: float = PEEK_TIMEOUT_S) -> PeerCertificate:
    """Look at the certificate of a server; nothing but the handshake is sent.

    Raises:
        UsageError: The address is not https.
        UnreachableError: No encrypted connection can be made.
    """
    if not base_url.startswith("https://"):
        raise UsageError(f"{base_url} is not encrypted.", "Only an https address has a certificate.")
    try:
        async with asyncio.timeout(timeout_s):
            sha256 = await _handshake(base_url, _anything())
            problem = await _problem_of(base_url)
    except TimeoutError as error:
        raise UnreachableError(
            f"{base_url} does not answer.", "Check that the server runs and that no firewall is in between."
        ) from error
    except OSError as error:
        raise tls_error(base_url, error) or UnreachableError(
            f"Nothing listens at {base_url}.", "Start the server, or correct the address."
        ) from error
    return PeerCertificate(sha256, problem)


async def wants_tls(base_url: str, *, timeout_s: float = PEEK_TIMEOUT_S) -> bool:
    """Whether an http address should have been an https one: a handshake succeeds there. Never raises."""
    if base_url.startswith("https://"):
        return False
    try:
        async with asyncio.timeout(timeout_s):
            await _handshake(base_url, _anything())
    except (OSError, TimeoutError):
        return False
    return True


async def _problem_of(base_url: str) -> str:
    try:
        await _handshake(base_url, tls_context())
    except ssl.SSLCertVerificationError as error:
        return f"It {_verify_problem(error)}."
    return ""


async def _handshake(base_url: str, context: ssl.SSLContext) -> str:
    host = host_of(base_url)
    _, writer = await asyncio.open_connection(host, port_of(base_url), ssl=context, server_hostname=host)
    try:
        peer: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return hashlib.sha256(peer.getpeercert(binary_form=True) or b"").hexdigest()
    finally:
        writer.transport.abort()


@cache
def _anything() -> ssl.SSLContext:
    """Accepts every certificate: only for looking at one, never for sending anything."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _verify_problem(error: ssl.SSLCertVerificationError) -> str:
    return _VERIFY_PROBLEMS.get(error.verify_code, f"is not accepted ({error.verify_message})")


def _inner(cause: BaseException) -> BaseException:
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return cause.certificate_error
    return cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else cause
