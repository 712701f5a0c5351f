"""Wildcards against Python's fnmatch, and JSON against Python's json: what transformers would not read, we do not either."""

import fnmatch
import json
import os
import random
from pathlib import Path

import pytest
from checkpoint.probe import Probe, Refused

MODELS = Path(os.environ["TEST_SOURCE"]) / "models"


@pytest.fixture(scope="module")
def probe():
    probe = Probe()
    yield probe
    probe.close()


def test_wildcards_match_as_fnmatch_does(probe):
    rng = random.Random(1)
    matched = 0
    for _ in range(20_000):
        pattern = "".join(rng.choice("ab.*?[]!-") for _ in range(rng.randint(0, 8)))
        module = "".join(rng.choice("ab.]-![") for _ in range(rng.randint(0, 8)))
        expected = fnmatch.fnmatchcase(module, pattern)
        assert probe.ask("matches", pattern.encode().hex(), module.encode().hex()) == [str(int(expected))], (pattern, module)
        matched += expected
    assert matched > 500


def python_reads(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data.decode("utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def test_published_configs_are_read(probe):
    files = list(MODELS.glob("*/*.json"))
    assert len(files) >= 9
    for file in files:
        probe.ask("config", file)


def test_what_python_cannot_read_is_refused(probe, tmp_path):
    rng = random.Random(2)
    seeds = [(MODELS / "NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4" / "config.json").read_bytes()]
    seeds += [b'{"a":[0.0,Infinity],"b":-Infinity,"c":NaN,"d":{"e":[1e-05,-0,true,null,"\\u00e9 NaN \\""]}}', b"{}"]
    pieces = [b"NaN", b"Infinity", b"null", b"\n", b"\xff", b"\xc3", b"\\u", *(bytes([c]) for c in b'-"\\{}[],:0.e ')]
    accepted = refused = 0
    for _ in range(8_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.randint(0, 2)] = rng.choice(pieces)
        (tmp_path / "c").write_bytes(data)
        try:
            probe.ask("config", tmp_path / "c")
        except Refused as reason:
            refused += 1
            stricter = "twice" in str(reason) or "parsing a number" in str(reason)  # beyond a double: infinite to Python
            assert stricter or not python_reads(bytes(data)), (str(reason), bytes(data))
            continue
        assert python_reads(bytes(data)), bytes(data)
        accepted += 1
    assert accepted > 500 and refused > 500
