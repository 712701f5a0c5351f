"""The headers that tools/make_headers.py makes of Nemotron's configs are the published ones in number and in bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint.probe import Probe

SOURCE = Path(os.environ["TEST_SOURCE"])


@pytest.mark.parametrize(
    "model, tensors, data_bytes",
    [
        # 3 + 17 * 15 + 6 * 9 (Mamba, quantised and not) + 6 * 5 (attention) + 23 * 1035 (experts)
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", 24_147, 19_339_781_632),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 3 + 23 * 9 + 6 * 5 + 23 * 261, 63_171_713_408),
        # lm_head has three tensors, FP8 Mamba 13, weight-only experts three each; 270 of the draft layers
        ("NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4", 5 + 23 * 13 + 6 * 5 + 23 * 777 + 270, 21_560_277_676),
    ],
)
def test_published_numbers(model, tensors, data_bytes, tmp_path):
    subprocess.run([sys.executable, SOURCE / "tools/make_headers.py", SOURCE / "models" / model, tmp_path / "out"], check=True)
    probe = Probe()
    assert probe.ask("open", tmp_path / "out") == [str(tensors), str(data_bytes)]
    probe.close()
