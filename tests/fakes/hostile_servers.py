"""What may listen on a port and is no model server: broken, hostile or simply something else (safety D)."""

import gzip
import json
import zlib
from typing import Final

from tests.fakes.model_servers import Reply

_JSON: Final = {"Content-Type": "application/json"}


def compressed(encoding: str, data: bytes) -> Reply:
    """A compressed answer, although none was asked for."""
    return Reply(data, 200, {**_JSON, "Content-Encoding": encoding})


def _bomb() -> bytes:
    """A hundred megabytes of model list in a hundred kilobytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"object":"list","data":[')]
    parts += [packer.compress(b'{"id":"aaaaaaaa"},' * 50_000) for _ in range(100)]
    return b"".join([*parts, packer.compress(b'{"id":"b"}]}'), packer.flush()])


def _head(*lines: bytes, body: bytes = b"{}") -> Reply:
    return Reply(raw=b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", body)))


_LIST: Final = json.dumps({"object": "list", "data": [{"id": "a"}]}).encode()

# A name for each, and what it answers to everything. None of them may be listed.
HOSTILE: Final[dict[str, Reply]] = {
    "accepts and says nothing": Reply(hang=True),
    "a byte now and then": Reply(b"{}", drip_s=0.3),
    "closes at once": Reply(raw=b""),
    "garbage": Reply(raw=b"\x00\xff\x13garbage\r\n\r\n" * 10),
    "TLS": Reply(raw=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "SSH": Reply(raw=b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP 0.9": Reply(raw=b"<html>HTTP 0.9</html>"),
    "a web page": Reply(b"<html><title>Printer</title></html>", 200, {"Content-Type": "text/html"}),
    "an empty answer": Reply(b""),
    "null": Reply(b"null", 200, _JSON),
    "JSON that is no list": Reply(b'{"status":"ok","version":"1"}', 200, _JSON),
    "a redirect to a cloud's secrets": Reply(b"", 302, {"Location": "http://169.254.169.254/latest"}),
    "a redirect to itself": Reply(b"", 307, {"Location": "/v1/models"}),
    "a router's login": Reply(b"", 401, {"WWW-Authenticate": 'Basic realm="http://127.0.0.1/steal"'}),
    "a gzip bomb": compressed("gzip", _bomb()),
    "gzip twice": compressed("gzip, gzip", gzip.compress(gzip.compress(_LIST))),
    "a body without end": Reply(b" " * 8_000_000, 200, _JSON),
    "ten thousand headers": _head(*(b"X-%d: a" % number for number in range(10_000))),
    "a header of a megabyte": _head(b"X-Big: " + b"a" * 1_000_000),
    "two lengths": _head(b"Content-Length: 2", b"Content-Length: 400"),
    "a folded header": _head(b"X-A: a", b" Content-Length: 5", b"Content-Length: 2"),
    "bytes that no header has": _head(b"X-\x00\xff: \x01\x7f", b"Content-Length: 2"),
    "brackets without end": Reply(b'{"data":' + b"[" * 100_000, 200, _JSON),
    "numbers that are none": Reply(b'{"object":"list","data":[{"id":NaN}]}', 200, _JSON),
}
