"""serve on a host whose memory ends: the kernel's figures are replaced under a server of its own mount namespace."""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
import time

import pytest

import served

GIB_IN_KB = 1 << 20
OK, DEVICE = 0, 5


class Host:
    """A /proc/meminfo that the test writes. `binary` runs nibble where it stands for the kernel's."""

    def __init__(self, folder, binary):
        self.meminfo = folder / "meminfo"
        self.binary = folder / "nibble"
        inner = f"mount --bind {shlex.quote(str(self.meminfo))} /proc/meminfo && exec {shlex.quote(str(binary))} \"$@\""
        self.binary.write_text(f"#!/bin/sh\nexec unshare --mount sh -c {shlex.quote(inner)} nibble \"$@\"\n")
        self.binary.chmod(0o755)
        self.servers = []
        self.available(100)

    def serve(self, *arguments) -> served.Server:
        self.servers.append(served.Server(self.binary, [*arguments, "--device", "cpu"]))
        self.servers[-1].wait_until_ready()
        return self.servers[-1]

    def available(self, gib: float) -> None:
        text = f"MemTotal:       {121 * GIB_IN_KB} kB\nMemFree:            1000 kB\nMemAvailable:   {int(gib * GIB_IN_KB)} kB\n"
        self.meminfo.write_text(text)  # in place: the mount is of this very file


@pytest.fixture
def host(tmp_path, binary):
    made = Host(tmp_path, binary)
    tried = subprocess.run([made.binary, "version"], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode != OK:
        pytest.skip(f"no mount namespace can be had here: {tried.stderr.strip()}")
    yield made
    for server in made.servers:
        server.kill()


@pytest.fixture
def nano(source):
    return source / "tests" / "golden" / "nano-nvfp4"


def completion(server, max_tokens: int):
    body = {"prompt": [5, 6, 7], "max_tokens": max_tokens, "ignore_eos": True}
    return server.request("POST", "/v1/completions", body)


def until(condition, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_new_work_is_refused_before_memory_ends_and_taken_again_after(host, nano):
    server = host.serve(nano)
    assert completion(server, 4)[0] == 200
    host.available(6)
    assert until(lambda: server.request("GET", "/health")[0] == 503)
    status, fields, answer = completion(server, 4)
    assert status == 503 and fields["Retry-After"] == "5"
    assert answer["error"]["code"] == "overloaded" and "6.00 GiB of 121.00 GiB" in answer["error"]["message"]
    assert server.request("GET", "/health/live")[0] == 200
    metrics = server.request("GET", "/metrics")
    assert metrics[0] == 200 and re.search(r"^nibble_admission_open{.*} 0$", metrics[2].decode(), re.MULTILINE)
    host.available(8.5)  # between the limits: as it was
    time.sleep(0.5)
    assert completion(server, 4)[0] == 503
    host.available(60)
    assert until(lambda: completion(server, 4)[0] == 200)


def test_what_waits_is_ended_and_what_runs_goes_on(host, nano):
    server = host.serve(nano, "--max-num-seqs", 1, "--max-queue", 200)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(completion(server, 400))) for _ in range(100)]
    for thread in threads:
        thread.start()
    assert until(lambda: len(answers) > 0)
    host.available(2)
    for thread in threads:
        thread.join(timeout=60)
    done = [answer for status, _, answer in answers if status == 200]
    shed = [answer for status, _, answer in answers if status == 503]
    assert len(done) + len(shed) == 100 and done and shed
    assert all(answer["usage"]["completion_tokens"] == 400 for answer in done)
    assert all("short of memory" in answer["error"]["message"] for answer in shed)
    assert "those that wait are ended" in server.log()


def test_readings_that_cannot_be_true_are_refused_with_both(host, nano):
    host.available(-35.63)
    plan = [host.binary, "plan", nano, "--device", "cpu"]
    result = subprocess.run(plan, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == DEVICE
    assert "MemTotal 121.00 GiB" in result.stderr and "MemAvailable -38" in result.stderr

