# Clients that are slow, leave, come too early or too late, have no key or come from a browser's page.
import concurrent.futures
import json
import os
import random
import resource
import socket
import subprocess
import threading
import time

import httpx
import pytest
from stub_server import PROBE, SANITIZED, StubServer, chat, events, read_response, request_bytes

LONG = chat("anything", max_tokens=4000, ignore_eos=True)


def ask(server, method, path, body=b"", fields=(), head=False):
    with server.connect() as sock:
        sock.sendall(request_bytes(method, path, body, fields))
        return read_response(sock, head)


# Leaving.


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_frees_the_engine_at_once(stream):
    with StubServer("--step-us=1000") as server:
        rng = random.Random(1)
        worst = 0
        for round in range(40):
            sock = server.connect()
            sock.sendall(request_bytes("POST", "/v1/chat/completions", {**LONG, "stream": stream}))
            server.wait(lambda s: s["running"] == 1, 5, "the request runs")
            time.sleep(rng.random() * 0.02)
            if stream:
                sock.recv(rng.randrange(1, 2000))
            if round % 2:
                sock.close()
            else:  # a reset, as when the client is killed with unread input
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                sock.close()
            worst = max(worst, server.wait_idle(1))
        assert worst < 0.25
        assert server.stats()["cancelled"] == 40
        server.wait(lambda s: s["connections"] == 0 and s["exchanges"] == 0, 1)


def test_who_leaves_the_queue_is_forgotten():
    with StubServer("--step-us=1000", "--slots=1") as server:
        first = server.connect()
        first.sendall(request_bytes("POST", "/v1/chat/completions", LONG))
        server.wait(lambda s: s["running"] == 1, 5)
        others = [server.connect() for _ in range(20)]
        for sock in others:
            sock.sendall(request_bytes("POST", "/v1/chat/completions", LONG))
        server.wait(lambda s: s["waiting"] == 20, 5)
        for sock in others:
            sock.close()
        server.wait(lambda s: s["waiting"] == 0, 1)
        first.close()
        server.wait_idle(1)


def test_a_killed_client_process_frees_the_engine():
    with StubServer("--step-us=1000") as server:
        code = f"import urllib.request, json; urllib.request.urlopen(urllib.request.Request('{server.url}/v1/chat/completions', json.dumps({LONG!r}).encode(), {{'Content-Type': 'application/json'}})).read()"
        import sys
        client = subprocess.Popen([sys.executable, "-c", code])
        server.wait(lambda s: s["running"] == 1, 20)
        client.kill()
        client.wait()
        assert server.wait_idle(1) < 0.25


def test_bytes_ahead_of_their_turn_are_kept_and_a_flood_of_them_is_not():
    with StubServer("--step-us=2000") as server:
        with server.connect() as sock:
            body = chat("anything", max_tokens=20, ignore_eos=True)
            sock.sendall(request_bytes("POST", "/v1/chat/completions", body) * 3)
            for _ in range(3):
                assert read_response_one(sock)[0] == 200
        with server.connect() as sock:
            sock.sendall(request_bytes("POST", "/v1/chat/completions", LONG))
            server.wait(lambda s: s["running"] == 1, 5)
            with pytest.raises(OSError):
                for _ in range(1000):
                    sock.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
            server.wait_idle(1)


_ahead = {}


def read_response_one(sock):
    """A response with a length, keeping what follows it for the next call."""
    data = _ahead.pop(sock, b"")
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    top, data = data.split(b"\r\n\r\n", 1)
    length = int(dict(line.lower().split(b": ", 1) for line in top.split(b"\r\n")[1:])[b"content-length"])
    while len(data) < length:
        data += sock.recv(65536)
    _ahead[sock] = data[length:]
    return int(top.split()[1]), data[:length]


# Slowness.


def test_slow_heads_and_bodies_are_dropped_in_time():
    with StubServer("--head-ms=1000", "--body-ms=1000", "--idle-ms=1500") as server:
        head = server.connect()
        head.sendall(b"GET /vers")
        trickle = server.connect()
        trickle.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
        silent = server.connect()
        kept = server.connect()
        kept.sendall(request_bytes("GET", "/version"))
        assert read_response(kept)[0] == 200
        begin = time.monotonic()
        stop = threading.Event()

        def drip():
            while not stop.wait(0.05):
                try:
                    head.sendall(b"x")
                    trickle.sendall(b" ")
                except OSError:
                    return

        dripper = threading.Thread(target=drip)
        dripper.start()
        for sock, first in [(head, b"HTTP/1.1 408"), (trickle, b"HTTP/1.1 408"), (silent, b""), (kept, b"")]:
            sock.settimeout(5)
            got = sock.recv(4096)
            assert got.startswith(first) and bool(got) == bool(first)
        assert time.monotonic() - begin < 3
        stop.set()
        dripper.join()
        # A body that comes steadily may take longer than the deadline.
        with server.connect() as sock:
            body = json.dumps({"prompt": " " * 30000}).encode()
            sock.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
            for at in range(0, len(body), 2000):
                sock.sendall(body[at : at + 2000])
                time.sleep(0.1)
            assert read_response(sock)[0] == 200


def test_a_stalled_reader_is_dropped_and_others_do_not_feel_it():
    with StubServer("--write-ms=1500", "--context=60000", "--pages=65536") as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        before = server.rss_bytes()
        endless = chat("anything", max_tokens=50000, ignore_eos=True, stream=True, logprobs=True, top_logprobs=20)
        sock.sendall(request_bytes("POST", "/v1/chat/completions", endless))
        begin = time.monotonic()
        server.wait(lambda s: s["stalled"] == 1, 10, "the reader is dropped")
        assert time.monotonic() - begin > 1.4
        server.wait_idle(1)
        assert server.rss_bytes() - before < 24 << 20
        sock.close()
        assert ask(server, "POST", "/v1/chat/completions", chat("<<say:x>>"))[0] == 200


def test_a_slow_reader_that_reads_gets_all():
    with StubServer("--write-ms=1500") as server:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            sock.connect(("127.0.0.1", server.port))
            body = chat("anything", max_tokens=3000, ignore_eos=True, stream=True, logprobs=True, top_logprobs=5)
            sock.sendall(request_bytes("POST", "/v1/chat/completions", body))
            data = b""
            while b"[DONE]" not in data[-200:]:
                time.sleep(0.002)
                piece = sock.recv(16384)
                assert piece, data[-500:]
                data += piece
        assert data.count(b'"finish_reason":null') == 3001
        assert server.stats()["stalled"] == 0


def test_a_silent_stream_says_that_it_lives():
    with StubServer("--step-us=700000", "--heartbeat-ms=300") as server:
        status, _, body = ask(server, "POST", "/v1/chat/completions", chat("<<say:ab>>", stream=True))
        assert status == 200 and body.count(b": keep-alive\n\n") >= 2
        assert list(events(body))[-1] == "[DONE]"


def test_many_idle_connections_cost_little():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(3000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with StubServer() as server:
        before = server.rss_bytes()
        socks = [server.connect() for _ in range(count)]
        for sock in socks:
            sock.sendall(b"GET /v")
        server.wait(lambda s: s["connections"] == count, 10)
        assert server.rss_bytes() - before < count * 16 << 10
        begin = time.monotonic()
        assert ask(server, "GET", "/version")[0] == 200
        assert time.monotonic() - begin < 0.2
        begin_cpu = server.cpu_seconds()
        time.sleep(1)
        assert server.cpu_seconds() - begin_cpu < 0.1
        for sock in socks:
            sock.close()
        server.wait(lambda s: s["connections"] == 0, 5)


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's check of a virtual call opens a pipe, and fails when it cannot")
def test_running_out_of_files_is_survived():
    with StubServer(ulimit_files=64) as server:
        socks = []
        for _ in range(200):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", server.port))
            socks.append(sock)
        time.sleep(0.5)
        begin = server.cpu_seconds()
        time.sleep(1)
        assert server.cpu_seconds() - begin < 0.05
        for sock in socks:
            sock.close()
        server.wait(lambda s: s["connections"] == 0, 5)
        assert ask(server, "GET", "/version")[0] == 200


def test_files_and_threads_come_back():
    with StubServer() as server:
        ask(server, "POST", "/v1/chat/completions", chat("<<say:x>>"))
        server.wait(lambda s: s["connections"] == 0, 5)
        files, threads = server.open_files(), len(os.listdir(f"/proc/{server.process.pid}/task"))
        for _ in range(300):
            ask(server, "POST", "/v1/chat/completions", chat("<<say:x>>", stream=True))
        server.wait(lambda s: s["connections"] == 0, 5)
        assert server.open_files() == files
        assert len(os.listdir(f"/proc/{server.process.pid}/task")) == threads


# Before and after.


def test_while_loading_all_but_live_is_503():
    with StubServer("--loading", "--api-key=k") as server:
        server.command("loading reading weights 41.26")
        key = ["Authorization: Bearer k"]
        for method, path, body in [("GET", "/health", b""), ("GET", "/health/ready", b""), ("GET", "/v1/models", b""),
                                   ("GET", "/metrics", b""), ("GET", "/version", b""), ("GET", "/nowhere", b""),
                                   ("POST", "/v1/chat/completions", chat("x")), ("POST", "/tokenize", {"prompt": "x"})]:
            status, fields, answer = ask(server, method, path, body, key)
            assert status == 503 and int(fields["retry-after"]) > 0, path
            answer = json.loads(answer)
            assert answer["stage"] == "reading weights" and answer["percent"] == 41.3
            assert answer["error"]["code"] == "loading"
        assert ask(server, "GET", "/health/live")[0] == 200
        with server.connect() as sock:  # the same connection serves on
            sock.sendall(request_bytes("GET", "/v1/models", fields=key))
            assert read_response(sock)[0] == 503
            server.command("ready")
            sock.sendall(request_bytes("GET", "/v1/models", fields=key))
            assert read_response(sock)[0] == 200
        assert ask(server, "GET", "/health")[0] == 200


def test_drain_under_load_truncates_nothing():
    for _ in range(3):
        with StubServer("--step-us=1000") as server:
            def one(index):
                stream = index % 2 == 0
                try:
                    status, fields, body = ask(server, "POST", "/v1/chat/completions",
                                               chat("anything", max_tokens=150, ignore_eos=True, stream=stream))
                except OSError:
                    return "refused"
                if status == 503:
                    assert json.loads(body)["error"]["code"] == "draining" and "retry-after" in fields
                    return "refused"
                assert status == 200
                if stream:
                    data = list(events(body))
                    assert data[-1] == "[DONE]" and json.loads(data[-2])["choices"][0]["finish_reason"] == "length"
                    assert body.count(b"[DONE]") == 1
                else:
                    assert json.loads(body)["usage"]["completion_tokens"] == 150
                return "complete"

            with concurrent.futures.ThreadPoolExecutor(48) as pool:
                answers = [pool.submit(one, i) for i in range(40)]
                server.wait(lambda s: s["running"] >= 40, 10)
                server.command("drain 30000")
                time.sleep(0.02)
                assert ask(server, "GET", "/health")[0] == 503
                assert ask(server, "GET", "/health/live")[0] == 200
                late = [pool.submit(one, i) for i in range(8)]
                assert all(answer.result() == "complete" for answer in answers)
                assert all(answer.result() == "refused" for answer in late)
            assert server.drained() == "complete"


def test_a_drain_that_takes_too_long_is_cut_and_says_so():
    with StubServer("--step-us=5000") as server:
        results = {}

        def one(stream):
            results[stream] = ask(server, "POST", "/v1/chat/completions", {**LONG, "stream": stream})

        threads = [threading.Thread(target=one, args=(stream,)) for stream in (True, False)]
        for thread in threads:
            thread.start()
        server.wait(lambda s: s["running"] == 2, 5)
        begin = time.monotonic()
        server.command("drain 500")
        assert server.drained() == "cut"
        assert 0.4 < time.monotonic() - begin < 1.5
        for thread in threads:
            thread.join()
        status, _, body = results[True]
        data = list(events(body))
        assert status == 200 and data[-1] == "[DONE]" and json.loads(data[-2])["error"]["code"] == "shutdown"
        status, _, body = results[False]
        assert status == 503 and json.loads(body)["error"]["code"] == "shutdown"
        server.wait_idle(1)


def test_a_second_signal_cuts_the_drain():
    with StubServer("--step-us=5000") as server:
        sock = server.connect()
        sock.sendall(request_bytes("POST", "/v1/chat/completions", {**LONG, "stream": True}))
        server.wait(lambda s: s["running"] == 1, 5)
        server.command("drain 30000")
        time.sleep(0.1)
        begin = time.monotonic()
        server.command("cut")
        assert server.drained() == "cut"
        assert time.monotonic() - begin < 1.5


def test_a_full_queue_is_429():
    with StubServer("--step-us=2000", "--slots=1", "--queue=2") as server:
        busy = [server.connect() for _ in range(3)]
        for sock in busy:
            sock.sendall(request_bytes("POST", "/v1/chat/completions", LONG))
        server.wait(lambda s: s["running"] + s["waiting"] == 3, 5)
        begin = time.monotonic()
        status, fields, body = ask(server, "POST", "/v1/chat/completions", {**LONG, "stream": True})
        assert time.monotonic() - begin < 0.05
        assert status == 429 and int(fields["retry-after"]) > 0
        assert json.loads(body)["error"]["code"] == "queue_full"
        for sock in busy:
            sock.close()


# Who may ask.

ROUTES = [("GET", "/v1/models"), ("GET", "/v1/models/stub"), ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"),
          ("POST", "/tokenize"), ("POST", "/detokenize"), ("POST", "/apply-template"), ("GET", "/metrics"),
          ("GET", "/version"), ("GET", "/nowhere"), ("GET", "//health"), ("GET", "/health/x"), ("GET", "/%68ealth"),
          ("GET", "/health/../metrics"), ("GET", "/health/live/"), ("DELETE", "/v1/models")]


def test_every_route_but_health_wants_the_key():
    with StubServer("--api-key=secret", "--api-key=other") as server:
        for method, path in ROUTES:
            for fields in ([], ["Authorization: Bearer wrong"], ["Authorization: Basic secret"], ["x-api-key: wrong"],
                           ["Authorization: Bearer secretx"], ["Authorization: secret"], ["X-Original-URL: /health"]):
                status, answer, body = ask(server, method, path, b"{}" if method == "POST" else b"", fields)
                assert status == 401, (method, path, fields)
                assert answer["www-authenticate"] == "Bearer"
                assert json.loads(body)["error"]["code"] == "invalid_api_key"
            for fields in (["Authorization: Bearer secret"], ["authorization: bearer other"], ["x-api-key: other"]):
                assert ask(server, method, path, b"{}" if method == "POST" else b"", fields)[0] != 401
        for path in ("/health", "/health/live", "/health/ready"):
            assert ask(server, "GET", path)[0] == 200


def test_names_other_than_localhost_are_refused():
    with StubServer() as server:
        for host, status in [("localhost", 200), (f"127.0.0.1:{server.port}", 200), ("[::1]", 200), ("evil.example", 403),
                             ("localhost.evil.example", 403), ("0.0.0.0", 403), ("127.0.0.1.nip.io", 403)]:
            with server.connect() as sock:
                sock.sendall(f"GET /version HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert read_response(sock)[0] == status, host


def test_pages_of_other_sites_are_refused():
    body = {"prompt": "x"}
    with StubServer("--cors-origin=https://chat.example") as server:
        for origin in ("https://evil.example", "null", "http://localhost:1", "https://chat.example.evil.example"):
            for method, path, data in (("GET", "/v1/models", b""), ("POST", "/tokenize", body), ("OPTIONS", "/tokenize", b"")):
                status, fields, _ = ask(server, method, path, data, [f"Origin: {origin}"])
                assert status == 403 and "access-control-allow-origin" not in fields
        status, fields, _ = ask(server, "POST", "/tokenize", body, ["Origin: https://chat.example"])
        assert status == 200 and fields["access-control-allow-origin"] == "https://chat.example"
        assert fields["vary"] == "Origin"
        status, fields, _ = ask(server, "OPTIONS", "/v1/chat/completions", fields=[
            "Origin: https://chat.example", "Access-Control-Request-Method: POST"])
        assert status == 204 and "POST" in fields["access-control-allow-methods"]
        assert "Authorization" in fields["access-control-allow-headers"]
        status, fields, _ = ask(server, "GET", "/version")
        assert not any(name.startswith("access-control") for name in fields)


def test_a_public_address_wants_a_key():
    def run(*flags):
        return subprocess.run([PROBE, *flags], input="quit\n", capture_output=True, text=True, timeout=20)

    refused = run("--host=0.0.0.0")
    assert refused.returncode == 2 and "--api-key" in refused.stderr
    assert run("--host=0.0.0.0", "--api-key=k").returncode == 0
    assert run("--host=0.0.0.0", "--public").returncode == 0
    assert run("--host=no.such.host.invalid").returncode == 2


def test_an_address_in_use_is_said_before_anything_is_loaded():
    with StubServer() as server:
        other = subprocess.run([PROBE, f"--port={server.port}"], input="", capture_output=True, text=True, timeout=20)
        assert other.returncode == 6 and str(server.port) in other.stderr


def test_a_unix_socket(tmp_path):
    path = str(tmp_path / "nibble.sock")
    with StubServer(f"--unix={path}"):
        assert os.stat(path).st_mode & 0o777 == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
            assert client.get("http://any.name/v1/models").status_code == 200
        other = subprocess.run([PROBE, f"--unix={path}"], input="", capture_output=True, text=True, timeout=20)
        assert other.returncode == 6
    assert not os.path.exists(path)
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()  # a socket file whose server is gone
    with StubServer(f"--unix={path}"):
        pass
    with open(path, "w") as file:
        file.write("mine")
    other = subprocess.run([PROBE, f"--unix={path}"], input="", capture_output=True, text=True, timeout=20)
    assert other.returncode == 6 and open(path).read() == "mine"


def test_one_socket_listens():
    with StubServer() as server:
        inodes = {os.readlink(f"/proc/{server.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{server.process.pid}/fd")}
        listening = 0
        for table in ("tcp", "tcp6", "udp", "udp6"):
            with open(f"/proc/net/{table}") as file:
                for line in list(file)[1:]:
                    fields = line.split()
                    if f"socket:[{fields[9]}]" in inodes and (fields[3] == "0A" or table.startswith("udp")):
                        listening += 1
        assert listening == 1


def test_errors_tell_nothing_of_the_inside():
    with StubServer() as server:
        for path, body in [("/v1/chat/completions", chat("very-secret-words", temperature=9)),
                           ("/v1/chat/completions", b"{bad"), ("/v1/completions", {"prompt": {"a": 1}})]:
            text = ask(server, "POST", path, body)[2].decode()
            for word in ("/work", "/usr", "std::", "boost", "simdjson", "nlohmann", "0x", ".cpp", "very-secret-words"):
                assert word not in text, text


def test_log_lines_have_figures_and_no_prompt():
    process = subprocess.Popen([PROBE, "--log"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    port = int(process.stdout.readline().split()[1])
    process.stdin.write("stats\n")
    process.stdin.flush()
    process.stdout.readline()  # the model is there
    body = {**chat("secret-prompt <<say:secret-answer>>"), "stream": True}
    httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, headers={"x-request-id": "abc"})
    process.stdin.write("quit\n")
    process.stdin.close()
    log = process.stderr.read()
    process.wait(timeout=20)
    assert "secret" not in log
    assert "request abc chat stream prompt=" in log and "tokens=" in log and "ttft=" in log and "finish=stop" in log
