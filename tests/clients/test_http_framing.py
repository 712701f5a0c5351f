# Raw bytes: what must be refused is refused and the connection closed; what is unusual and right is answered.
import json
import re
import socket
import threading
import time

import h11
import pytest
from stub_server import StubServer, chat, events, read_response, request_bytes


@pytest.fixture(scope="module")
def server():
    with StubServer() as one:
        yield one


def answer(server, data, *, shut=False):
    """Everything that comes back until the server closes."""
    with server.connect() as sock:
        sock.sendall(data)
        if shut:
            sock.shutdown(socket.SHUT_WR)
        out = b""
        sock.settimeout(5)
        while True:
            try:
                piece = sock.recv(65536)
            except ConnectionResetError:
                return out
            if not piece:
                return out
            out += piece


def post(fields, body=b""):
    return b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n" + body


J = b'{"prompt":"x"}'
# A second request hides in the body, were the framing read otherwise.
SMUGGLED = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"

REFUSED = {
    "cl_te": post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "te_cl": post(b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", b"0\r\n\r\n" + SMUGGLED),
    "te_te": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n" + SMUGGLED),
    "te_obfuscated_space": post(b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "te_obfuscated_tab": post(b"Transfer-Encoding:\tchunked, x\r\n", b"0\r\n\r\n"),
    "te_xchunked": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "te_gzip": post(b"Transfer-Encoding: gzip\r\n", b"xx"),
    "te_gzip_chunked": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "te_quoted": post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "te_vertical_tab": post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "te_folded": post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "te_in_1_0": b"POST /tokenize HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "cl_twice_same": post(b"Content-Length: 14\r\nContent-Length: 14\r\n", J),
    "cl_twice_different": post(b"Content-Length: 14\r\nContent-Length: 0\r\n", J),
    "cl_list": post(b"Content-Length: 14, 14\r\n", J),
    "cl_plus": post(b"Content-Length: +14\r\n", J),
    "cl_minus": post(b"Content-Length: -14\r\n", J),
    "cl_hex": post(b"Content-Length: 0xe\r\n", J),
    "cl_space": post(b"Content-Length: 1 4\r\n", J),
    "cl_empty": post(b"Content-Length:\r\n", J),
    "cl_float": post(b"Content-Length: 14.0\r\n", J),
    "cl_exponent": post(b"Content-Length: 1e1\r\n", J),
    "cl_underscore": post(b"Content-Length: 1_4\r\n", J),
    "cl_huge": post(b"Content-Length: 184467440737095516150\r\n", J),
    "cl_wraps": post(b"Content-Length: 18446744073709551630\r\n", J),
    "cl_letters": post(b"Content-Length: abc\r\n", J),
    "bare_lf_everywhere": b"POST /tokenize HTTP/1.1\nHost: localhost\nContent-Length: 14\n\n" + J,
    "bare_lf_in_fields": post(b"X: y\nContent-Length: 14\r\n", J),
    "bare_lf_end": b"GET /version HTTP/1.1\r\nHost: localhost\r\n\n",
    "bare_cr": post(b"X: y\rContent-Length: 14\r\n", J),
    "cr_cr_lf": post(b"X: y\r\r\nContent-Length: 14\r\n", J),
    "folded_space": post(b"X: y\r\n z\r\nContent-Length: 14\r\n", J),
    "folded_tab": post(b"X: y\r\n\tz\r\n", J),
    "folded_first": b"POST /tokenize HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "nul_in_value": post(b"X: a\x00b\r\n", J),
    "nul_in_name": post(b"X\x00: b\r\n", J),
    "control_in_value": post(b"X: \x01\r\n", J),
    "delete_in_value": post(b"X: \x7f\r\n", J),
    "space_in_name": post(b"X Y: z\r\n", J),
    "no_colon": post(b"X\r\n", J),
    "empty_name": post(b": x\r\n", J),
    "name_not_ascii": post("X\u00e9: y\r\n".encode(), J),
    "no_host": b"GET /version HTTP/1.1\r\n\r\n",
    "two_hosts": b"GET /version HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "empty_host": b"GET /version HTTP/1.1\r\nHost: \r\n\r\n",
    "host_with_user": b"GET /version HTTP/1.1\r\nHost: a@localhost\r\n\r\n",
    "host_with_path": b"GET /version HTTP/1.1\r\nHost: localhost/x\r\n\r\n",
    "host_with_comma": b"GET /version HTTP/1.1\r\nHost: localhost, evil\r\n\r\n",
    "host_with_bad_port": b"GET /version HTTP/1.1\r\nHost: localhost:99999\r\n\r\n",
    "absolute_form": b"GET http://localhost/version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "authority_form": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "asterisk": b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "fragment": b"GET /version#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "backslash": b"GET \\version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "relative": b"GET version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two_spaces": b"GET  /version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tab_separators": b"GET\t/version\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    "trailing_space": b"GET /version HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    "no_version": b"GET /version\r\nHost: localhost\r\n\r\n",
    "lower_case_version": b"GET /version http/1.1\r\nHost: localhost\r\n\r\n",
    "long_version": b"GET /version HTTP/1.11\r\nHost: localhost\r\n\r\n",
    "leading_space": b" GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two_empty_lines_first": b"\r\n\r\nGET /version HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls_hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "not_http": b"\x00\x01\x02\x03",
    "utf8_target": "GET /\u00e9 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    "two_authorizations": b"GET /version HTTP/1.1\r\nHost: localhost\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
}


def chunked(body):
    return post(b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n", body)


REFUSED |= {
    "chunk_plus": chunked(b"+e\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_minus": chunked(b"-e\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_0x": chunked(b"0xe\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_space_before": chunked(b" e\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_space_after": chunked(b"e \r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_tab_after": chunked(b"e\t\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_empty_size": chunked(b"\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_letters": chunked(b"xyz\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_overflow": chunked(b"fffffffffffffffff\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_wraps": chunked(b"1000000000000000e\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_extension": chunked(b"e;a=b\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_extension_name": chunked(b"e;a\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_extension_quoted": chunked(b'e;a="\r\n' + J + b"\r\n0\r\n\r\n"),
    "chunk_last_extension": chunked(b"e\r\n" + J + b"\r\n0;a=b\r\n\r\n"),
    "chunk_bare_lf": chunked(b"e\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_lf_in_size": chunked(b"\ne\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_data_lf": chunked(b"e\r\n" + J + b"\n0\r\n\r\n"),
    "chunk_data_long": chunked(b"d\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_data_short": chunked(b"f\r\n" + J + b"\r\n0\r\n\r\n"),
    "chunk_end_lf": chunked(b"e\r\n" + J + b"\r\n0\n\n" + SMUGGLED),
    "chunk_size_line_endless": chunked(b"0" * 5000),
    "chunk_trailer": chunked(b"e\r\n" + J + b"\r\n0\r\nX: y\r\n\r\n"),
    "chunk_trailer_length": chunked(b"e\r\n" + J + b"\r\n0\r\nContent-Length: 99\r\n\r\n"),
    "chunk_trailer_folded": chunked(b"e\r\n" + J + b"\r\n0\r\nX: y\r\n z\r\n\r\n"),
    "chunk_trailer_endless": chunked(b"e\r\n" + J + b"\r\n0\r\n" + b"X: y\r\n" * 3000),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_closed(server, name):
    out = answer(server, REFUSED[name], shut=name == "chunk_data_short")
    assert out.startswith(b"HTTP/1.1 400 "), out[:200]
    head, body = out.split(b"\r\n\r\n", 1)
    assert b"Connection: close" in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", out)) == 1, "a smuggled request was answered"


def test_there_are_enough_cases():
    assert len(REFUSED) >= 90


def test_versions_and_expectations(server):
    assert answer(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 505 ")
    assert answer(server, b"GET / HTTP/1.9\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 505 ")
    assert answer(server, post(b"Expect: tea\r\nContent-Length: 14\r\n", J)).startswith(b"HTTP/1.1 417 ")


def test_limits(server):
    big = b"X: " + b"a" * 40000 + b"\r\n"
    assert answer(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + big + b"\r\n").startswith(b"HTTP/1.1 431 ")
    many = b"".join(b"X%d: y\r\n" % i for i in range(200))
    assert answer(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert answer(server, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 414 ")
    assert answer(server, post(b"Content-Length: 9000000\r\n")).startswith(b"HTTP/1.1 413 ")
    assert answer(server, post(b"Content-Length: 999999999999999999\r\n")).startswith(b"HTTP/1.1 413 ")


def test_an_endless_chunked_body_is_refused(server):
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with server.connect() as sock:
        sock.sendall(chunked(b""))
        try:
            for _ in range(400):
                sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        sock.settimeout(10)
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_million_tiny_chunks_cost_no_memory():
    piece = b"1\r\n \r\n" * 50000

    def send(server, pieces):
        with server.connect() as sock:
            sock.sendall(chunked(b""))
            for _ in range(pieces):
                sock.sendall(piece)
            sock.sendall(b"e\r\n" + J + b"\r\n0\r\n\r\n")
            sock.settimeout(20)
            assert read_response(sock)[0] == 200

    # AddressSanitizer keeps what is freed for a while, which is no use of memory of the server's
    with StubServer(environment={"ASAN_OPTIONS": "quarantine_size_mb=0"}) as server:
        send(server, 1)
        before = server.rss_bytes()
        send(server, 20)
        assert server.rss_bytes() - before < 8 << 20


def test_chunked_requests_cut_anywhere(server):
    data = chunked(b"5\r\n" + J[:5] + b"\r\n00009\r\n" + J[5:] + b"\r\n0\r\n\r\n")
    for cut in range(1, len(data), 3):
        with server.connect() as sock:
            sock.sendall(data[:cut])
            time.sleep(0.001)
            sock.sendall(data[cut:])
            status, _, body = read_response(sock)
            assert status == 200 and json.loads(body)["count"] == 1


def test_keep_alive_and_pipelining(server):
    with server.connect() as sock:
        for _ in range(3):
            sock.sendall(request_bytes("GET", "/version"))
            assert read_response(sock)[0] == 200
    one = request_bytes("POST", "/tokenize", {"prompt": "abc"})
    with server.connect() as sock:
        sock.sendall(request_bytes("GET", "/version") + one + request_bytes("GET", "/nowhere") + one
                     + request_bytes("GET", "/version", fields=["Connection: close"]))
        data = b""
        while piece := sock.recv(65536):
            data += piece
    connection = h11.Connection(h11.CLIENT)
    statuses = []
    for _ in range(5):
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                statuses.append(event.status_code)
            if isinstance(event, (h11.EndOfMessage, h11.PAUSED.__class__)):
                break
        data = connection.trailing_data[0]
    assert statuses == [200, 200, 404, 200, 200]
    assert data == b""


def test_a_thousand_pipelined_requests(server):
    with server.connect() as sock:
        def send():
            sock.sendall(request_bytes("GET", "/health") * 5000)
        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(0.2)
        data = b""
        while data.count(b"HTTP/1.1 200 OK") < 5000 or not data.endswith(b"}"):
            piece = sock.recv(1 << 20)
            assert piece
            data += piece
        sender.join()
        assert data.count(b"HTTP/1.1 200 OK") == 5000


def test_head_options_and_wrong_methods(server):
    def ask(method, path, **more):
        with server.connect() as sock:
            sock.sendall(request_bytes(method, path, **more))
            return read_response(sock, head=method == "HEAD")

    get = ask("GET", "/v1/models")
    head = ask("HEAD", "/v1/models")
    assert head[0] == 200 and head[1]["content-length"] == str(len(get[2])) and head[2] == b""
    status, fields, body = ask("OPTIONS", "/v1/chat/completions")
    assert status == 204 and fields["allow"] == "POST, OPTIONS" and "access-control-allow-origin" not in fields
    assert ask("OPTIONS", "*")[0] == 204
    for method, path in [("GET", "/v1/chat/completions"), ("POST", "/v1/models"), ("DELETE", "/v1/models"),
                         ("PUT", "/tokenize"), ("TRACE", "/version"), ("HEAD", "/tokenize"), ("get", "/version")]:
        status, fields, body = ask(method, path)
        assert status == 405 and "allow" in fields, (method, path)
    assert ask("POST", "/v1/models", fields=["X-HTTP-Method-Override: GET"], body=b"{}")[0] == 405


def test_paths_are_not_normalised(server):
    def status(path):
        with server.connect() as sock:
            sock.sendall(request_bytes("GET", path))
            return read_response(sock)[0]

    assert status("/v1/models") == 200
    assert status("/v1/models?x=1") == 200
    for path in ["//v1/models", "/v1//models", "/v1/./models", "/v1/x/../models", "/v1/%6dodels", "/V1/models",
                 "/v1/models%00", "/v1/models;x", "/", "/v1", "/metrics/", "/health/", "/health/x"]:
        assert status(path) == 404, path
    assert status("/v1/models/") == 404
    assert status("/v1/models/stub%2") == 404
    assert status("/v1/models/org%2Fstub-model") == 200
    assert status("/v1/models/org/stub-model") == 200


def test_bodies_must_be_plain_json(server):
    def status(*fields, body=J):
        with server.connect() as sock:
            sock.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
                         + b"".join(f.encode() + b"\r\n" for f in fields) + b"\r\n" + body)
            return read_response(sock)[0]

    assert status() == 200
    assert status("Content-Type: application/json; charset=utf-8") == 200
    assert status("Content-Type: Application/JSON") == 200
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx",
                 "json", "text/json"]:
        assert status("Content-Type: " + kind) == 415, kind
    assert status("Content-Encoding: identity") == 200
    for coding in ["gzip", "br", "deflate", "gzip, identity"]:
        assert status("Content-Encoding: " + coding) == 415, coding
    for body in [b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b'{"prompt":"x"}x', b'{"prompt":NaN}', b"{'prompt':1}",
                 b'{"prompt":"\xff"}', b'{"prompt":"\\ud800\xc0"}', b'\xef\xbb\xbf{"prompt":"x"', b'{"prompt":01}',
                 b'{"prompt":"x",}', b'{"prompt":"a\nb"}', b'{"prompt":1e999}']:
        assert status(body=body) == 400, body


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b'{"prompt":"x","a":' + b"[" * 65 + b"]" * 65 + b"}"])
def test_deep_json_is_refused_at_once(server, text):
    begin = time.monotonic()
    with server.connect() as sock:
        sock.sendall(request_bytes("POST", "/tokenize", text))
        assert read_response(sock)[0] == 400
    assert time.monotonic() - begin < 0.5


def test_expect_continue(server):
    with server.connect() as sock:
        sock.sendall(post(b"Expect: 100-continue\r\nContent-Length: 14\r\n"))
        sock.settimeout(5)
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(J)
        assert read_response(sock)[0] == 200
    with server.connect() as sock:  # no body is asked for when it will not be taken
        sock.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n")
        status, fields, _ = read_response(sock)
        assert status == 404 and fields["connection"] == "close"


def test_http_1_0(server):
    with server.connect() as sock:
        sock.sendall(b"GET /version HTTP/1.0\r\n\r\n")
        status, fields, body = read_response(sock)
        assert status == 200 and fields["connection"] == "close"
        assert sock.recv(10) == b""
    with server.connect() as sock:
        sock.sendall(b"GET /version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
        assert b"keep-alive" in sock.recv(65536)
    with server.connect() as sock:  # a stream has no chunks, and ends with the connection
        body = json.dumps(chat("<<say:Hello>>", stream=True)).encode()
        sock.sendall(request_bytes("POST", "/v1/chat/completions", body, version="1.0"))
        status, fields, body = read_response(sock)
        assert "transfer-encoding" not in fields and list(events(body))[-1] == "[DONE]"


def test_streams_are_well_formed_http(server):
    connection = h11.Connection(h11.CLIENT)
    body = json.dumps(chat("anything", stream=True, max_tokens=300, ignore_eos=True)).encode()
    with server.connect() as sock:
        sock.sendall(connection.send(h11.Request(method="POST", target="/v1/chat/completions", headers=[
            ("Host", "localhost"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))])))
        sock.sendall(connection.send(h11.Data(data=body)))
        data, response = b"", None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(sock.recv(65536))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                data += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
        fields = dict(response.headers)
        assert fields[b"content-type"].startswith(b"text/event-stream")
        assert fields[b"cache-control"] == b"no-cache"
        assert b"\r" not in data  # data lines end in LF alone
        assert data.endswith(b"data: [DONE]\n\n")
        for line in data.decode().split("\n"):
            assert line == "" or line.startswith("data: ")
        sock.sendall(request_bytes("GET", "/version"))  # the connection goes on
        assert read_response(sock)[0] == 200


def test_random_bytes_never_end_the_server(server):
    import random
    rng = random.Random(1)
    seeds = [v for v in REFUSED.values()] + [post(b"Content-Length: 14\r\n", J), chunked(b"e\r\n" + J + b"\r\n0\r\n\r\n")]
    for _ in range(1500):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(6)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = bytes(rng.randrange(256) for _ in range(rng.randrange(4)))
        with server.connect() as sock:
            try:
                sock.sendall(bytes(data) or b"x")
                sock.shutdown(socket.SHUT_WR)
                out = b""
                while piece := sock.recv(65536):
                    out += piece
            except OSError:
                continue
            for part in out.split(b"HTTP/1.1 ")[1:]:
                assert not part.startswith(b"5") or part.startswith(b"505"), part[:200]
    assert server.stats()["exchanges"] == 0
