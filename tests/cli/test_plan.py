"""nibble plan: the memory of a server beforehand, and serve holds itself to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

OK, USAGE, MODEL, DOES_NOT_FIT = 0, 2, 3, 4
GIB = 1 << 30


@pytest.fixture
def nano(source):
    return source / "models" / "NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4"


def planned(nibble, *arguments) -> dict:
    result = nibble("plan", *arguments, "--json")
    assert result.returncode == OK, result.stderr
    return json.loads(result.stdout)


def test_a_config_alone_gives_the_memory_of_a_device_that_is_not_here(nibble, nano):
    plan = planned(nibble, nano, "--device", "gb10")
    lines = {line["what"]: line["bytes"] for line in plan["lines"]}
    assert lines["weights"] == pytest.approx(19.34e9, rel=0.01)
    # 23 Mamba layers: 64 heads x 64 x 128 of state in float32, and 3 columns of 6,144 channels in bfloat16
    assert plan["slot_bytes"] == 23 * (64 * 64 * 128 * 4 + 3 * 6144 * 2)
    # 6 attention layers of 2 heads x 128, keys and values, bfloat16
    assert plan["page_bytes"] == plan["page_tokens"] * 6 * 2 * 2 * 128 * 2
    assert sum(lines.values()) == plan["total_bytes"] <= plan["budget_bytes"]
    assert plan["budget_bytes"] + plan["reserve_bytes"] == plan["device"]["available_bytes"]
    assert plan["device"]["described"] and "described and not read" in " ".join(plan["assumed"])
    assert plan["max_model_len"] == plan["model_context"] == 262144
    # a driver keeps captured steps: some megabytes each, and no more than a few dozen
    assert 20e6 < lines["graphs"] < 500e6
    assert "graphs" not in {line["what"] for line in planned(nibble, nano, "--device", "cpu", "--random-weights")["lines"]}
    table = nibble("plan", nano, "--device", "gb10").stdout
    assert "described and not read" in table and str(lines["weights"]) in table


def test_what_fits_shrinks_as_sequences_grow_and_is_planned_when_asked_for(nibble, nano):
    plan = planned(nibble, nano, "--device", "rtx5090")
    fits = {row["sequences"]: row for row in plan["fits"]}
    each = [fits[n]["context_each"] for n in (1, 2, 4, 8, 16, 32, 64)]
    assert each == sorted(each, reverse=True) and each[0] > each[-1] > 0
    assert all(row["context_each"] <= row["context_alone"] <= 262144 for row in plan["fits"])
    asked = planned(nibble, nano, "--device", "rtx5090", "--max-num-seqs", 8, "--max-model-len", fits[8]["context_each"])
    assert asked["max_num_seqs"] == 8 and asked["pages"] * asked["page_tokens"] >= 8 * fits[8]["context_each"]


def test_flags_bound_the_plan(nibble, nano):
    plan = planned(nibble, nano, "--device", "h200", "--memory-budget", "40GiB", "--kv-cache-memory", "1GiB", "--max-num-seqs", 4)
    lines = {line["what"]: line["bytes"] for line in plan["lines"]}
    assert GIB - plan["page_bytes"] < lines["keys and values"] <= GIB
    assert lines["recurrent state"] == 4 * plan["slot_bytes"]
    assert plan["budget_bytes"] == 40 * GIB
    half = planned(nibble, nano, "--device", "h200", "--kv-cache-dtype", "fp8")
    assert half["page_bytes"] * 2 == plan["page_bytes"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--memory-budget", "10GiB"), DOES_NOT_FIT, "the weights alone are too large"),
        (("--max-num-seqs", 4000), DOES_NOT_FIT, "recurrent state"),
        (("--max-model-len", 300000), USAGE, "262144"),
        (("--memory-budget", "500GiB"), DOES_NOT_FIT, "--memory-budget"),
        (("--device", "gb11"), USAGE, "gb11"),
    ],
)
def test_what_cannot_be_is_refused_with_the_sum(nibble, nano, arguments, code, says):
    result = nibble("plan", nano, "--device", "gb10", *arguments) if "--device" not in arguments else nibble("plan", nano, *arguments)
    assert result.returncode == code, result.stderr
    assert says in result.stderr and result.stdout == ""


def test_a_family_that_is_not_known_is_named(nibble, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mystery", "architectures": ["MysteryForCausalLM"]}')
    result = nibble("plan", tmp_path, "--device", "gb10")
    assert result.returncode == MODEL and "mystery" in result.stderr


def test_serve_allocates_by_the_same_plan(nibble, serve, model_folder):
    flags = ("--max-num-seqs", 3, "--max-model-len", 128, "--memory-budget", "256MiB", "--device", "cpu")
    plan = planned(nibble, model_folder, *flags)
    server = serve(model_folder, *flags)
    said = server.log()
    for line in plan["lines"]:
        assert line["how"] in said, said
    metrics = server.request("GET", "/metrics")[2]
    text = metrics.decode() if isinstance(metrics, bytes) else metrics
    assert float(re.search(r"^nibble_kv_pages{.*} (\S+)$", text, re.MULTILINE)[1]) == plan["pages"]
    assert float(re.search(r"^nibble_memory_planned_bytes{.*} (\S+)$", text, re.MULTILINE)[1]) == plan["total_bytes"]


def test_serve_is_the_kernels_first_choice_when_memory_ends(serve, model_folder):
    server = serve(model_folder, "--device", "cpu")
    assert int(Path(f"/proc/{server.process.pid}/oom_score_adj").read_text()) > 0
