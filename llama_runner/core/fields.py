"""How one setting is declared, checked and described; `core.settings` declares all of them with it."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath, PureWindowsPath
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin

import annotated_types
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

# Linux paths end at 4096 bytes, Windows paths at 32767 characters; nobody types more (C7).
MAX_PATH_CHARS: Final = 4096
# The longest name that DNS allows, with a scheme and a port.
MAX_NAME_CHARS: Final = 280


Applies = Literal["now", "load", "start"]


class Section(BaseModel):
    """Base of every part of the configuration: frozen, strict (true is no number), unknown keys ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


def setting(
    default: Any,
    *,
    title: str,
    help: str,
    unit: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    clamp: bool = True,
    max_length: int | None = None,
    applies: Applies = "now",
    more: Mapping[str, str] | None = None,
) -> Any:
    """Declare one setting.

    Args:
        unit: What the number counts, None for plain counts and texts.
        ge: Smallest allowed value.
        le: Largest allowed value.
        clamp: Whether a value out of bounds becomes the nearest allowed one, else the default. Nearest makes
            sense for durations and sizes, not for ports.
        max_length: Longest allowed text or list.
        applies: From when on a change counts: at once, with the next load of a model, with the next start.
        more: What else its schema says of it.
    """
    extra: dict[str, Any] = {"clamp": clamp, **(more or {})} | ({} if unit is None else {"unit": unit})
    extra |= {} if applies == "now" else {"applies": applies}
    return Field(
        default, title=title, description=help, ge=ge, le=le, max_length=max_length, json_schema_extra=extra
    )


class BadText(ValueError):
    """A text is not what the setting takes; the text of the error completes "must be …"."""


@dataclass(frozen=True, slots=True)
class Takes:
    """What a text setting takes, in words that complete "must be …"."""

    words: str


WINDOWS_PATH: Final = Takes(
    "empty or a full path on a drive, such as C:\\models; network and device paths are not used"
)
LINUX_PATH: Final = Takes("empty or a full path that starts with /; ~ and $HOME are not expanded")
MODEL_PATH: Final = Takes(
    "a full path, or one below the models folder; ~, $HOME, .. and network paths are not used"
)
LOOPBACK_HOST: Final = Takes("an address of this machine only: 127.0.0.1, ::1 or localhost")
LISTEN_HOST: Final = Takes("an IP address of this machine such as 127.0.0.1, 0.0.0.0 or ::, or localhost")
ORIGIN: Final = Takes("exactly what a browser says, such as http://localhost:3000 or app://obsidian.md")
HOST_NAME: Final = Takes(
    "a host name or IPv4 address in small letters, with :PORT where it is not the listener's"
)
LANGUAGE: Final = Takes('"system" or a language code such as en or de_DE')
SERVER: Final = Takes("the address of a known server, such as http://192.168.1.5:11434")
STEP: Final = Takes("a model of this machine, or model@server with the address of a known server")
NETWORK: Final = Takes("a network such as 192.168.1.0/24 or one address")


_PATHS: Final = frozenset(path.words for path in (WINDOWS_PATH, LINUX_PATH, MODEL_PATH))


def _check_path_characters(text: str) -> None:
    if len(text) > MAX_PATH_CHARS or not text.isprintable():
        raise BadText(f"a path of at most {MAX_PATH_CHARS} characters without control characters")


def check_windows_path(text: str) -> str:
    """`text` when it is empty or a full path on a drive. Network paths would send credentials to others."""
    _check_path_characters(text)
    path = PureWindowsPath(text)
    if text and (not path.is_absolute() or path.drive.startswith("\\\\")):
        raise BadText(WINDOWS_PATH.words)
    return text


def check_linux_path(text: str) -> str:
    """`text` when it is empty or a full path."""
    _check_path_characters(text)
    if text and not PurePosixPath(text).is_absolute():
        raise BadText(LINUX_PATH.words)
    return text


def check_model_path(text: str) -> str:
    """`text` when it is a full path of either system, or one that stays below the models folder."""
    _check_path_characters(text)
    windows = PureWindowsPath(text)
    is_network = windows.drive.startswith("\\\\")
    if not text.strip() or text[0] in "~$-" or is_network or ".." in windows.parts:
        raise BadText(MODEL_PATH.words)
    return text


def check_loopback(text: str) -> str:
    """`text` when it is an address that only this machine can reach (C6)."""
    if text == "localhost":
        return text
    try:
        # A scope id ("::1%eth0") is loopback to ipaddress but not to every socket call.
        fits = ipaddress.ip_address(text).is_loopback and "%" not in text
    except ValueError:
        fits = False
    if not fits:
        raise BadText(LOOPBACK_HOST.words)
    return text


def check_listen_host(text: str) -> str:
    """`text` when a listener can be opened there without asking a name server."""
    if text == "localhost":
        return text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadText(LISTEN_HOST.words) from None
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    if "%" in text or mapped or address.is_multicast:
        raise BadText(LISTEN_HOST.words)
    return text


def check_origin(text: str) -> str:
    """`text` when it is one origin: no pattern, no `null`, and no file, which could be any page."""
    if len(text) > MAX_NAME_CHARS or not re.fullmatch(
        r"(?!file:)[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", text
    ):
        raise BadText(ORIGIN.words)
    return text


def check_host_name(text: str) -> str:
    """`text` when it can stand in a Host header."""
    label = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
    if len(text) > MAX_NAME_CHARS or not re.fullmatch(rf"{label}(\.{label})*(:[0-9]{{1,5}})?", text):
        raise BadText(HOST_NAME.words)
    return text


def check_language(text: str) -> str:
    """`text` when it is "system" or looks like a language code."""
    if text != "system" and not re.fullmatch(r"[a-z]{2,3}(_[A-Z]{2})?", text):
        raise BadText(LANGUAGE.words)
    return text


def check_server(text: str) -> str:
    """`text` when it may be a server's address; whether it is known is seen when it is asked."""
    if not text or len(text) > MAX_PATH_CHARS or not text.isprintable() or re.search(r"[\s,@]", text):
        raise BadText(SERVER.words)
    return text


def check_step(text: str) -> str:
    """`text` when it may name a model, with or without a server."""
    model, at, _ = text.rpartition("@")
    if not text.strip() or len(text) > MAX_PATH_CHARS or not text.isprintable() or (at and not model):
        raise BadText(STEP.words)
    return text


def check_network(text: str) -> str:
    """`text` when it is an IPv4 or IPv6 network, or one address."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadText(NETWORK.words) from None
    return text


WindowsPath = Annotated[str, AfterValidator(check_windows_path), WINDOWS_PATH]
LinuxPath = Annotated[str, AfterValidator(check_linux_path), LINUX_PATH]
ModelPath = Annotated[str, AfterValidator(check_model_path), MODEL_PATH]
LoopbackHost = Annotated[str, AfterValidator(check_loopback), LOOPBACK_HOST]
ListenHost = Annotated[str, AfterValidator(check_listen_host), LISTEN_HOST]
Origin = Annotated[str, AfterValidator(check_origin), ORIGIN]
Origins = Annotated[tuple[Origin, ...], Field(strict=False)]
HostName = Annotated[str, AfterValidator(check_host_name), HOST_NAME]
HostNames = Annotated[tuple[HostName, ...], Field(strict=False)]
Language = Annotated[str, AfterValidator(check_language), LANGUAGE]
Port = Annotated[int, Field(ge=1, le=65535)]
# JSON has lists only: the tuple itself is taken from a list, its items stay strict.
Ports = Annotated[tuple[Port, ...], Field(strict=False)]
Server = Annotated[str, AfterValidator(check_server), SERVER]
Servers = Annotated[tuple[Server, ...], Field(strict=False)]
Step = Annotated[str, AfterValidator(check_step), STEP]
Steps = Annotated[tuple[Step, ...], Field(strict=False)]
Network = Annotated[str, AfterValidator(check_network), NETWORK]
Networks = Annotated[tuple[Network, ...], Field(strict=False)]


class Kind(StrEnum):
    """What a setting holds; decides the control in a dialog and how typed text is read."""

    INTEGER = "whole number"
    NUMBER = "number"
    BOOLEAN = "true or false"
    TEXT = "text"
    CHOICE = "choice"
    PORTS = "ports"
    NETWORKS = "networks"
    NUMBERS = "numbers"
    TEXTS = "texts"


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """One setting as dialogs, documents and messages need it.

    Attributes:
        key: Dotted name.
        optional: Whether null is allowed.
        default: As in JSON; None also where there is none.
        takes: What a text must be, in words; empty when any text will do.
        applies: From when on a change counts.
    """

    key: str
    title: str
    help: str
    kind: Kind
    optional: bool
    default: Any
    unit: str | None
    minimum: float | None
    maximum: float | None
    max_length: int | None
    choices: tuple[str, ...]
    takes: str
    clamp: bool
    applies: Applies

    @property
    def is_path(self) -> bool:
        """Whether it names a file or a folder of this machine."""
        return self.takes in _PATHS

    @property
    def expectation(self) -> str:
        """Completes "must be …": "a whole number from 0 to 65535"."""
        return self._kind_in_words() + (" or null" if self.optional else "")

    def _kind_in_words(self) -> str:
        if self.kind is Kind.CHOICE:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        if self.kind is Kind.PORTS:
            return f"a list of at most {self.max_length} port numbers from 1 to 65535"
        if self.kind is Kind.NETWORKS:
            return f"a list of at most {self.max_length} networks such as 192.168.1.0/24"
        if self.kind is Kind.NUMBERS:
            return f"a list of at most {self.max_length} numbers"
        if self.kind is Kind.TEXTS:
            return f"a list of at most {self.max_length}, each {self.takes}"
        if self.kind is Kind.BOOLEAN:
            return "true or false"
        if self.takes:
            return self.takes
        if self.kind is Kind.TEXT:
            return "a text" if self.max_length is None else f"a text of at most {self.max_length} characters"
        unit = f" {self.unit}" if self.unit else ""
        return f"a {self.kind} from {plain_number(self.minimum)} to {plain_number(self.maximum)}{unit}"


def plain_number(value: float | None) -> str:
    """A bound as it is typed: 65535, 0.1."""
    return str(int(value)) if value is not None and value == int(value) else str(value)


def setting_info(key: str, field: FieldInfo) -> SettingInfo:
    """The description of the setting that `field` declares."""
    kind, optional, choices = _kind_of(field.annotation)
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    bounds: dict[type, Any] = {type(item): item for item in field.metadata}
    ge, le = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Le)
    takes = bounds.get(Takes) or _takes_within(field.annotation)
    longest = bounds.get(annotated_types.MaxLen)
    unit = extra.get("unit")
    return SettingInfo(
        key=key,
        title=field.title or "",
        help=field.description or "",
        kind=kind,
        optional=optional,
        default=None if field.is_required() else field.get_default(),
        unit=None if unit is None else str(unit),
        minimum=ge.ge if ge else None,
        maximum=le.le if le else None,
        max_length=longest.max_length if longest else None,
        choices=choices,
        takes=takes.words if takes else "",
        clamp=bool(extra.get("clamp")),
        applies=cast(Applies, extra.get("applies", "now")),
    )


def _takes_within(annotation: Any) -> Takes | None:
    """The words of a text that may also be null: there they belong to the text and not to the field."""
    if isinstance(annotation, Takes):
        return annotation
    found = (_takes_within(part) for part in get_args(annotation))
    return next((takes for takes in found if takes is not None), None)


_LISTS: Final[dict[Any, Kind]] = {Port: Kind.PORTS, Network: Kind.NETWORKS, float: Kind.NUMBERS}
_KINDS: Final[dict[Any, Kind]] = {
    int: Kind.INTEGER,
    float: Kind.NUMBER,
    bool: Kind.BOOLEAN,
    str: Kind.TEXT,
}


def _kind_of(annotation: Any) -> tuple[Kind, bool, tuple[str, ...]]:
    # `Literal[...] | None` is a typing.Union, `int | None` a types.UnionType.
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        (inner,) = (kind for kind in get_args(annotation) if kind is not type(None))
        kind, _, choices = _kind_of(inner)
        return kind, True, choices
    if get_origin(annotation) is Literal:
        return Kind.CHOICE, False, tuple(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _kind_of(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return _LISTS.get(get_args(annotation)[0], Kind.TEXTS), False, ()
    return _KINDS[annotation], False, ()


def section_type(field: FieldInfo) -> type[Section] | None:
    """The section that `field` holds, None for a setting."""
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def entry_type(field: FieldInfo) -> type[Section] | None:
    """The section that each value of the table `field` holds, None when it is no table."""
    arguments = get_args(field.annotation)
    last = arguments[-1] if arguments else None
    return last if isinstance(last, type) and issubclass(last, Section) else None


def all_settings(model: type[Section], prefix: str = "", *, entries: bool = False) -> tuple[SettingInfo, ...]:
    """Every setting of `model` in order of declaration; `entries` adds those of tables: `models.ID.path`."""
    found: list[SettingInfo] = []
    for name, field in model.model_fields.items():
        key = prefix + name
        if section := section_type(field):
            found += all_settings(section, f"{key}.", entries=entries)
        elif entry := entry_type(field):
            found += all_settings(entry, f"{key}.ID.", entries=True) if entries else ()
        elif name != "version":
            found.append(setting_info(key, field))
    return tuple(found)
