# Behind nginx (where it is installed), with its plain settings: streams arrive as they are made, and who leaves the proxy
# leaves the engine.
import json
import shutil
import socket
import subprocess
import time

import pytest
from stub_server import StubServer, chat, read_response, request_bytes

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(params=["1.0", "1.1"])
def proxied(request, tmp_path):
    with StubServer("--step-us=20000") as server:
        port = free_port()
        keep = 'proxy_http_version 1.1; proxy_set_header Connection "";' if request.param == "1.1" else ""
        (tmp_path / "nginx.conf").write_text(f"""
            daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;
            events {{ worker_connections 256; }}
            http {{
                access_log off;
                client_body_temp_path {tmp_path}/a; proxy_temp_path {tmp_path}/b; fastcgi_temp_path {tmp_path}/c;
                uwsgi_temp_path {tmp_path}/d; scgi_temp_path {tmp_path}/e;
                upstream nibble {{ server 127.0.0.1:{server.port}; keepalive 8; }}
                server {{
                    listen 127.0.0.1:{port};
                    location / {{ proxy_pass http://nibble; {keep} proxy_set_header Host localhost; }}
                }}
            }}""")
        process = subprocess.Popen([NGINX, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)],
                                   stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield server, port
        finally:
            process.terminate()
            process.wait()


def test_answers_and_streams_pass_through(proxied):
    server, port = proxied
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(request_bytes("POST", "/v1/chat/completions", chat("<<say:Hello>>")))
            status, _, body = read_response(sock)
            assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == "Hello"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        begin = time.monotonic()
        body = chat("x", stream=True, max_tokens=50, ignore_eos=True)
        sock.sendall(request_bytes("POST", "/v1/chat/completions", body, ["Connection: close"]))
        first, data = None, b""
        while piece := sock.recv(65536):
            data += piece
            if first is None and b"data: " in data:
                first = time.monotonic() - begin
        whole = time.monotonic() - begin
    assert data.count(b"data: ") == 53 and b"[DONE]" in data
    # Fifty steps of 20 ms: the first event did not wait for the others.
    assert whole > 0.9 and first < whole / 3


def test_who_leaves_the_proxy_frees_the_engine(proxied):
    server, port = proxied
    for stream in (True, False):
        sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        sock.sendall(request_bytes("POST", "/v1/chat/completions",
                                   chat("x", stream=stream, max_tokens=4000, ignore_eos=True)))
        server.wait(lambda s: s["running"] == 1, 5)
        time.sleep(0.1)
        sock.close()
        assert server.wait_idle(2) < 1
