"""A Hugging Face folder in one file of bf16 or f32, as numpy arrays, and back."""
import json
import pathlib
import shutil
import struct
import sys

import numpy as np

sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "tests/model"))
import hf_write
from gguf_to_hf import pack

TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def config(path):
    with open(f"{path}/config.json", encoding="utf-8") as f:
        return json.load(f)


def each_weight(path):
    """(name, float32 array), exactly as stored, one after another."""
    raw = np.memmap(f"{path}/model.safetensors", mode="r")
    n, = struct.unpack_from("<Q", raw)
    for name, t in json.loads(bytes(raw[8:8 + n])).items():
        if name == "__metadata__":
            continue
        first, last = t["data_offsets"]
        part = raw[8 + n + first:8 + n + last]
        if t["dtype"] == "BF16":
            x = (np.frombuffer(part, "<u2").astype("<u4") << 16).view("<f4")
        elif t["dtype"] == "F32":
            x = np.frombuffer(part, "<f4")
        else:
            sys.exit(f"{path}: {name} is {t['dtype']}, and not BF16 or F32")
        yield name, x.reshape(t["shape"])


def weights(path):
    return dict(each_weight(path))


def write(path, tensors, settings, like, form="bf16"):
    """settings: of config.json; like: the folder whose tokenizer it has."""
    hf_write.open_folder(path)
    hf_write.weights(path, [(name, x.shape, form, pack(x, form)) for name, x in tensors.items()], 1)
    hf_write.json_file(f"{path}/config.json", settings)
    for name in TEXT_FILES:
        if pathlib.Path(like, name).exists():
            shutil.copy(f"{like}/{name}", path)
