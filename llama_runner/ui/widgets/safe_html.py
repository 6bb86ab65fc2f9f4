"""Untrusted Markdown into small pieces of harmless HTML (R6). No Qt, no I/O; runs in a worker thread.

Raw HTML is text, images become their host's name, links only go to the web, and whatever is too deep, too
wide or too long for Qt's layout comes out as plain text. Every piece is cheap to insert: no slice freezes the
view.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from llama_runner.ui.widgets.links import check_link

# R6. Beyond these Qt's layout takes seconds; see also MAX_PIECE_CHARS.
MAX_RICH_CHARS: Final = 256 * 1024
MAX_TAG_DEPTH: Final = 20
MAX_TABLE_DEPTH: Final = 3
MAX_TABLE_CELLS: Final = 2000
MAX_RUN_CHARS: Final = 1000
# The parser tries a link at each bracket and a table at each bar: at the cap nothing else takes it more than
# two seconds, these take ten, and closing the window waits for them.
MAX_COSTLY: Final = 20_000
_COSTLY: Final = "[|"
# Qt lays out some 4 MB/s of text and 2,000 lines per 15 ms: a piece stays within the 8 ms of the GUI thread.
MAX_PIECE_CHARS: Final = 12 * 1024
MAX_PIECE_LINES: Final = 250
# One list or paragraph cannot be cut: up to this size it is worth its 20 ms, beyond it comes as plain text.
MAX_BLOCK_CHARS: Final = 48 * 1024
MAX_BLOCK_LINES: Final = 1000
# Pieces smaller than this are joined: inserting has a price of its own.
SMALL_PIECE_CHARS: Final = 2 * 1024

BREAK: Final = "\u200b"

_TAGS: Final = {
    *("a", "p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote"),
    *("ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES: Final = {"a": {"href"}, "ol": {"start"}, "th": {"align"}, "td": {"align"}}
_VOID: Final = frozenset({"br", "hr"})
_TAG: Final = re.compile(r"<(/?)([a-z][a-z0-9]*)[^>]*>")
_RUN: Final = re.compile(rf"([^\s<>&\u200b]{{{MAX_RUN_CHARS}}})(?=[^\s<>&\u200b])")
_TEXT_RUN: Final = re.compile(rf"(\S{{{MAX_RUN_CHARS}}})(?=\S)")
_IN_TAG_OR_TEXT: Final = re.compile(r"<[^>]*>|[^<]+")
# Controls that steer a terminal or turn the reading direction of what follows (U7, U8), as a character class.
_CONTROL: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029"
_MARK: Final = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_CONTROLS: Final = re.compile(f"[{_CONTROL}]")
_MARKS: Final = re.compile(f"([{_MARK}]{{4}})[{_MARK}]+")
_HAS_ODD: Final = re.compile(f"[\r{_CONTROL}{_MARK}\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Piece:
    """One insertion: HTML that is safe and cheap, or plain text."""

    content: str
    rich: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message ready to show.

    Attributes:
        rest: What lies beyond the cap, plain, to be shown page by page on demand.
        downgraded: Why it is plain though it was meant to be rich; empty when it is not.
    """

    pieces: tuple[Piece, ...]
    rest: str = ""
    downgraded: str = ""


def clean_text(text: str) -> str:
    """`text` with control characters made visible, lone surrogates replaced and stacked marks thinned."""
    if not _HAS_ODD.search(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    return _MARKS.sub(r"\1", _CONTROLS.sub(_show_control, text))


def _show_control(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code in (0x2028, 0x2029):
        return "\n"
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def plain_pieces(text: str) -> tuple[Piece, ...]:
    """`text` as it is, in pieces, its endless words made breakable."""
    return tuple(Piece(_TEXT_RUN.sub(rf"\1{BREAK}", part), rich=False) for part in _portions(text))


def _portions(text: str) -> Iterator[str]:
    """`text` cut into portions of bounded length and number of lines, at line ends where there are any."""
    start = 0
    while start < len(text):
        end = min(start + MAX_PIECE_CHARS, len(text))
        lines = [match.end() for match in re.finditer("\n", text[start:end])][:MAX_PIECE_LINES]
        if lines and (end < len(text) or len(lines) == MAX_PIECE_LINES):
            end = start + lines[-1]
        yield text[start:end]
        start = end


def render_plain(text: str) -> Rendered:
    """A message that is not Markdown."""
    shown, rest = _capped(clean_text(text))
    return Rendered(plain_pieces(shown), rest)


def render_markdown(text: str) -> Rendered:
    """A message in Markdown; plain where it asks too much of the layout. Takes up to a second at the cap."""
    shown, rest = _capped(clean_text(text))
    if (costly := max(map(shown.count, _COSTLY))) > MAX_COSTLY:
        return Rendered(plain_pieces(shown), rest, f"{costly:,} brackets or bars")
    tokens = _PARSER.parse(shown)
    lines = shown.split("\n")
    pieces: list[Piece] = []
    for block in _blocks(tokens):
        pieces += _rendered_block(block, lines)
    reason = _excess(pieces)
    if reason:
        return Rendered(plain_pieces(shown), rest, reason)
    return Rendered(tuple(_joined(pieces)), rest)


def _capped(text: str) -> tuple[str, str]:
    if len(text) <= MAX_RICH_CHARS:
        return text, ""
    end = text.rfind("\n", 0, MAX_RICH_CHARS) + 1 or MAX_RICH_CHARS
    return text[:end], text[end:]


def _blocks(tokens: list[Token]) -> Iterator[list[Token]]:
    """The tokens of each top-level block."""
    block: list[Token] = []
    depth = 0
    for token in tokens:
        block.append(token)
        depth += token.nesting
        if depth == 0:
            yield block
            block = []
    if block:
        yield block


def _rendered_block(block: list[Token], lines: list[str]) -> Iterator[Piece]:
    first = block[0]
    if first.type in ("fence", "code_block"):
        for part in _portions(first.content):
            content = html.escape(_TEXT_RUN.sub(rf"\1{BREAK}", part.removesuffix("\n")), quote=False)
            yield Piece(f"<pre>{content}</pre>", rich=True)
        return
    rendered = _PARSER.renderer.render(block, _PARSER.options, {})
    if too_deep(rendered) or _too_long(rendered, first.type):
        start, end = first.map or (0, 0)
        yield from plain_pieces("\n".join(lines[start:end]))
    else:
        yield Piece(_breakable(_sanitised(rendered.strip())), rich=True)


def _sanitised(rendered: str) -> str:
    return nh3.clean(
        rendered,
        tags=_TAGS,
        clean_content_tags=set(),
        attributes=_ATTRIBUTES,
        attribute_filter=_filter_attribute,
        url_schemes={"http", "https", "mailto"},
        link_rel=None,
        strip_comments=True,
    )


def _too_long(rendered: str, kind: str) -> bool:
    if kind == "table_open":
        return len(rendered) > MAX_RICH_CHARS  # Its cells are counted over the whole message.
    breaks = sum(rendered.count(tag) for tag in ("<br", "<li", "<p"))
    return len(rendered) > MAX_BLOCK_CHARS or breaks > MAX_BLOCK_LINES


def _filter_attribute(tag: str, attribute: str, value: str) -> str | None:
    if tag == "a" and attribute == "href":
        link = check_link(value)
        return None if link is None else link.url
    return value if value.isascii() and value.isalnum() else None


def too_deep(rendered: str) -> bool:
    """Whether HTML nests deeper than `MAX_TAG_DEPTH`, or its tables deeper than `MAX_TABLE_DEPTH`. Linear."""
    depth = tables = 0
    for match in _TAG.finditer(rendered):
        closing, name = match[1], match[2]
        if name in _VOID:
            continue
        step = -1 if closing else 1
        depth += step
        tables += step * (name == "table")
        if depth > MAX_TAG_DEPTH or tables > MAX_TABLE_DEPTH:
            return True
    return False


def _excess(pieces: list[Piece]) -> str:
    cells = sum(piece.content.count("<td") + piece.content.count("<th") for piece in pieces if piece.rich)
    return f"{cells:,} table cells" if cells > MAX_TABLE_CELLS else ""


def _breakable(rendered: str) -> str:
    """HTML with a place to break in every run of more than `MAX_RUN_CHARS`; tags stay as they are."""
    return _IN_TAG_OR_TEXT.sub(
        lambda match: match[0] if match[0][0] == "<" else _RUN.sub(rf"\1{BREAK}", match[0]), rendered
    )


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Neighbouring small rich pieces as one."""
    waiting = ""
    for piece in pieces:
        if piece.rich and len(waiting) + len(piece.content) <= SMALL_PIECE_CHARS:
            waiting += piece.content
            continue
        if waiting:
            yield Piece(waiting, rich=True)
        waiting = ""
        if piece.rich and len(piece.content) < SMALL_PIECE_CHARS:
            waiting = piece.content
        else:
            yield piece
    if waiting:
        yield Piece(waiting, rich=True)


def _image_as_text(
    renderer: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: dict[str, Any]
) -> str:
    """An image is never loaded (I23): its description and host stand in its place."""
    token = tokens[index]
    link = check_link(str(token.attrGet("src") or ""))
    name = token.content.strip() or "image"
    return html.escape(f"[{name}: {link.host}]" if link else f"[{name}]")


def _make_parser() -> MarkdownIt:
    # Deeper than the depth allowed afterwards: nothing that is shown loses text to the parser's own limit.
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 4 * MAX_TAG_DEPTH})
    parser.enable(["table", "strikethrough"])
    parser.add_render_rule("image", _image_as_text)
    return parser


_PARSER: Final = _make_parser()
