"""nibble doctor: a line a check, and an exit code that means whether the device can be used."""

from __future__ import annotations

import json
import os

import pytest

OK, USAGE, DEVICE = 0, 2, 5


def test_each_check_has_a_state_and_each_fault_a_remedy(nibble, tmp_path):
    (tmp_path / "models--org--name" / "snapshots").mkdir(parents=True)
    result = nibble("doctor", "--device", "cpu", "--json", env={"HF_HUB_CACHE": str(tmp_path)})
    assert result.returncode == OK, result.stderr
    record = json.loads(result.stdout)
    checks = {check["check"]: check for check in record["checks"]}
    assert record["usable"] and record["device"] == "cpu"
    expected = {"device", "GPU driver", "processor", "memory", "page cache", "swap", "memory pressure", "huge pages",
                "control group", "open files", "locked memory", "read bandwidth", "NCCL", "RDMA", "Hugging Face cache"}  # fmt: skip
    assert expected <= set(checks)
    assert f"{tmp_path}: 1 models" in checks["Hugging Face cache"]["found"]
    assert "GB/s" in checks["read bandwidth"]["found"]
    for check in record["checks"]:
        assert check["state"] in ("ok", "warning", "failed") and check["found"]
        if check["state"] != "ok":
            assert check["consequence"] and check["remedy"]
    assert record["warnings"] == sum(check["state"] == "warning" for check in record["checks"])


def test_warnings_do_not_fail_and_are_counted(nibble):
    result = nibble("doctor", "--device", "cpu", env={"HF_HUB_CACHE": "", "HF_HOME": "", "XDG_CACHE_HOME": "", "HOME": "",
                                                      "HUGGINGFACE_HUB_CACHE": ""})  # fmt: skip
    assert result.returncode == OK
    assert "warning  Hugging Face cache" in result.stdout and "do: export HF_HOME" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("warnings")


def test_a_device_that_was_asked_for_and_is_not_there_exits_5(nibble):
    if os.path.exists("/dev/nvidia0"):
        pytest.skip("there is a GPU")
    result = nibble("doctor", "--device", "cuda", "--json")
    assert result.returncode == DEVICE
    record = json.loads(result.stdout)
    assert not record["usable"] and record["checks"][0]["state"] == "failed"
    assert nibble("doctor", "--device", "gpu0").returncode == USAGE
