"""The safetensors reader and writer against the Python package: what it writes is read alike, what it refuses is refused,
what we write it reads alike."""

import ctypes
import json
import random
import struct

import pytest
import safetensors
from safetensors import TensorSpec
from checkpoint.probe import Probe, Refused

DTYPES = {  # name for TensorSpec -> name in the file, bytes
    "float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2), "float64": ("F64", 8), "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e5m2": ("F8_E5M2", 1), "uint8": ("U8", 1), "int8": ("I8", 1), "int16": ("I16", 2), "uint16": ("U16", 2),
    "int32": ("I32", 4), "uint32": ("U32", 4), "int64": ("I64", 8), "uint64": ("U64", 8), "bool": ("BOOL", 1),
}  # fmt: skip
NAMES = ["a", "model.layers.0.weight", "", "π", 'quote " and \\', "tab\tline\n", "😀", "__metadata", "x" * 300]

# What the Python package accepts and we do not, and why that is right.
STRICTER = (
    "twice",  # a name or field that stands twice: two readers could believe two things
    "is not one that nibble reads",  # F4, F6, C64: no model that nibble runs has them
)


@pytest.fixture(scope="module")
def probe():
    probe = Probe()
    yield probe
    probe.close()


def python_read(data: bytes) -> dict:
    return {name: (t["dtype"], list(t["shape"]), bytes(t["data"])) for name, t in safetensors.deserialize(data)}


def random_file(rng: random.Random) -> bytes:
    specs, keep = {}, []
    for name in rng.sample(NAMES, rng.randint(0, 5)):
        dtype = rng.choice(list(DTYPES))
        shape = [rng.choice([0, 1, 2, 3, 5, 16]) for _ in range(rng.randint(0, 4))]
        count = DTYPES[dtype][1]
        for extent in shape:
            count *= extent
        buffer = bytearray(rng.randbytes(count)) or bytearray(1)
        raw = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        keep.append((buffer, raw))
        specs[name] = TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(raw), data_len=count)
    metadata = rng.choice([None, {"format": "pt"}, {"": "", "π": '"\\'}])
    return bytes(safetensors.serialize(specs, metadata))


def test_what_python_writes_is_read_alike(probe, tmp_path):
    rng = random.Random(1)
    for _ in range(400):
        data = random_file(rng)
        (tmp_path / "f").write_bytes(data)
        assert probe.read(tmp_path / "f") == python_read(data)


def test_what_we_write_python_reads_alike(probe, tmp_path):
    rng = random.Random(2)
    for round_ in range(60):
        data = random_file(rng)
        (tmp_path / "f").write_bytes(data)
        folder = tmp_path / str(round_)
        probe.ask("copy", tmp_path / "f", folder, rng.choice([0, 10, 10**9]))
        written, shards = {}, sorted(folder.glob("*.safetensors"))
        for shard in shards:
            for name, tensor in python_read(shard.read_bytes()).items():
                assert name not in written
                written[name] = tensor
        assert written == python_read(data)
        index = folder / "model.safetensors.index.json"
        assert index.exists() == (len(shards) > 1)
        if index.exists():
            weight_map = json.loads(index.read_text())["weight_map"]
            assert set(weight_map) == set(written) and set(weight_map.values()) == {shard.name for shard in shards}


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One to three faults of the kinds that a writer, a copy or an attacker makes."""
    for _ in range(rng.randint(1, 3)):
        (length,) = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (0,)
        header, body = data[8 : 8 + length], data[8 + length :]
        kind = rng.randrange(9)
        if kind == 0 and data:  # a flipped bit of the header
            at = rng.randrange(min(len(data), 8 + len(header)))
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif kind == 1:  # a cut
            data = data[: rng.randrange(len(data) + 1)]
        elif kind == 2:  # bytes too many
            data += rng.randbytes(rng.randint(1, 9))
        elif kind == 3:  # another length
            data = struct.pack("<Q", max(0, length + rng.choice([-1, 1, 8, -8, 1 << 40]))) + data[8:]
        elif kind == 4 and header:  # bytes of the header replaced by others that JSON likes
            at = rng.randrange(len(header))
            header = header[:at] + rng.choice([b"0", b"9", b"-", b".", b"e", b'"', b",", b"[", b"]", b"{", b"}", b" ", b"null"]) + header[at + 1 :]
            data = struct.pack("<Q", len(header)) + header + body
        else:  # a field that lies
            try:
                fields = json.loads(header)
            except ValueError:
                continue
            tensors = [name for name in fields if name != "__metadata__" and isinstance(fields[name], dict)]
            if not tensors:
                continue
            tensor = fields[rng.choice(tensors)]
            lies = {
                "dtype": [*(name for name, _ in DTYPES.values()), "F4", "F8_E8M0", "C64", "f32", "", 3, None],
                "shape": [[], [0], [1], [2], [1, 1], [3, 5], [-1], [1.0], [2**63], [2**64], [2**32, 2**32], "2", None, [[2]]],
                "data_offsets": [[0, 0], [0, 1], [1, 0], [0, 4], [4, 8], [0], [0, 4, 8], [-1, 0], [0, 2**63], [0, 2**64 - 1], None, {}],
            }  # fmt: skip
            field = rng.choice(list(lies))
            if rng.random() < 0.2:
                tensor.pop(field, None)
            else:
                tensor[field] = rng.choice(lies[field])
            if rng.random() < 0.2:
                tensor["more"] = rng.choice([1, "x", None, {}])
            if rng.random() < 0.1:
                fields["__metadata__"] = rng.choice([{}, {"a": "b"}, {"a": 1}, [], "x", None, {"a": None}])
            header = json.dumps(fields).encode() + b" " * rng.randrange(4)
            data = struct.pack("<Q", len(header)) + header + body
    return data


def test_what_python_refuses_is_refused(probe, tmp_path):
    rng = random.Random(3)
    both = neither = 0
    for _ in range(6000):
        data = mutate(rng, random_file(rng))
        (tmp_path / "f").write_bytes(data)
        try:
            expected = python_read(data)
        except Exception:  # the package raises SafetensorError, and its Rust panics as other kinds
            expected = None
        try:
            found = probe.read(tmp_path / "f")
        except Refused as refused:
            assert expected is None or any(reason in str(refused) for reason in STRICTER), (str(refused), data)
            neither += 1
            continue
        assert expected is not None, ("accepted what Python refuses", data)
        assert found == expected
        both += 1
    assert both > 300 and neither > 3000  # the faults are neither all fatal nor all harmless
