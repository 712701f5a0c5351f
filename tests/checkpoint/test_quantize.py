"""`nibble quantize` against a NumPy reference of modelopt's max-scaling, bit for bit, on generated tensors; what it
writes is what it says, and what it cannot do leaves nothing behind.

The reference gives what NVFP4QTensor.quantize of nvidia-modelopt 0.47 gives on these tensors; a matrix of zeros, by whose
scale it would divide, has the scale 1 here."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess

import numpy as np
import pytest
import tiny_model
from safetensors import safe_open

# ------------------------------------------------------------------------------------------- the reference, in float32

BOUNDS = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5], np.float32)
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
F32 = np.float32


def e4m3_values() -> np.ndarray:
    codes = np.arange(127)
    exponent, mantissa = codes >> 3, codes & 7
    return np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0)).astype(np.float32)


E4M3 = e4m3_values()


def to_e4m3(values: np.ndarray) -> np.ndarray:
    """Codes of the nearest magnitudes, ties to even, saturating; the sign bit is kept. Exact: float64 holds every sum."""
    magnitude = np.abs(values).astype(np.float64)
    middles = (E4M3[:-1].astype(np.float64) + E4M3[1:]) / 2
    below, upto = np.searchsorted(middles, magnitude, "left"), np.searchsorted(middles, magnitude, "right")
    code = np.where(below == upto, below, np.where(below % 2 == 0, below, upto))
    return (code + 128 * np.signbit(values)).astype(np.uint8)


def to_e2m1(values: np.ndarray) -> np.ndarray:
    magnitude = np.abs(values)
    code = np.searchsorted(BOUNDS, magnitude, "left") + np.isin(magnitude, BOUNDS[1::2])
    return (code + 8 * (values < 0)).astype(np.uint8)


def nvfp4(weights: list[np.ndarray]):
    """(codes, scales) of each, and the global scale that they share."""
    amax = max(F32(np.abs(w).max()) for w in weights)
    scale = amax / F32(6 * 448) if amax > 0 else F32(1)
    made = []
    for w in weights:
        n, k = w.shape
        blocks = w.reshape(n, k // 16, 16)
        wanted = np.abs(blocks).max(-1) / (F32(6) * scale)
        wanted[wanted == 0] = 1
        codes = to_e4m3(np.clip(wanted, F32(2.0**-9), F32(448)))
        step = E4M3[codes] * scale
        nibbles = to_e2m1(blocks / step[..., None]).reshape(n, k)
        made.append((nibbles[:, 0::2] | nibbles[:, 1::2] << 4, codes))
    return made, scale


def fp8(w: np.ndarray):
    """modelopt's FP8 per channel: (codes, scales)."""
    amax = np.abs(w).max(1)
    scale = np.where(amax > 0, amax / F32(448), F32(1)).astype(np.float32)
    return to_e4m3(w / scale[:, None]), scale


# ---------------------------------------------------------------------------------------------------- files by hand


def bf16_bits(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def store(values: np.ndarray, dtype: str):
    """(bytes, what they are worth)."""
    if dtype == "BF16":
        return bf16_bits(values).tobytes(), widened(bf16_bits(values))
    as_type = {"F16": np.float16, "F32": np.float32}[dtype]
    return values.astype(as_type).tobytes(), values.astype(as_type).astype(np.float32)


def write_safetensors(path, tensors: dict) -> None:
    header, blobs, offset = {}, [], 0
    for name, (dtype, shape, blob) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def read_raw(folder) -> dict:
    """name -> (dtype, shape, bytes) of every tensor, read by hand: NumPy has no FP8."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = (entry["dtype"], entry["shape"], data[8 + length + begin : 8 + length + end])
    return found


def codes_of(tensor) -> np.ndarray:
    return np.frombuffer(tensor[2], np.uint8).reshape(tensor[1])


def floats_of(tensor) -> np.ndarray:
    return np.frombuffer(tensor[2], np.float32).reshape(tensor[1])


def values(rng: np.random.Generator, kind: str, n: int, k: int) -> np.ndarray:
    w = rng.standard_normal((n, k)).astype(np.float32)
    if kind == "zeros":
        w[rng.random((n, k)) < 0.5] = 0
        w[:, :16] = 0
        w[0] = -0.0
    elif kind == "all zero":
        w[:] = 0
    elif kind == "denormal":
        w *= np.float32(2.0) ** rng.integers(-140, 1, (n, k))
        w[-1, 0] = 1e-40
    elif kind == "tiny":
        w *= np.float32(1e-30)
    elif kind == "huge":
        w *= np.float32(2.0) ** rng.integers(-20, 126, (n, k))
        w[0, 0] = 3e38
    elif kind == "ties":
        w = (rng.integers(-25, 26, (n, k)) * 0.25).astype(np.float32)
        w[:, ::16] = 6
    elif kind == "negative zero":
        w[rng.random((n, k)) < 0.3] = -0.0
    elif kind == "wide":
        w *= np.exp(rng.standard_normal((n, k)) * 4).astype(np.float32)
    return w


KINDS = ["normal", "zeros", "all zero", "denormal", "tiny", "huge", "ties", "negative zero", "wide"]


@pytest.fixture(params=["BF16", "F16", "F32"])
def generated(request, tmp_path):
    """A folder with matrices of every kind, and what they are worth as float32."""
    rng, dtype = np.random.default_rng(7), request.param
    tensors, worth = {}, {}
    for i, kind in enumerate(KINDS):
        for part, (n, k) in {"q_proj": (9, 64), "k_proj": (5, 64), "v_proj": (1, 64), "o_proj": (64, 48)}.items():
            made = values(rng, kind, n, k)
            if dtype == "F16":
                made = np.clip(made, -60000, 60000)
            name = f"model.layers.{i}.self_attn.{part}"
            blob, worth[name] = store(made, dtype)
            tensors[name + ".weight"] = (dtype, (n, k), blob)
        for part in ("gate_proj", "up_proj"):
            name = f"model.layers.{i}.mlp.{part}"
            blob, worth[name] = store(np.clip(values(rng, kind, 3, 32), -6e4, 6e4), dtype)
            tensors[name + ".weight"] = (dtype, (3, 32), blob)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "limit": [0.0, Infinity]}')
    (folder / "tokenizer.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", tensors)
    return folder, worth


def test_max_scaling_is_modelopts_bit_for_bit(nibble, generated, tmp_path):
    folder, worth = generated
    out = tmp_path / "out"
    result = nibble("quantize", folder, out, "--scheme", "all-nvfp4", "--search", "none")
    assert result.returncode == 0, result.stderr
    found = read_raw(out)
    for i in range(len(KINDS)):
        for module, parts in {"self_attn": ("q_proj", "k_proj", "v_proj"), "mlp": ("gate_proj", "up_proj")}.items():
            names = [f"model.layers.{i}.{module}.{part}" for part in parts]
            made, scale = nvfp4([worth[name] for name in names])
            for name, (codes, scales) in zip(names, made, strict=True):
                assert floats_of(found[name + ".weight_scale_2"]) == scale, name
                assert (codes_of(found[name + ".weight_scale"]) == scales).all(), name
                assert (codes_of(found[name + ".weight"]) == codes).all(), name
        name = f"model.layers.{i}.self_attn.o_proj"
        [(codes, scales)], scale = nvfp4([worth[name]])
        assert floats_of(found[name + ".weight_scale_2"]) == scale
        assert (codes_of(found[name + ".weight_scale"]) == scales).all()
        assert (codes_of(found[name + ".weight"]) == codes).all()
    assert '"limit": [0.0, Infinity]' in (out / "config.json").read_text()
    assert (out / "tokenizer.json").read_text() == "{}"


def test_fp8_is_modelopts_per_channel_bit_for_bit(nibble, generated, tmp_path):
    folder, worth = generated
    rules = tmp_path / "rules"
    rules.write_text("# every matrix\n*.k_proj keep\n* fp8\n")
    result = nibble("quantize", folder, tmp_path / "out", "--scheme", rules)
    assert result.returncode == 0, result.stderr
    found, source = read_raw(tmp_path / "out"), read_raw(folder)
    for name, w in worth.items():
        if name.endswith("k_proj"):
            assert found[name + ".weight"] == source[name + ".weight"]
            continue
        codes, scales = fp8(w)
        assert found[name + ".weight"][0] == "F8_E4M3"
        assert (floats_of(found[name + ".weight_scale"]) == scales).all(), name
        assert (codes_of(found[name + ".weight"]) == codes).all(), name


def relative_error(found: dict, name: str, w: np.ndarray) -> float:
    codes, scales = codes_of(found[name + ".weight"]), codes_of(found[name + ".weight_scale"])
    nibbles = np.stack([codes & 15, codes >> 4], -1).reshape(w.shape)
    steps = np.repeat(E4M3[scales] * floats_of(found[name + ".weight_scale_2"]), 16, 1)
    decoded = np.where(nibbles & 8, -1, 1) * E2M1[nibbles & 7] * steps
    return math.sqrt(((decoded - w) ** 2).sum() / (w.astype(np.float64) ** 2).sum())


def test_the_search_loses_less_and_the_report_is_true(nibble, tmp_path):
    folder = tiny_model.write(tmp_path / "in")
    source = read_raw(folder)
    errors = {}
    for search in ("none", "mse"):
        out = tmp_path / search
        result = nibble("quantize", folder, out, "--scheme", "all-nvfp4", "--search", search, "--json")
        assert result.returncode == 0, result.stderr
        report, found = json.loads(result.stdout), read_raw(out)
        for module in report["modules"]:
            shape = source[module["name"] + ".weight"][1]
            w = widened(np.frombuffer(source[module["name"] + ".weight"][2], np.uint16)).reshape(shape)
            truth = relative_error(found, module["name"], w)
            assert module["relative_error"] == pytest.approx(truth, rel=1e-3)
            errors.setdefault(module["name"], []).append(truth)
        assert report["bytes_after"] == sum(len(blob) for _, _, blob in found.values())
        assert report["bytes_per_token_after"] < report["bytes_per_token_before"] / 2
        for model, figure in ((folder, "before"), (out, "after")):
            audit = json.loads(nibble("audit", model, "--json").stdout)["models"][0]
            assert audit["steps"][0]["bytes_per_token"] == report["bytes_per_token_" + figure]
        assert nibble("eval", out, "--text", folder / "config.json", "--window", "64").returncode == 0
    assert len(errors) == 15
    assert all(searched < 0.9 * plain for plain, searched in errors.values())


def test_a_calibrated_model_is_closer_to_its_source(nibble, tmp_path):
    """Inputs of very different size: an error where they are large costs more, and the search knows it."""
    folder = tiny_model.write(tmp_path / "in")
    tensors, rng = read_raw(folder), np.random.default_rng(5)
    for name, (dtype, shape, _) in list(tensors.items()):
        if name.endswith("norm.weight"):
            sizes = np.exp(rng.standard_normal(shape) * 1.5).astype(np.float32)
            tensors[name] = (dtype, shape, bf16_bits(sizes).tobytes() if dtype == "BF16" else sizes.tobytes())
    write_safetensors(folder / "model.safetensors", tensors)
    text = tmp_path / "text"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 40)
    divergence = {}
    for name, flags in {"max": ["--search", "none"], "mse": [], "calibrated": ["--calibrate", text]}.items():
        result = nibble("quantize", folder, tmp_path / name, "--scheme", "all-nvfp4", *flags)
        assert result.returncode == 0, result.stderr
        result = nibble("eval", tmp_path / name, "--against", folder, "--text", text, "--window", "128", "--json")
        assert result.returncode == 0, result.stderr
        divergence[name] = json.loads(result.stdout)["text"]["kl"]["mean"]
    assert divergence["calibrated"] < 0.9 * divergence["mse"] and divergence["mse"] < divergence["max"]
    found = read_raw(tmp_path / "calibrated")
    for name in ("q_proj", "k_proj", "v_proj"):
        scale = floats_of(found[f"model.layers.0.self_attn.{name}.input_scale"])
        assert scale == floats_of(found["model.layers.0.self_attn.q_proj.input_scale"]) and 0 < scale < 1
    config = json.loads((tmp_path / "calibrated" / "config.json").read_text())["quantization_config"]
    assert config["quant_algo"] == "NVFP4"


def test_the_result_does_not_depend_on_threads(nibble, tmp_path):
    folder = tiny_model.write(tmp_path / "in")
    for threads in ("1", "3"):
        assert nibble("quantize", folder, tmp_path / threads, "--scheme", "all-nvfp4", "--threads", threads).returncode == 0
    assert read_raw(tmp_path / "1") == read_raw(tmp_path / "3")


def test_the_python_package_opens_what_is_written(nibble, tmp_path):
    folder = tiny_model.write(tmp_path / "in")
    assert nibble("quantize", folder, tmp_path / "out", "--scheme", "all-nvfp4").returncode == 0
    with safe_open(tmp_path / "out" / "model.safetensors", "numpy") as file:
        assert file.get_tensor("lm_head.weight").dtype == np.uint8
        assert set(file.keys()) == set(read_raw(tmp_path / "out"))
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "modelopt" and config["quant_algo"] == "W4A16_NVFP4"
    own = json.loads((tmp_path / "out" / "hf_quant_config.json").read_text())["quantization"]
    assert own["quant_algo"] == "W4A16_NVFP4" and own["exclude_modules"] == ["model.embed_tokens"]


def test_modules_are_known_by_their_names(nibble, tmp_path):
    roles = {
        "lm_head": "head",
        "model.embed_tokens": "embedding",
        "backbone.embeddings": "embedding",
        "model.layers.0.self_attn.q_proj": "attention",
        "model.layers.0.mlp.gate_proj": "mlp",
        "model.layers.0.mlp.gate": "router",
        "model.layers.0.router.proj": "router",
        "model.layers.0.mlp.shared_expert_gate": "router",
        "model.layers.0.mlp.experts.3.down_proj": "mlp",
        "backbone.layers.1.mixer.in_proj": "mamba",
        "backbone.layers.2.mixer.up_proj": "mlp",
        "model.layers.3.linear_attn.in_proj_qkv": "mamba",
        "model.layers.3.linear_attn.in_proj_b": "small",
        "mtp.layers.0.self_attn.o_proj": "draft",
        "mtp.layers.0.eh_proj": "draft",
        "mtp.layers.1.mixer.experts.0.up_proj": "draft",
        "mtp.layers.1.mixer.gate": "router",
        "mtp.embed_tokens": "embedding",
        "model.visual.blocks.0.attn.qkv": "other input",
    }
    w = np.ones((16, 16), np.float32)
    tensors = {f"{name}.weight": ("F32", w.shape, w.tobytes()) for name in roles}
    for name in ("backbone.layers.1.mixer", "model.layers.3.linear_attn"):
        tensors[f"{name}.A_log"] = ("F32", (16,), w[0].tobytes())
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    write_safetensors(folder / "model.safetensors", tensors)
    result = nibble("quantize", folder, "--scheme", "all-nvfp4", "--dry-run")
    assert result.returncode == 0, result.stderr
    for name, role in roles.items():
        [line] = [line for line in result.stdout.splitlines() if line.startswith(name + " ")]
        assert f" {role} " in line, line
        assert line.endswith("nvfp4" if role in ("head", "attention", "mlp", "mamba", "draft") else "keep"), line


# -------------------------------------------------------------------------------------------------- heads and leftovers


def tied_folder(tmp_path):
    folder = tiny_model.write(tmp_path / "in")
    tensors = read_raw(folder)
    del tensors["lm_head.weight"]
    write_safetensors(folder / "model.safetensors", tensors)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    return folder


@pytest.mark.parametrize("head", ["nvfp4", "fp8"])
def test_a_tied_head_becomes_its_own(nibble, tmp_path, head):
    folder, out = tied_folder(tmp_path), tmp_path / "out"
    result = nibble("quantize", folder, out, "--head", head, "--search", "none")
    assert result.returncode == 0, result.stderr
    found, source = read_raw(out), read_raw(folder)
    assert found["model.embed_tokens.weight"] == source["model.embed_tokens.weight"]
    w = widened(np.frombuffer(source["model.embed_tokens.weight"][2], np.uint16)).reshape(259, 64)
    codes = nvfp4([w])[0][0][0] if head == "nvfp4" else fp8(w)[0]
    assert (codes_of(found["lm_head.weight"]) == codes).all()
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    assert nibble("run", out, "hello", "--max-tokens", "3").returncode == 0


def test_a_tied_head_that_stays_stays_tied(nibble, tmp_path):
    folder, out = tied_folder(tmp_path), tmp_path / "out"
    assert nibble("quantize", folder, out, "--scheme", "nvidia-nano").returncode == 0
    assert "lm_head.weight" not in read_raw(out)
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is True
    assert nibble("run", out, "hello", "--max-tokens", "3").returncode == 0


@pytest.mark.parametrize("golden", ["nano-nvfp4", "lightning-mixed", "llama-nvfp4"])
def test_leftovers_of_a_published_checkpoint_are_quantised(nibble, source, tmp_path, golden):
    """The matrices that are quantised keep their bytes; the folder still opens, every claim held against its tensors."""
    folder, out = source / "tests" / "golden" / golden, tmp_path / "out"
    flags = {"lightning-mixed": ["--attention", "fp8"], "llama-nvfp4": ["--head", "fp8"]}.get(golden, ["--head", "nvfp4"])
    result = nibble("quantize", folder, out, *flags)
    assert result.returncode == 0, result.stderr
    before, after = read_raw(folder), read_raw(out)
    for name, tensor in before.items():
        renamed = name.replace("weight_packed", "weight")
        if tensor[0] in ("U8", "F8_E4M3"):
            assert after[renamed][2] == tensor[2], name
    assert nibble("bench", out, "--prompt-tokens", "4", "--output-tokens", "4", "--repeats", "1").returncode == 0


# ------------------------------------------------------------------------------------------------------------ bad input


def refused(nibble, folder, out, *flags, code: int, says: str):
    result = nibble("quantize", folder, out, *flags)
    assert result.returncode == code, result.stderr
    assert says in result.stderr
    assert not out.exists() and not out.with_name(out.name + ".partial").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("encoding", ["nvfp4", "fp8"])
def test_a_weight_that_is_no_number_is_named(nibble, tmp_path, value, encoding):
    folder = tiny_model.write(tmp_path / "in")
    tensors = read_raw(folder)
    name = "model.layers.1.mlp.down_proj.weight"
    dtype, shape, blob = tensors[name]
    bits = np.frombuffer(blob, np.uint16).copy()
    bits[5 * shape[1] + 7] = np.array([value], np.float32).view(np.uint32)[0] >> 16
    tensors[name] = (dtype, shape, bits.tobytes())
    write_safetensors(folder / "model.safetensors", tensors)
    (tmp_path / "rules").write_text(f"* {encoding}\n")
    for says in (name, "[5, 7]"):
        refused(nibble, folder, tmp_path / "out", "--scheme", tmp_path / "rules", code=3, says=says)


def test_what_cannot_be_done_is_named_and_leaves_nothing(nibble, tmp_path):
    folder, out, once = tiny_model.write(tmp_path / "in"), tmp_path / "out", tmp_path / "once"
    assert nibble("quantize", folder, once, "--scheme", "all-nvfp4").returncode == 0
    refused(nibble, once, out, "--scheme", "all-nvfp4", code=3, says="down_proj.weight' is NVFP4 already")
    refused(nibble, once, out, "--head", "nvfp4", code=3, says="'lm_head.weight' is NVFP4 already")
    refused(nibble, once, out, "--head", "fp8", code=3, says="'lm_head.weight' is NVFP4 already")
    refused(nibble, folder, out, "--mamba", "fp8", code=3, says="no mamba module")
    refused(nibble, folder, out, code=2, says="--scheme")
    refused(nibble, folder, out, "--scheme", "no-such", code=2, says="'no-such'")
    refused(nibble, tmp_path / "nowhere", out, "--scheme", "all-nvfp4", code=3, says="nowhere")
    rules = tmp_path / "rules"
    for text, code, says in [
        ("lm_head nvfp4\nmodel.layers.*.mixer.* fp8\n", 3, "rules:2: the pattern 'model.layers.*.mixer.*' matches no"),
        ("lm_head nvfp5\n", 2, "rules:1"),
        ("lm_head\n", 2, "rules:1"),
        ("# nothing\n", 2, "expected rules"),
        ("model.embed_tokens nvfp4\n", 3, "'model.embed_tokens' (embedding) is read plain"),
        ("lm_head keep\n", 3, "nothing to do"),
    ]:
        rules.write_text(text)
        refused(nibble, folder, out, "--scheme", rules, code=code, says=says)
    out.mkdir()
    (out / "mine").write_text("x")
    result = nibble("quantize", folder, out, "--scheme", "all-nvfp4")
    assert result.returncode == 2 and "exists" in result.stderr
    assert (out / "mine").read_text() == "x"


def test_columns_that_no_group_divides_stay_or_are_refused(nibble, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    w = np.ones((4, 24), np.float32)
    write_safetensors(
        folder / "model.safetensors",
        {f"model.layers.0.mlp.{part}.weight": ("F32", w.shape, w.tobytes()) for part in ("up_proj", "down_proj")}
        | {"lm_head.weight": ("F32", (4, 32), np.ones((4, 32), np.float32).tobytes())},
    )
    result = nibble("quantize", folder, tmp_path / "out", "--scheme", "all-nvfp4")
    assert result.returncode == 0, result.stderr
    assert "up_proj stays F32: 24 columns" in result.stderr
    assert read_raw(tmp_path / "out")["model.layers.0.mlp.up_proj.weight"][0] == "F32"
    (tmp_path / "rules").write_text("model.layers.0.mlp.up_proj nvfp4\n")
    refused(nibble, folder, tmp_path / "other", "--scheme", tmp_path / "rules", code=3, says="24 columns")


def test_experts_in_one_tensor_are_written_apart(nibble, tmp_path):
    folder, rng = tmp_path / "in", np.random.default_rng(3)
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    gate_up, down = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 8, 16), (3, 16, 32)))
    write_safetensors(
        folder / "model.safetensors",
        {
            "model.layers.0.mlp.experts.gate_up_proj": ("F32", gate_up.shape, gate_up.tobytes()),
            "model.layers.0.mlp.experts.down_proj": ("F32", down.shape, down.tobytes()),
        },
    )
    result = nibble("quantize", folder, tmp_path / "out", "--scheme", "all-nvfp4", "--search", "none")
    assert result.returncode == 0, result.stderr
    found = read_raw(tmp_path / "out")
    for e in range(3):
        prefix = f"model.layers.0.mlp.experts.{e}."
        made, scale = nvfp4([gate_up[e, :4], gate_up[e, 4:]])
        for part, (codes, scales) in zip(("gate_proj", "up_proj"), made, strict=True):
            assert (codes_of(found[prefix + part + ".weight"]) == codes).all()
            assert (codes_of(found[prefix + part + ".weight_scale"]) == scales).all()
            assert floats_of(found[prefix + part + ".weight_scale_2"]) == scale
        assert (codes_of(found[prefix + "down_proj.weight"]) == nvfp4([down[e]])[0][0][0]).all()
    assert len(found) == 3 * 3 * 3


def test_experts_without_values_are_no_modules(nibble, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    tensors = {"model.layers.0.mlp.experts.up_proj": ("F32", (1 << 40, 0, 16), b"")}
    tensors["lm_head.weight"] = ("F32", (2, 16), np.ones(32, np.float32).tobytes())
    write_safetensors(folder / "model.safetensors", tensors)
    result = nibble("quantize", folder, tmp_path / "out", "--scheme", "all-nvfp4")
    assert result.returncode == 0, result.stderr
    assert read_raw(tmp_path / "out")["model.layers.0.mlp.experts.up_proj"][1] == [1 << 40, 0, 16]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="a small file system needs root")
def test_a_full_disk_is_named_and_leaves_nothing(nibble, tmp_path):
    folder, disk = tiny_model.write(tmp_path / "in"), tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True, check=False).returncode:
        pytest.skip("mount is not allowed here")
    try:
        refused(nibble, folder, disk / "out", "--scheme", "all-nvfp4", code=1, says=str(disk / "out.partial"))
    finally:
        subprocess.run(["umount", disk], check=True)
