"""Known attacks by a request's head, query, path, fields and chunks."""

from collections.abc import Mapping

from tests.chaos.attacks import JSON, STEPS, Attack, a_step, bad_head, malformed, request, text


def raw(line: str, *fields: bytes, body: bytes = b"") -> bytes:
    """Return a request with that line and those fields, unchecked."""
    return b"\r\n".join([line.encode(), b"host: localhost", *fields, b"", body])


CHUNKED = b"transfer-encoding: chunked"
UPGRADE = b"content-type: application/json\r\nconnection: upgrade\r\nupgrade: h2c"
JSON_FIELD = b"content-type: application/json"
POST = "POST {s}/steps HTTP/1.1"
GET = "GET {s} HTTP/1.1"
GOOD = a_step().encode()

HEADS: Mapping[str, Attack] = {
    name: bad_head(sent)
    for name, sent in {
        "a negative Content-Length": raw(POST, JSON_FIELD, b"content-length: -1"),
        "a Content-Length with a sign": raw(POST, JSON_FIELD, b"content-length: +5", body=b"{}   "),
        "a Content-Length that is a word": raw(POST, JSON_FIELD, b"content-length: ten"),
        "a Content-Length in hexadecimal": raw(POST, JSON_FIELD, b"content-length: 0x10"),
        "a Content-Length of 30 digits": raw(POST, JSON_FIELD, b"content-length: " + b"9" * 30),
        "two Content-Lengths": raw(POST, JSON_FIELD, b"content-length: 2", b"content-length: 3", body=b"{}"),
        "a list of Content-Lengths": raw(POST, JSON_FIELD, b"content-length: 2, 2", body=b"{}"),
        "Content-Length and Transfer-Encoding": raw(
            POST, JSON_FIELD, b"content-length: 2", CHUNKED, body=b"2\r\n{}\r\n0\r\n\r\n"
        ),
        "Transfer-Encoding and Content-Length": raw(
            POST, JSON_FIELD, CHUNKED, b"content-length: 2", body=b"2\r\n{}\r\n0\r\n\r\n"
        ),
        "chunked that is not the last coding": raw(POST, JSON_FIELD, b"transfer-encoding: chunked, gzip"),
        "a line without a colon": raw(GET, b"nonsense"),
        "a name with a space": raw(GET, b"x y: z"),
        "a space before the colon": raw(GET, b"x : z"),
        "a name of no characters": raw(GET, b": z"),
        "NUL in a name": raw(GET, b"x\0: z"),
        "NUL in a value": raw(GET, b"x: \0"),
        "NUL in an idempotency key": raw(POST, b'idempotency-key: "a\0b"'),
        "NUL in an API key": raw(GET, b"authorization: Bearer a\0b"),
        "a line's end in a value": raw(GET, b"x: y\rz"),
        "a folded line": raw(GET, b"x: y", b" z"),
        "NUL in the path": raw("GET {s}\0 HTTP/1.1"),
        "a path with a line's end": raw("GET {s}\r HTTP/1.1"),
        "no path": raw("GET HTTP/1.1"),
        "a version that is none": raw("GET {s} HTTP/9.9"),
        "HTTP/0.9": raw("GET {s}"),
        "HTTP/0.9 by its name": raw("GET {s} HTTP/0.9"),
        "HTTP/1.2": raw("GET {s} HTTP/1.2"),
        "HTTP/2 as if it were HTTP/1": raw("GET {s} HTTP/2.0"),
        "HTTP/3 as if it were HTTP/1": raw("GET {s} HTTP/3"),
        "two hosts": raw(GET, b"host: localhost"),
        "two hosts, one of them another's": raw(GET, b"host: evil.example"),
        "no host": b"GET {s} HTTP/1.1\r\nx: y\r\n\r\n",
        "an upgrade with two Content-Lengths": raw(
            POST, UPGRADE, b"content-length: 2", b"content-length: 3", body=b"{}"
        ),
        "an upgrade with Content-Length and Transfer-Encoding": raw(
            POST, UPGRADE, b"content-length: 2", CHUNKED, body=b"2\r\n{}\r\n0\r\n\r\n"
        ),
        "HTTP/2 without being asked": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        "a method that is none": raw("FROB {s} HTTP/1.1"),
        "a method in small letters": raw("get {s} HTTP/1.1"),
        "a head of 1 MiB": raw(GET, b"x: " + b"y" * (1 << 20)),
        "10^4 fields": raw(GET, *(b"x-%d: some words to fill a line" % i for i in range(10_000))),
        "a path of 1 MiB": raw("GET /" + "x" * (1 << 20) + " HTTP/1.1"),
        "an idempotency key that ends early": request(
            "POST", STEPS, GOOD, {"content-type": JSON, "idempotency-key": '"a"b"'}
        ),
        "an idempotency key of 256 characters": request(
            "POST", STEPS, GOOD, {"content-type": JSON, "idempotency-key": f'"{"k" * 256}"'}
        ),
    }.items()
}

QUERIES: Mapping[str, Attack] = {
    name: Attack(sent, 400, "malformed_query")
    for name, sent in {
        "a limit of 0": raw("GET /v1/sessions?limit=0 HTTP/1.1"),
        "a limit of 10^30": raw(f"GET /v1/sessions?limit={10**30} HTTP/1.1"),
        "a limit of 5,000 digits": raw(f"GET /v1/sessions?limit={'9' * 5000} HTTP/1.1"),
        "a limit in Arabic digits": raw("GET /v1/sessions?limit=%D9%A3 HTTP/1.1"),
        "a limit that is a fraction": raw("GET /v1/sessions?limit=1.5 HTTP/1.1"),
        "a limit of nothing": raw("GET /v1/sessions?limit= HTTP/1.1"),
        "a cursor that is none": raw("GET /v1/sessions?cursor=../../x HTTP/1.1"),
        "a cursor with a line's end": raw(f"GET /v1/sessions?cursor={'0' * 32}%0a HTTP/1.1"),
        "a cursor of 10,000 digits": raw(f"GET /v1/sessions?cursor={'0' * 10_000} HTTP/1.1"),
        "history after 2^63": raw(f"GET {{s}}/history?after={1 << 63} HTTP/1.1"),
        "history before its begin": raw("GET {s}/history?after=-2 HTTP/1.1"),
    }.items()
}

PATHS: Mapping[str, Attack] = {
    name: Attack(raw(f"{line} HTTP/1.1"), status, code)
    for name, line, status, code in (
        ("the path of a session", "GET {s}", 200, None),
        ("an absolute path with another host", "GET http://evil.example{s}", 421, "misdirected"),
        ("an absolute path with this host", "GET http://localhost:8000{s}", 200, None),
        ("a path in capitals", "GET /V1/SESSIONS", 404, "route_not_found"),
        ("two slashes", "GET //v1/sessions", 404, "route_not_found"),
        ("a slash at the end", "GET {s}/", 404, "route_not_found"),
        ("a way up", "GET /v1/../v1/sessions", 404, "route_not_found"),
        ("a way up in escapes", "GET /v1/%2e%2e/v1/sessions", 404, "route_not_found"),
        ("a way up from a session", "GET {s}/../../../etc/passwd", 404, "route_not_found"),
        ("a way up in an id", "GET /v1/sessions/..%2f..%2fetc", 404, "route_not_found"),
        ("an id with NUL", "GET /v1/sessions/a%00b", 404, "session_not_found"),
        ("an id with a line's end", "GET /v1/sessions/a%0d%0ax-evil:1", 404, "session_not_found"),
        ("an id that is no UTF-8", "GET /v1/sessions/%ff%fe", 404, "session_not_found"),
        ("an id with a surrogate", "GET /v1/sessions/%ed%a0%80", 404, "session_not_found"),
        ("an id that is a pattern", "GET /v1/sessions/*", 404, "session_not_found"),
        ("an id with braces", "GET /v1/sessions/%7Bx%7D:head", 404, "session_not_found"),
        ("an id in Arabic digits", "GET /v1/sessions/%D9%A3", 404, "session_not_found"),
        ("an id of 10,000 characters", "GET /v1/sessions/" + "a" * 10_000, 404, "session_not_found"),
        ("to delete what is not there", "DELETE /v1/sessions/*", 404, "session_not_found"),
        ("the whole server", "OPTIONS *", 404, "route_not_found"),
        ("a way through", "CONNECT evil.example:443", 400, "malformed_header"),
        ("a question for methods", "OPTIONS {s}", 405, "method_not_allowed"),
        ("an echo", "TRACE {s}", 405, "method_not_allowed"),
    )
}

CHUNKS: Mapping[str, Attack] = {
    "a coding that is almost chunked": malformed(raw(POST, JSON_FIELD, b"transfer-encoding: xchunked")),
    "a chunk of 2^64 bytes": malformed(raw(POST, JSON_FIELD, CHUNKED, body=b"10000000000000000\r\n")),
    "a chunk of a negative length": malformed(raw(POST, JSON_FIELD, CHUNKED, body=b"-1\r\n")),
    "a chunk that is longer than it says": malformed(raw(POST, JSON_FIELD, CHUNKED, body=b"1\r\n{}\r\n0\r\n\r\n")),
    "an upgrade with a coding that is almost chunked": malformed(raw(POST, UPGRADE, b"transfer-encoding: xchunked")),
    "an upgrade with a request for its body": Attack(
        raw(POST, UPGRADE, b"content-length: %d" % len(GOOD), body=GOOD + b"DELETE {s} HTTP/1.1\r\n\r\n"), 200, None
    ),
    "a chunk with words behind its length": Attack(
        raw(POST, JSON_FIELD, CHUNKED, body=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)), 200, None
    ),
    "chunks with a field after the last": Attack(
        raw(POST, JSON_FIELD, CHUNKED, body=b"%x\r\n%s\r\n0\r\nx-should-retry: true\r\n\r\n" % (len(GOOD), GOOD)),
        200,
        None,
    ),
}

FIELDS: Mapping[str, Attack] = {
    name: Attack(text(GOOD, **fields), status, code)
    for name, fields, status, code in (
        ("Accept that refuses the form", {"accept": "application/json;q=0"}, 406, "not_acceptable"),
        ("Accept that refuses everything", {"accept": "*/*;q=0"}, 406, "not_acceptable"),
        ("Accept with a quality that is no number", {"accept": "application/json;q=nan"}, 406, "not_acceptable"),
        ("Accept of 10,000 kinds", {"accept": ", ".join(["a/b"] * 10_000)}, 406, "not_acceptable"),
        ("an upgrade to another protocol", {"upgrade": "h2c", "connection": "upgrade"}, 200, None),
        ("an upgrade to a websocket", {"upgrade": "websocket", "connection": "upgrade"}, 200, None),
        ("an expectation that nobody has", {"expect": "a miracle"}, 200, None),
        ("a host that is another's", {"host": "evil.example"}, 421, "misdirected"),
        ("a host that begins as ours", {"host": "localhost.evil.example"}, 421, "misdirected"),
        ("a host that is every address", {"host": "0.0.0.0:8000"}, 421, "misdirected"),
        ("a host with a user", {"host": "localhost@evil.example"}, 400, "malformed_header"),
        ("a host of no characters", {"host": ""}, 400, "malformed_header"),
        ("a page of another site", {"origin": "https://evil.example"}, 403, "forbidden"),
        ("a page of no site", {"origin": "null", "sec-fetch-site": "cross-site"}, 403, "forbidden"),
        ("a method to be taken instead", {"x-http-method-override": "DELETE"}, 200, None),
        ("a path to be taken instead", {"x-original-url": "/metrics", "x-forwarded-prefix": "/x"}, 200, None),
        ("a media type with a charset", {"content-type": "application/json; charset=utf-7"}, 200, None),
        ("a media type in another alphabet", {"content-type": "аpplication/json"}, 415, "unsupported_media_type"),
        ("a form", {"content-type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
        ("a pickle", {"content-type": "application/x-python-pickle"}, 415, "unsupported_media_type"),
    )
}  # fmt: skip
