"""The checkpoint_probe program as an object: one request, one answer."""

import os
import subprocess
from pathlib import Path


class Refused(Exception):
    """The room's error, as its code and message."""


class Probe:
    def __init__(self):
        program = Path(os.environ["TEST_BIN"]) / "checkpoint_probe"
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=30) == 0

    def ask(self, *fields) -> list[str]:
        self.process.stdin.write("\t".join(map(str, fields)).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().decode()
        assert line.endswith("\n"), "the probe died"
        word, _, rest = line.strip().partition(" ")
        if word == "error":
            raise Refused(rest)
        assert word == "ok", line
        return rest.split()

    def read(self, path) -> dict[str, tuple[str, list[int], bytes]]:
        (count,) = self.ask("read", path)
        tensors = {}
        for _ in range(int(count)):
            name, dtype, shape, data = self.process.stdout.readline().decode().rstrip("\n").split("\t")
            tensors[bytes.fromhex(name).decode()] = (dtype, [int(n) for n in shape.split(",") if n], bytes.fromhex(data))
        return tensors
