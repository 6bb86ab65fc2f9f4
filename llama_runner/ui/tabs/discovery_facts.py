"""All that is known of a server and of one of its models, as pairs of a title and a sentence."""

from PySide6.QtCore import QCoreApplication

from llama_runner.backends.models import ModelInfo
from llama_runner.core import format
from llama_runner.core.text import visible_controls
from llama_runner.discovery.registry import ServerRecord, ServerSource
from llama_runner.ui.tabs.discovery_rows import (
    abilities_of,
    ago,
    certainty_word,
    context_meaning,
    context_text,
    engine_name,
    loaded_word,
    source_word,
)
from llama_runner.ui.widgets.facts import Fact

# Certificates are compared by eye: in groups, the way other programs show them.
FINGERPRINT_GROUP = 2


def _tr(text: str) -> str:
    return QCoreApplication.translate("discovery", text)


def server_facts(record: ServerRecord, *, has_key: bool) -> tuple[Fact, ...]:
    """Of a server."""
    unsaid = _tr("The server does not say.")
    facts = [
        Fact(_tr("Address"), record.base_url),
        Fact(
            _tr("Engine"),
            f"{visible_controls(engine_name(record))} ({certainty_word(record.certainty)})",
            _tr("How sure it is: recognised by its answers, not by what it claims."),
        ),
        Fact(_tr("Version"), visible_controls(record.version or format.UNKNOWN), unsaid),
        Fact(
            _tr("Latency"),
            format.seconds(record.latency_s),
            _tr("Time of one small request at the last check."),
        ),
        Fact(_tr("Last seen"), ago(record.last_seen_utc), format.moment(record.last_seen_utc)),
        Fact(_tr("Last asked"), ago(record.checked_utc), format.moment(record.checked_utc)),
        Fact(_tr("From"), source_word(record.source)),
    ]
    if record.source is not ServerSource.SERVICE:
        facts.append(_key_fact(record, has_key=has_key))
        facts += _trust_facts(record)
    return tuple(facts)


def _key_fact(record: ServerRecord, *, has_key: bool) -> Fact:
    places = {
        "memory": _tr("in memory, until the program ends"),
        "keyring": _tr("in the system's keyring"),
        "file": _tr("in a file only you can read"),
    }
    if record.key_place in places:
        text = places[record.key_place]
    else:
        text = places["memory"] if has_key else _tr("none")
    return Fact(_tr("API key"), text, _tr("Sent to this scheme, host and port only, never shown or logged."))


def _trust_facts(record: ServerRecord) -> list[Fact]:
    facts: list[Fact] = []
    if record.base_url.startswith("https://"):
        pinned = record.tls_pin is not None
        facts.append(
            Fact(
                _tr("Certificate"),
                _tr("this one only: {sha}").format(sha=fingerprint_words(record.tls_pin or ""))
                if pinned
                else _tr("checked by the system's rules"),
                fingerprint_words(record.tls_pin or "") if pinned else "",
            )
        )
    if not record.is_this_machine:
        facts.append(
            Fact(
                _tr("Confirmed"),
                _tr("yes") if record.trusted else _tr("not yet"),
                _tr("Another computer is asked for answers only after you said yes to it once."),
            )
        )
        facts.append(
            Fact(
                _tr("Hardware address"),
                record.mac or format.UNKNOWN,
                _tr("Seen while it was in reach; with it a sleeping computer can be woken."),
            )
        )
    return facts


def fingerprint_words(sha256: str) -> str:
    """A fingerprint in pairs."""
    groups = (sha256[n : n + FINGERPRINT_GROUP] for n in range(0, len(sha256), FINGERPRINT_GROUP))
    return ":".join(groups).upper()


def model_facts(info: ModelInfo | None) -> tuple[Fact, ...]:
    """Of a model; none where there is none."""
    if info is None:
        return ()
    unsaid = _tr("The server does not say.")
    return (
        Fact(_tr("Context"), context_text(info), context_meaning(info)),
        Fact(
            _tr("Trained for"),
            _tokens(info.trained_context),
            _tr("The longest conversation it was trained for, in tokens."),
        ),
        Fact(_tr("Can also"), abilities_of(info) or format.UNKNOWN, unsaid),
        Fact(_tr("In memory"), loaded_word(info.loaded), unsaid),
        Fact(_tr("Parameters"), visible_controls(info.parameters or format.UNKNOWN), unsaid),
        Fact(
            _tr("Quantization"),
            visible_controls(info.quantization or format.UNKNOWN),
            _tr("How the weights were shortened: fewer bits take less memory and lose precision."),
        ),
        Fact(_tr("Size"), format.size(info.size_bytes), unsaid),
        Fact(_tr("Family"), visible_controls(info.family or format.UNKNOWN), unsaid),
    )


def _tokens(count: int | None) -> str:
    return format.UNKNOWN if count is None else _tr("{n} tokens").format(n=format.count(count))
