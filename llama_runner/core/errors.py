"""The exception tree: every error that may reach a person says what to do next.

`kind` is the stable name in JSON output, `exit_code` what a command returns for it.
"""

import secrets
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of the command line; scripts rely on them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


class LlamaRunnerError(Exception):
    """Base of every error this program raises on purpose.

    Args:
        message: One sentence: what happened.
        hint: One sentence: what to do next. Empty when the message already says so.
    """

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(LlamaRunnerError):
    """The command line, or a call's arguments, cannot be carried out as given."""

    kind = "usage"
    exit_code = ExitCode.USAGE


class ConfigError(LlamaRunnerError):
    """A setting or a configuration file is unusable."""

    kind = "configuration"
    exit_code = ExitCode.USAGE


class StorageError(LlamaRunnerError):
    """A file of ours could not be read or written."""

    kind = "storage"


class ServerError(LlamaRunnerError):
    """Talking to a model server failed. The subclasses say how."""

    kind = "server"


class UnreachableError(ServerError):
    """No connection: refused, timed out, name not resolved.

    Attributes:
        never_sent: It is certain that nothing of the request went out: it may be sent again.
    """

    kind = "unreachable"
    exit_code = ExitCode.UNREACHABLE
    never_sent = False


class TlsError(UnreachableError):
    """No encrypted connection, or not with whom it should be.

    Args:
        certificate: The certificate is the reason: a person may look at it and trust this one.
    """

    kind = "tls"

    def __init__(self, message: str, hint: str = "", *, certificate: bool = False) -> None:
        super().__init__(message, hint)
        self.certificate = certificate


class RefusedError(ServerError):
    """The server wants a key, or another one (401, 403)."""

    kind = "refused"


class NotFoundError(ServerError):
    """The server does not know the model or the endpoint (404).

    Args:
        suggestions: What it does have that comes close, best first.
    """

    kind = "not_found"

    def __init__(self, message: str, hint: str = "", suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.suggestions = suggestions


class OverloadedError(ServerError):
    """The server is busy or still loading (429, 503).

    Args:
        retry_after_s: The server's own advice, None when it gave none.
    """

    kind = "overloaded"

    def __init__(self, message: str, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class InvalidRequestError(ServerError):
    """The server rejected the request itself (400, 422)."""

    kind = "invalid_request"


class UnsupportedError(ServerError):
    """This kind of server cannot do that at all, however it is asked."""

    kind = "unsupported"


class ContextOverflowError(InvalidRequestError):
    """The prompt does not fit the context length."""

    kind = "context_overflow"


class ProtocolError(ServerError):
    """The server answered something that is not its protocol.

    Args:
        endpoint: The URL or path that was asked.
        what: What was wrong with the answer.
    """

    kind = "protocol"

    def __init__(self, endpoint: str, what: str) -> None:
        super().__init__(
            f"{endpoint} answered in an unexpected way: {what}.",
            "Check that this address is a model server.",
        )
        self.endpoint = endpoint
        self.what = what


class TruncatedError(ServerError):
    """The stream ended without its end marker: the answer is incomplete."""

    kind = "truncated"


class EngineError(LlamaRunnerError):
    """A llama-server could not be found, started or kept alive."""

    kind = "engine"


class ModelFileError(LlamaRunnerError):
    """A model file is missing, damaged or not what it claims to be."""

    kind = "model_file"


class PortInUseError(LlamaRunnerError):
    """Another program listens on the wanted port."""

    kind = "port_in_use"


class ServiceError(LlamaRunnerError):
    """The service process could not be started, found or understood."""

    kind = "service"


class InternalError(LlamaRunnerError):
    """Something failed here that should not have: the other side gets a number, the log the rest (I25).

    Attributes:
        number: Stands in the log beside the traceback.
    """

    kind = "internal"

    def __init__(self) -> None:
        self.number = secrets.token_hex(4)
        super().__init__(f"Something went wrong here (number {self.number}).", "See the service's log.")
