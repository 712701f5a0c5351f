"""Starts tests/clients/stub_server_probe and speaks to it: the fixtures of the client tests.

The probe is found through TEST_BIN (ctest sets it)."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time

SANITIZED = any(word in os.environ.get("TEST_BUILD", "") for word in ("asan", "tsan"))
PROBE = os.path.join(os.environ.get("TEST_BIN", "."), "stub_server_probe")


class StubServer:
    def __init__(self, *flags, ulimit_files=None, environment=None):
        command = [PROBE, *flags]
        if ulimit_files:
            command = ["bash", "-c", f'ulimit -n {ulimit_files}; exec "$@"', "probe", *command]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                        env={**os.environ, **(environment or {})})
        self._lines, self._drained = queue.Queue(), queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        first = self._lines.get(timeout=30)
        assert first.startswith("PORT "), first
        self.port = int(first.split()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.command("stats")  # answered once the model is there (or, with --loading, could be)

    def _read(self):
        for line in self.process.stdout:
            (self._drained if line.startswith("DRAINED") else self._lines).put(line.strip())
        self._lines.put("")

    def command(self, text):
        self.process.stdin.write(text + "\n")
        return self._lines.get(timeout=30)

    def stats(self):
        return json.loads(self.command("stats"))

    def drained(self, timeout=60):
        return self._drained.get(timeout=timeout).split()[1]

    def wait(self, condition, seconds, what=""):
        """Until condition(stats) holds; the time it took."""
        begin = time.monotonic()
        while True:
            stats = self.stats()
            if condition(stats):
                return time.monotonic() - begin
            assert time.monotonic() - begin < seconds, f"{what}: {stats}"
            time.sleep(0.002)

    def wait_idle(self, seconds=5):
        return self.wait(lambda s: not (s["running"] or s["waiting"] or s["pages_used"] or s["slots_used"]), seconds)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        with contextlib.suppress(BrokenPipeError, OSError):
            self.process.stdin.write("quit\n")
            self.process.stdin.close()
        code = self.process.wait(timeout=30)
        assert code == 0, f"the server ended with {code}"

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def connect(self, timeout=10):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)


def request_bytes(method, path, body=b"", fields=(), version="1.1"):
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *fields]
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_response(sock, head=False):
    """One response: status, fields (lower case), body. Chunked or with a length; else to the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None if not data else (0, {}, data)
        data += piece
    top, data = data.split(b"\r\n\r\n", 1)
    lines = top.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    fields = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
    if status == 100:
        rest = read_response_from(sock, data)
        return rest
    if head or status in (204, 304):
        return status, fields, b""
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            while b"\r\n" not in data:
                data += sock.recv(65536)
            size, data = data.split(b"\r\n", 1)
            size = int(size, 16)
            while len(data) < size + 2:
                piece = sock.recv(65536)
                assert piece, "the connection ended inside a chunk"
                data += piece
            body, data = body + data[:size], data[size + 2 :]
            if size == 0:
                return status, fields, body
    if "content-length" in fields:
        while len(data) < int(fields["content-length"]):
            piece = sock.recv(65536)
            assert piece, "the connection ended inside a body"
            data += piece
        assert len(data) == int(fields["content-length"]), "more bytes than Content-Length"
        return status, fields, data
    while piece := sock.recv(65536):
        data += piece
    return status, fields, data


def read_response_from(sock, data):
    class Ahead:
        def __init__(self):
            self.data = data

        def recv(self, n):
            if self.data:
                out, self.data = self.data[:n], self.data[n:]
                return out
            return sock.recv(n)

    return read_response(Ahead())


def events(body):
    """The data of each event of a stream; comments are skipped."""
    for event in body.decode().split("\n\n"):
        for line in event.split("\n"):
            if line.startswith("data: "):
                yield line[6:]


def chat(text, **fields):
    return {"model": "stub", "messages": [{"role": "user", "content": text}], **fields}
