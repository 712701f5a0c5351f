"""`nibble audit` from outside: published headers, broken folders, JSON, pictures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import pytest

OK, USAGE, MODEL, DEVICE = 0, 2, 3, 5
NANO, LIGHTNING = "NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", "NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4"


@pytest.fixture(scope="module")
def headers(source, tmp_path_factory):
    """Published folders with headers and without data: headers(NANO) -> path."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("headers") / name
            tool = [sys.executable, source / "tools/make_headers.py", source / "models" / name, made[name]]
            subprocess.run(tool, check=True, capture_output=True)
        return made[name]

    return make


@pytest.fixture
def golden(source, tmp_path):
    """A copy of a golden checkpoint, to be damaged."""

    def copy(name):
        return shutil.copytree(source / "tests/golden" / name, tmp_path / name)

    return copy


def record(nibble, *arguments):
    result = nibble("audit", *arguments, "--json")
    assert result.stderr == ""
    return result.returncode, json.loads(result.stdout)


def test_the_published_nano_is_understood_in_five_seconds(nibble, headers):
    begin = time.monotonic()
    result = nibble("audit", headers(NANO))
    assert time.monotonic() - begin < 5
    assert result.returncode == OK and result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "2.99 GB a token, 24 % of it the BF16 head: at most 80 tokens/s on a GB10 at 240 GB/s"
    assert "2.97 GB, 81 tokens/s" in lines[1]
    assert "24,147 tensors, 19,339,781,632 bytes in 4 files" in lines
    assert "all 6,029 matrices are stored as the config says" in lines
    commands = [line.strip() for line in lines if "nibble quantize" in line]
    assert commands[:2] == [
        f"nibble quantize {headers(NANO)} OUT1 --mamba nvfp4 --attention nvfp4",
        "nibble quantize OUT1 OUT2 --head nvfp4",
    ]
    reached = [int(speed) for speed in re.findall(r"then [\d.]+ GB and (\d+) tokens/s", result.stdout)]
    assert reached[1] > 120
    assert all(len(line) <= 100 for line in lines if "nibble quantize" not in line)


def test_headers_and_config_alone_give_the_same_bytes(nibble, headers, source):
    for name, tensors, size in ((NANO, 24_147, 19_339_781_632), (LIGHTNING, 18_475, 21_560_277_676)):
        status, whole = record(nibble, headers(name))
        assert status == OK
        model = whole["models"][0]
        assert (model["basis"], model["tensors"], model["tensor_bytes"]) == ("tensors", tensors, size)
        assert model["matrices"] == model["matrices_as_claimed"] > 6000
        assert model["assumptions"] == model["findings"] == []
        status, config = record(nibble, source / "models" / name)
        assert status == OK
        assert config["models"][0]["basis"] == "config" and config["models"][0]["assumptions"]
        assert config["models"][0]["steps"] == model["steps"]


def test_an_index_without_files_gives_names_and_numbers(nibble, headers, tmp_path):
    folder = tmp_path / NANO
    shutil.copytree(headers(NANO), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    status, index = record(nibble, folder)
    assert status == OK
    model = index["models"][0]
    assert (model["basis"], model["tensors"], model["tensor_bytes"]) == ("index", 24_147, 19_339_781_632)


def test_the_record_adds_up(nibble, headers):
    status, whole = record(nibble, headers(NANO), "--modules", "--batch", "1,8", "--context", "1,4096", "--device", "gb10,h200")
    assert status == OK
    assert [device["name"] for device in whole["devices"]] == ["gb10", "h200"]
    model = whole["models"][0]
    assert [(step["batch"], step["context"]) for step in model["steps"]] == [(1, 1), (8, 1), (1, 4096), (8, 4096)]
    fields = ["weight_bytes", "kv_read_bytes", "kv_written_bytes", "state_read_bytes", "state_written_bytes"]
    for step in model["steps"]:
        for field in fields:
            assert sum(part[field] for part in step["parts"]) == step["total"][field]
        assert sum(step["total"][field] for field in fields) == step["step_bytes"]
        assert step["bytes_per_token"] == pytest.approx(step["step_bytes"] / step["batch"], abs=1)
        for device in whole["devices"]:
            ceiling = device["read_gb_per_second"] * 1e9 / step["bytes_per_token"]
            assert step["ceiling_tokens_per_second"][device["name"]] == pytest.approx(ceiling, abs=2e-3)
    assert sum(m["weight_bytes"] for m in model["modules"]) == model["steps"][0]["total"]["weight_bytes"]
    parts = {part["part"]: part for part in model["steps"][0]["parts"]}
    assert set(parts["mamba"]["weight_bytes_by_format"]) == {"bf16", "nvfp4"}
    # keys and values: six layers, two heads of 128, in 16 bits
    assert model["steps"][2]["total"]["kv_read_bytes"] == 4097 * 6 * 2 * 2 * 128 * 2
    assert model["steps"][1]["mean_distinct_experts"] == pytest.approx(128 * (1 - (1 - 6 / 128) ** 8), abs=1e-3)
    last = model["shrink"][1]
    assert last["command"] == "nibble quantize OUT1 OUT2 --head nvfp4"
    assert last["ceiling_with_those_before"]["gb10"] > 120
    assert [entry["command"] for entry in model["shrink"] if "state" in entry["what"]] == [None]


def test_an_fp8_cache_halves_keys_and_values(nibble, source):
    arguments = (source / "models" / NANO, "--context", "100000", "--device", "h200", "--batch", "1")
    wide = record(nibble, *arguments)[1]["models"][0]
    narrow = record(nibble, *arguments, "--kv-cache-dtype", "fp8")[1]["models"][0]
    assert narrow["steps"][0]["total"]["kv_read_bytes"] * 2 == wide["steps"][0]["total"]["kv_read_bytes"]
    offered = [entry for entry in wide["shrink"] if entry["what"].startswith("keys and values")]
    assert offered[0]["command"].endswith("--kv-cache-dtype fp8")
    saved = wide["steps"][0]["step_bytes"] - narrow["steps"][0]["step_bytes"]
    assert offered[0]["saved_bytes_per_token"] == saved
    assert not [entry for entry in narrow["shrink"] if entry["what"].startswith("keys and values")]


def test_rows_are_told_where_this_build_has_them(nibble, source):
    status, whole = record(nibble, source / "tests/golden/nano-nvfp4", "--device", "cpu", "--bandwidth", "50", "--modules")
    assert status == OK
    assert whole["devices"][0]["rows_known"] and whole["devices"][0]["basis"] == "given"
    assert all(module["rows"]["cpu"] for module in whole["models"][0]["modules"])
    cuda = any(device != "cpu" for device in json.loads(nibble("version", "--json").stdout)["devices"])
    text = nibble("audit", source / "tests/golden/nano-nvfp4", "--device", "gb10").stdout
    assert ("this build has no CUDA rows" in text) != cuda


def test_measured_routing_changes_the_experts_read(nibble, source, tmp_path):
    folder = source / "models" / NANO
    status, uniform = record(nibble, folder, "--modules", "--batch", "16", "--context", "1")
    layers = [m["module"] for m in uniform["models"][0]["modules"] if m["op"] == "moe" and "n" not in m]
    assert len(layers) == 23
    routing = tmp_path / "routing.json"
    routing.write_text(json.dumps({layer: [1000 if e < 16 else 1 for e in range(128)] for layer in layers}))
    status, measured = record(nibble, folder, "--routing", routing, "--batch", "16", "--context", "1")
    assert status == OK
    assert measured["models"][0]["routing"] == "measured"
    few = measured["models"][0]["steps"][0]["mean_distinct_experts"]
    assert 15 < few < 30 < uniform["models"][0]["steps"][0]["mean_distinct_experts"]
    routing.write_text("{}")
    assert record(nibble, folder, "--routing", routing, "--batch", "16", "--context", "1")[1]["models"][0]["steps"] == uniform[
        "models"
    ][0]["steps"]
    routing.write_text('{"backbone.layers.0.mixer": [1]}')
    refused = nibble("audit", folder, "--routing", routing)
    assert refused.returncode == USAGE and "'backbone.layers.0.mixer': the model has no routed layer" in refused.stderr


def test_two_models_are_compared(nibble, source):
    status, both = record(nibble, source / "models" / NANO, source / "models" / LIGHTNING)
    assert status == OK and len(both["models"]) == 2
    assert both["comparison"][0]["part"] == "head"
    assert both["comparison"][0]["bits_per_value"] == [16.0, 4.5]
    text = nibble("audit", source / "models" / NANO, source / "models" / LIGHTNING).stdout
    assert "A is slower by 15 %" in text and "head: 506 MB less: 16.0 -> 4.5 bits each" in text


def test_the_picture_is_an_svg_of_its_own(nibble, source, tmp_path):
    for arguments in ((NANO,), (NANO, LIGHTNING)):
        drawing = tmp_path / "audit.svg"
        result = nibble("audit", *(source / "models" / name for name in arguments), "--svg", drawing)
        assert result.returncode == OK
        root = ElementTree.parse(drawing).getroot()
        text = " ".join(root.itertext())
        assert "80 tokens/s" in text and "routed experts" in text
        assert "http" not in drawing.read_text().replace("http://www.w3.org/2000/svg", "")
        width = float(root.get("width"))
        for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
            assert 0 <= float(rect.get("x")) <= float(rect.get("x")) + float(rect.get("width")) <= width
    committed = source / "docs/images/nano-audit.svg"
    nibble("audit", source / "models" / NANO, "--svg", drawing)
    assert nibble("audit", source / "models" / NANO, "--svg", tmp_path / "one.svg").returncode == OK
    assert (tmp_path / "one.svg").read_text() == committed.read_text(), "docs/images/nano-audit.svg is out of date"


@pytest.mark.parametrize("name", ["Qwen3.6-35B-A3B-NVFP4", "Gemma-4-26B-A4B-NVFP4"])
def test_a_family_not_known_yet_is_listed(nibble, source, name):
    result = nibble("audit", source / "models" / name)
    assert result.returncode == MODEL
    assert "nibble does not know this family yet" in result.stdout
    assert "model.language_model.layers.*." in result.stdout
    status, both = record(nibble, source / "models" / NANO, source / "models" / name)
    assert status == MODEL and "comparison" not in both


@pytest.mark.parametrize("name", ["nano-nvfp4", "nano-bf16", "llama-bf16", "qwen2-f16", "lightning-mixed"])
def test_the_commands_give_what_the_list_promises(nibble, golden, monkeypatch, tmp_path, name):
    golden(name)
    monkeypatch.chdir(tmp_path)
    model = record(nibble, name)[1]["models"][0]
    expected = model["steps"][0]["step_bytes"]
    ran = 0
    for entry in model["shrink"]:
        if not (entry["command"] or "").startswith("nibble quantize"):
            continue
        words = entry["command"].split()
        result = nibble(*words[1:])
        assert result.returncode == OK, result.stderr
        expected -= entry["saved_bytes_per_token"]
        after = record(nibble, words[3])[1]["models"][0]
        assert after["steps"][0]["step_bytes"] == expected and after["findings"] == []
        if "milder" in entry:
            result = nibble("quantize", words[2], words[3] + "-fp8", *entry["milder"]["flags"].split())
            assert result.returncode == OK, result.stderr
        ran += 1
    assert ran


# ------------------------------------------------------------------------------------------------------- bad input


def findings(nibble, folder, *arguments):
    status, whole = record(nibble, folder, *arguments)
    return status, whole["models"][0], "\n".join(finding["message"] for finding in whole["models"][0]["findings"])


def test_an_unknown_algorithm_is_a_finding_and_bytes_are_counted(nibble, golden, source):
    folder = golden("nano-nvfp4")
    before = record(nibble, folder)[1]["models"][0]["steps"]
    config = folder / "hf_quant_config.json"
    config.write_text(config.read_text().replace('"NVFP4"', '"NVFP5"'))
    status, model, text = findings(nibble, folder)
    assert status == MODEL
    assert "hf_quant_config.json" in text and "quant_algo" in text and "'NVFP5'" in text
    assert model["steps"] == before


def test_tensors_at_odds_with_the_config_are_findings_and_bytes_are_counted(nibble, golden):
    folder = golden("nano-nvfp4")
    before = record(nibble, folder)[1]["models"][0]["steps"]
    config = json.loads((folder / "hf_quant_config.json").read_text())
    config["quantization"]["exclude_modules"].append("backbone.layers.*.mixer.experts.*")
    (folder / "hf_quant_config.json").write_text(json.dumps(config))
    status, model, text = findings(nibble, folder)
    assert status == MODEL
    assert "is NVFP4 by its tensors" in text and "hf_quant_config.json: exclude_modules[" in text
    assert model["matrices_as_claimed"] < model["matrices"]
    assert model["steps"] == before and "tensors" in " ".join(model["assumptions"])


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: (f / "model.safetensors.index.json").unlink(), "model.safetensors.index.json"),
        (lambda f: (f / "model.safetensors.index.json").write_text("{"), "model.safetensors.index.json"),
        (lambda f: next(f.glob("*.safetensors")).unlink(), "are missing"),
        (lambda f: next(f.glob("*.safetensors")).write_bytes(b"\xff" * 64), ".safetensors"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json"),
        (lambda f: (f / "hf_quant_config.json").write_text("{}"), "hf_quant_config.json: quantization"),
    ],
)
def test_a_broken_folder_is_told_by_file(nibble, golden, break_it, says):
    folder = golden("nano-nvfp4")
    break_it(folder)
    status, _, text = findings(nibble, folder)
    assert status == MODEL and says in text
    assert nibble("audit", folder).returncode == MODEL


def test_a_config_with_another_shape_is_a_finding(nibble, golden):
    folder = golden("nano-nvfp4")
    config = json.loads((folder / "config.json").read_text())
    config["mamba_num_heads"] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    status, model, text = findings(nibble, folder)
    assert status == MODEL and "expected" in text and "found" in text
    assert "steps" not in model and model["tensors"] > 0


def test_a_context_beyond_the_models_is_a_finding(nibble, source):
    status, model, text = findings(nibble, source / "models" / NANO, "--context", "1,99999999")
    assert status == USAGE
    assert "config.json: max_position_embeddings: 262144" in text and "--context 99999999" in text
    assert [step["context"] for step in model["steps"]][:1] == [1]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), USAGE, "a model is required"),
        (("/nonexistent",), MODEL, "/nonexistent"),
        (("MODEL", "--device", "gb11"), USAGE, "gb10"),
        (("MODEL", "--batch", "0"), USAGE, "--batch"),
        (("MODEL", "--context", "-1"), USAGE, "--context"),
        (("MODEL", "--bandwidth", "nan"), USAGE, "--bandwidth"),
        (("MODEL", "--kv-cache-dtype", "fp3"), USAGE, "--kv-cache-dtype"),
        (("MODEL", "--routing", "/nonexistent"), USAGE, "--routing"),
        (("MODEL", "MODEL", "MODEL"), USAGE, "model"),
    ],
)
def test_usage_is_told_by_flag(nibble, source, arguments, status, says):
    result = nibble("audit", *(source / "models" / NANO if word == "MODEL" else word for word in arguments))
    assert result.returncode == status and says in result.stderr and result.stdout == ""
