"""What one relayed request is, and what all of them share."""

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from llama_runner.core.clock import Clock
from llama_runner.core.errors import LlamaRunnerError
from llama_runner.core.jsonio import JsonValue, parse_json
from llama_runner.core.settings import ProxySettings
from llama_runner.net.kept import KeptConnections
from llama_runner.proxy.admission import Admission
from llama_runner.proxy.answers import AnswerWriter
from llama_runner.proxy.bodies import MAX_BODY_BYTES
from llama_runner.proxy.breaker import Breakers
from llama_runner.proxy.forms import Form
from llama_runner.proxy.host import ModelHost, OfferedModel
from llama_runner.proxy.native import Native
from llama_runner.proxy.prompts import PromptLog
from llama_runner.proxy.records import RequestLog, RequestRecord
from llama_runner.proxy.shorten import Conversation

# Status and document of an error that came before the answer.
ErrorAnswer = Callable[[LlamaRunnerError], tuple[int, JsonValue]]
# What the client gets for an engine's answer that is not 2xx: status and body.
ErrorBody = Callable[[int, bytes], tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent to the engine, and how its answer comes back.

    Attributes:
        body: Of the request to the engine, JSON.
        writer: For a 2xx answer; made per request.
        error_answer: For errors of ours.
        error_body: For errors of the engine.
        translated: The client spoke another dialect: `body` has fields that only llama-server knows.
        native: What it said in that dialect, where servers may be asked in it too.
        conversation: What `body` says, where the client's dialect shortens what does not fit the context.
        left_out: Names of what the client asked for and `body` cannot say.
        form: What is sent in place of `body`, where the request is a form.
    """

    model: OfferedModel
    path: str
    body: bytes
    streamed: bool
    writer: Callable[[RequestRecord], AnswerWriter]
    error_answer: ErrorAnswer
    error_body: ErrorBody
    translated: bool = False
    native: Native | None = None
    conversation: Conversation | None = None
    left_out: tuple[str, ...] = ()
    form: Form | None = None

    def document(self) -> dict[str, JsonValue]:
        """What `body` says, which this program itself wrote."""
        document = parse_json(self.body, max_bytes=2 * MAX_BODY_BYTES, allow_nonfinite=True)
        return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True)
class Relays:
    """What every relayed request shares.

    Attributes:
        settings: As they are now.
        breakers: Which known servers are passed over for now.
        kept: Connections to servers next door; to be closed at the end.
        prompts: Where prompts and answers go while the settings want them logged.
    """

    host: ModelHost
    http: httpx.AsyncClient
    clock: Clock
    admission: Admission
    requests: RequestLog
    settings: Callable[[], ProxySettings] = ProxySettings
    breakers: Breakers = field(default_factory=Breakers)
    kept: KeptConnections = field(default_factory=KeptConnections)
    prompts: PromptLog | None = None
