"""A nibble server as a child process, for tests."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("NIBBLE_")}


class Server:
    """`nibble serve ARGUMENTS`, with --port 0 unless arguments say where; its stderr in log()."""

    def __init__(self, binary: Path, arguments, env=None):
        arguments = [str(argument) for argument in arguments]
        if "--port" not in arguments and "--uds" not in arguments:
            arguments += ["--port", "0"]
        self._log = tempfile.NamedTemporaryFile(prefix="nibble-test-", suffix=".log")
        self.process = subprocess.Popen(
            [str(binary), "serve", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**clean_environment(), **(env or {})},
        )
        self._port: int | None = None

    def log(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    @property
    def port(self) -> int:
        """Known once the server listens, which is before the model is there."""
        end = time.monotonic() + 60
        while self._port is None:
            if found := re.search(r"listening on http://[^\s\"]+:(\d+)", self.log()):
                self._port = int(found[1])
            elif self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server does not listen (status {self.process.poll()}):\n{self.log()}")
            else:
                time.sleep(0.01)
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_until_ready(self, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with status {self.process.returncode}:\n{self.log()}")
            try:
                if self.request("GET", "/health")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"the server is not ready after {seconds} s:\n{self.log()}")

    def request(self, method: str, path: str, body=None, headers=None, timeout: float = 60):
        """(status, headers, body); a body that is no string or bytes is sent as JSON, a JSON answer comes parsed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            content = reply.read()
        finally:
            connection.close()
        if (reply.getheader("Content-Type") or "").startswith("application/json"):
            content = json.loads(content) if content else None
        return reply.status, dict(reply.getheaders()), content

    def stop(self, with_signal=signal.SIGTERM, seconds: float = 60) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self._log.close()
