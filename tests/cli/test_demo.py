"""The model `demo`, which is compiled in: every verb takes it, and it is the files of the folder that it was made of. A build
without it says so."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess

import pytest

import served
import tiny_model

OK, USAGE, MODEL = 0, 2, 3


@pytest.fixture
def demo(nibble):
    result = nibble("plan", "demo")
    if result.returncode == MODEL and "built without the demo model" in result.stderr:
        pytest.skip("this build has no demo model")
    assert result.returncode == OK, result.stderr


def test_without_it_the_errors_say_so(nibble):
    result = nibble("audit", "demo")
    if result.returncode == OK:
        pytest.skip("this build has a demo model")
    assert result.returncode == MODEL and "built without the demo model" in result.stderr and "./demo" in result.stderr
    for verb in ("run", "serve"):
        result = nibble(verb)
        assert result.returncode == USAGE and "MODEL is required" in result.stderr


def test_every_verb_takes_it(nibble, demo, tmp_path):
    assert nibble("run", "demo", "Hello", "--max-tokens", "8").returncode == OK
    record = json.loads(nibble("audit", "demo", "--json").stdout)["models"][0]
    assert record["model"] == "demo" and record["family"] == "nemotron_h" and not record["findings"]
    text = tmp_path / "text"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 8)
    assert nibble("eval", "demo", "--text", text, "--window", "64").returncode == OK
    bench = nibble("bench", "demo", "--prompt-tokens", "8", "--output-tokens", "8", "--repeats", "1", "--json")
    assert bench.returncode == OK and json.loads(bench.stdout)["checkpoint"]["hash"]
    assert nibble("quantize", "demo", tmp_path / "out", "--scheme", "all-nvfp4", "--dry-run").returncode in (OK, MODEL)


def test_it_is_taken_when_no_model_is_named(nibble, serve, demo):
    flags = ("--temperature", "0", "--max-tokens", "8", "--raw")
    named, unnamed = nibble("run", "demo", "Hello", *flags), nibble("run", *flags, stdin="Hello")
    assert unnamed.returncode == OK and unnamed.stdout == named.stdout
    assert len(unnamed.stderr.splitlines()) == 1 and "demo" in unnamed.stderr and named.stderr == ""
    assert nibble("run", *flags, stdin="Hello", env={"NIBBLE_MODEL": "/nowhere"}).returncode == MODEL
    server = serve()
    assert "demo" in server.log()
    status, _, models = server.request("GET", "/v1/models")
    assert status == 200 and models["data"][0]["id"] == "demo"
    status, _, answer = server.request("POST", "/v1/completions", {"model": "demo", "prompt": "Hello", "max_tokens": 4})
    assert status == 200 and answer["usage"]["completion_tokens"] > 0
    assert server.stop() == OK


def test_a_folder_of_that_name_is_another_model(binary, demo, tmp_path):
    tiny_model.write(tmp_path / "demo")
    for argument, family in (("demo", "nemotron_h"), ("./demo", "llama"), ("demo/", "llama")):
        result = subprocess.run(
            [binary, "audit", argument, "--json"], cwd=tmp_path, env=served.clean_environment(), capture_output=True, text=True, check=True
        )
        assert json.loads(result.stdout)["models"][0]["family"] == family, argument


def test_its_bytes_are_those_of_the_folder(nibble, demo, source):
    folder = source / "models" / "demo"
    if not folder.is_dir():
        pytest.skip("models/demo is not in the source tree: another folder was compiled in")
    result = nibble("run", "demo", "Hello", "--raw", "--max-tokens", "1", "--verify")
    sums = dict(re.findall(r"demo:(\S+\.safetensors); its SHA-256 is (\w+)", result.stderr))
    files = sorted(folder.glob("*.safetensors"))
    assert sums == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) <= 8 << 20
