#!/usr/bin/env python3
"""What a decode step of one sequence really reads from a GPU's memory, against what the recorded Program says.

    check_step_bytes.py --nibble build/cuda/nibble MODEL [--within PERCENT] [--csv FILE]

Runs `nibble bench MODEL --random-weights` under Nsight Compute (ncu, of the CUDA toolkit) with `dram__bytes_read.sum` of
every kernel of some decode steps, cuts the list at the embedding, and compares each whole step with `nibble audit`'s
bytes read (weights, keys and values, state). Caches are left as the kernels leave them. --csv reads an earlier run's
table. Prints both figures and where the largest kernels stand; exits 1 when a step is further off than PERCENT (5).
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

METRIC = "dram__bytes_read.sum"
# What a step launches; not what loads, repacks or measures before it.
KERNELS = "regex:embed|gather|norm|fragments|linear|gemm|router|moe|activate|mamba|attention|rope|sample"


def audited(nibble: str, model: str) -> int:
    command = [nibble, "audit", model, "--json"]
    step = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["models"][0]["steps"][0]
    assert step["batch"] == 1, "the first step of an audit is of one sequence"
    return sum(step["total"][part] for part in ("weight_bytes", "kv_read_bytes", "state_read_bytes"))


def profiled(nibble: str, model: str) -> list[str]:
    """The table of a run: the kernels of a short prompt are skipped, those of a few decode steps kept."""
    command = [
        "ncu", "--csv", "--clock-control", "none", "--cache-control", "none", "--metrics", METRIC, "--kernel-name", KERNELS,
        "--launch-skip", "700", "--launch-count", "1000",
        nibble, "bench", model, "--random-weights", "--device", "cuda", "--repeats", "1", "--prompt-tokens", "4",
        "--output-tokens", "12",
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def steps(lines: list[str]) -> list[list[tuple[str, float]]]:
    """(kernel, bytes) of every whole step: from one embedding to the next, of one sequence (the grid's size says so)."""
    rows = [row for row in csv.reader(lines) if row]
    header = next(i for i, row in enumerate(rows) if row[0] == "ID")
    at = {name: rows[header].index(name) for name in ("Kernel Name", "Grid Size", "Metric Name", "Metric Value", "Metric Unit")}
    found: list[list[tuple[str, float]]] = []
    open_step: list[tuple[str, float]] | None = None
    for row in rows[header + 1 :]:
        if len(row) < len(rows[header]) or row[at["Metric Name"]] != METRIC:
            continue
        unit = {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}[row[at["Metric Unit"]]]
        name = row[at["Kernel Name"]].split("(")[0].split("<")[0].split("::")[-1].split()[-1]
        if "embed" in name:
            if open_step is not None:
                found.append(open_step)
            open_step = [] if row[at["Grid Size"]].replace(" ", "") == "(1,1,1)" else None
        if open_step is not None:
            open_step.append((name, float(row[at["Metric Value"]].replace(",", "")) * unit))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--nibble", required=True)
    parser.add_argument("--within", type=float, default=5.0)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    expected = audited(arguments.nibble, arguments.model)
    lines = arguments.csv.read_text().splitlines() if arguments.csv else profiled(arguments.nibble, arguments.model)
    measured = steps(lines)
    if not measured:
        print("no whole decode step of one sequence among the kernels", file=sys.stderr)
        return 1
    worst = 0.0
    for step in measured:
        read = sum(size for _, size in step)
        off = (read / expected - 1) * 100
        worst = max(worst, abs(off))
        print(f"{len(step)} kernels read {read / 1e6:,.1f} MB, the Program says {expected / 1e6:,.1f} MB: {off:+.2f} %")
    kernels: dict[str, float] = defaultdict(float)
    for name, size in measured[-1]:
        kernels[name] += size
    for name, size in sorted(kernels.items(), key=lambda item: -item[1])[:6]:
        print(f"  {name:32} {size / 1e6:10,.1f} MB")
    return 0 if worst <= arguments.within else 1


if __name__ == "__main__":
    sys.exit(main())
