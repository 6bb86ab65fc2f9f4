import io
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_runner.core.redaction import HIDDEN, RedactingFilter, Redactor, redact

CANARY = "zz-canary-zz"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization={CANARY}",
        f"Proxy-Authorization: Basic {CANARY}",
        f"x-api-key: {CANARY}",
        f"X-Api-Key:{CANARY}",
        f"api_key:{CANARY}",
        f"apiKey = {CANARY}",
        f'{{"api_key": "{CANARY} and more"}}',
        f'{{\\"api_key\\": \\"{CANARY}\\"}}',
        f"{{'x-api-key': '{CANARY}'}}",
        f"(b'Authorization', b'Bearer {CANARY}')",
        f"?token={CANARY}&x=1",
        f"access_token={CANARY}",
        f"--api-key {CANARY}",
        f"--token={CANARY}",
        f"LLAMA_API_KEY={CANARY}",
        f"A_B_C_D_E_F_TOKEN={CANARY}",
        f"client_secret: {CANARY}",
        f"password='{CANARY} 2'",
        f"https://user:{CANARY}@host/x",
        f"https://{CANARY}@host",
        f"http://u:a@{CANARY}@host/x",
        f"Cookie: a={CANARY}; b={CANARY}",
        f"Set-Cookie: a={CANARY}",
        f"sent bearer {CANARY}",
        "key sk-zz-canary-zz-1",
        "hf_zz-canary-zz",
        "ghp_zz-canary-zz",
        "AIzazz-canary-zz0123456789",
    ],
)
def test_r9_credentials_are_hidden_by_their_shape(text: str) -> None:
    once = redact(f"before {text}")
    assert CANARY not in once
    assert HIDDEN in once and once.startswith("before ")
    assert redact(once) == once


def test_what_stands_around_a_credential_stays_readable() -> None:
    assert redact("GET http://u:p@h:1/v1?api_key=abc&n=2") == (
        "GET http://[redacted]@h:1/v1?api_key=[redacted]&n=2"
    )
    assert redact('{"token": "abc", "n": 2}') == '{"token": "[redacted]", "n": 2}'


def test_figures_about_tokens_stay_readable() -> None:
    text = "ttft_s=0.2 output_tokens=12 max_tokens: 5 tokens/s 48.3 key=up task-management"
    assert redact(text) == text


def test_known_secrets_are_hidden_everywhere_also_as_part_of_a_url() -> None:
    redactor = Redactor()
    redactor.add("correct horse/battery")
    redactor.add("correct horse")
    redactor.add("abc")
    shown = redactor.redact("x correct horse/battery y correct%20horse%2Fbattery z correct horse abc")
    assert shown == f"x {HIDDEN} y {HIDDEN} z {HIDDEN} abc"
    assert Redactor().redact("nothing known") == "nothing known"


@given(st.text())
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redact("token=" + text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "unit", ["a_", "a.", "://", "token ", "authorization:", "\"'", "a-", "bearer ", "--", "token=\\", "x@:/"]
)
def test_no_text_makes_redaction_slow(unit: str) -> None:
    text = unit * (64_000 // len(unit)) + "://token"
    start = time.perf_counter()
    redact(text)
    # Linear work on 64 kB takes some 50 ms; the quadratic patterns this guards against take minutes.
    assert time.perf_counter() - start < 2


def test_the_filter_cleans_message_arguments_traceback_and_stack() -> None:
    redactor = Redactor()
    redactor.add("my-own-secret")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(redactor))
    logger = logging.getLogger("a test of redaction")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        raise ValueError("my-own-secret in an error")
    except ValueError:
        logger.exception("with %s and %s", "my-own-secret", "token=abc", stack_info=True)
    logger.info("plain my-own-secret")
    assert "my-own-secret" not in stream.getvalue()
    assert "token=[redacted]" in stream.getvalue()
    assert "ValueError: [redacted] in an error" in stream.getvalue()
    logger.removeHandler(handler)


def test_the_filter_cleans_a_traceback_that_was_formatted_before() -> None:
    record = logging.LogRecord("a", logging.ERROR, "f", 1, "m", None, None)
    record.exc_text = "ValueError: token=abc"
    assert RedactingFilter(Redactor()).filter(record)
    assert record.exc_text == "ValueError: token=[redacted]"
