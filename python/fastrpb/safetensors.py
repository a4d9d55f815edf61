"""The safetensors format: 8 bytes of the header's length, a JSON header, the tensors' bytes, little-endian."""

import ctypes
import json
import math

import torch

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool}
DTYPES.update({"I64": torch.int64, "I32": torch.int32, "U32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8})
# By what the reference implementation sorts, before the names: the largest alignment first.
ORDER = ["I64", "F64", "F32", "I32", "BF16", "F16", "I16", "I8", "U8", "BOOL"]
MAX_HEADER = 100_000_000


def save_file(tensors, path, metadata=None):
    """Writes tensors by name, and metadata, a dict of strings."""
    names = {dtype: name for name, dtype in DTYPES.items() if name != "U32"}
    order = sorted(tensors, key=lambda name: (ORDER.index(names[tensors[name].dtype]), name))
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name in order:
        tensor = tensors[name]
        end = at + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            tensor = tensors[name].detach().cpu().contiguous()
            file.write(ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size()) if tensor.numel() else b"")


def load_file(path):
    """Tensors by name, and the metadata. U32 comes as int64. Raises ValueError where the format is broken."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        return _parse(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no safetensors file that this reader knows: {error}") from None


def _parse(data):
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(MAX_HEADER, len(data) - 8):
        raise ValueError("the header is cut off or too long")
    header = json.loads(data[8 : 8 + size].decode(), object_pairs_hook=_unique)
    metadata = header.pop("__metadata__", {})
    body, tensors, end = memoryview(data)[8 + size :], {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (first, last) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        count = math.prod(shape)
        fits = min(shape, default=0) >= 0 and last - first == count * torch.empty((), dtype=dtype).element_size()
        if first != end or last > len(body) or not fits:
            raise ValueError(f"{name} of {entry['dtype']} {shape} is at {first} to {last}, after {end}, of {len(body)} bytes")
        tensor = torch.frombuffer(bytearray(body[first:last]), dtype=dtype) if count else torch.empty(0, dtype=dtype)
        tensors[name] = (tensor.long() & 0xFFFFFFFF if entry["dtype"] == "U32" else tensor).reshape(shape)
        end = last
    if end != len(body):
        raise ValueError(f"{len(body) - end} bytes belong to no tensor")
    return tensors, metadata


def _unique(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"a key comes twice in {keys}")
    return dict(pairs)
