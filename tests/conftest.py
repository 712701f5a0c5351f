"""Fixtures of every Python test: the binary, a tiny model, a server.

TEST_NIBBLE names the binary (tests/CMakeLists.txt sets it). The environment of nibble is cleaned of NIBBLE_ variables, so
that a developer's own do not reach the tests.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import served
import tiny_model


@pytest.fixture(scope="session")
def binary() -> Path:
    path = os.environ.get("TEST_NIBBLE")
    if not path:
        pytest.skip("TEST_NIBBLE does not name the binary")
    return Path(path)


@pytest.fixture(scope="session")
def source() -> Path:
    return Path(os.environ.get("TEST_SOURCE", Path(__file__).resolve().parent.parent))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A Llama of 60,000 random weights with a byte-level tokenizer and a chat template."""
    return tiny_model.write(tmp_path_factory.mktemp("model") / "tiny-llama")


@pytest.fixture
def nibble(binary):
    """Runs the binary to its end: nibble("run", folder, env={...}, stdin="...") -> CompletedProcess of text."""

    def run(*arguments, env=None, stdin="", timeout=60) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(binary), *map(str, arguments)],
            input=stdin,
            env={**served.clean_environment(), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def serve(binary):
    """Starts servers that end with the test: serve(folder, "--port", "0") -> served.Server."""
    servers = []

    def start(*arguments, env=None, ready=True) -> served.Server:
        server = served.Server(binary, arguments, env)
        servers.append(server)
        if ready:
            server.wait_until_ready()
        return server

    yield start
    for server in servers:
        server.kill()
