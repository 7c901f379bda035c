#!/usr/bin/env python3
"""others.py BUILD: written.py, seeing.py, made.py and calibrated.py in an environment of their own,
BUILD/others-venv, which is made on first use: 3 GB to fetch, 7 GB on the disk. Where pip cannot have
it, all are skipped."""
import os
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
VENV = f"{BUILD}/others-venv"
PYTHON = f"{VENV}/bin/python3"
# They say which torch, transformers and compressed-tensors they work with.
PACKAGES = ["llmcompressor==0.14.0.1", "nvidia-modelopt==0.47.0"]
SCRIPTS = ["written.py", "seeing.py", "made.py", "calibrated.py"]


def has_packages():
    code = "import importlib.metadata as m, sys; " \
           "sys.exit(any(m.version(p) != v for p, v in (a.split('==') for a in sys.argv[1:])))"
    return os.path.exists(PYTHON) and not subprocess.run(
        [PYTHON, "-c", code, *PACKAGES], stderr=subprocess.DEVNULL, check=False).returncode


def install():
    """Why not, or nothing."""
    print(f"installing {' and '.join(PACKAGES)} with torch into {VENV}: 3 GB to fetch", flush=True)
    try:
        venv.create(VENV, with_pip=True)
        done = subprocess.run([PYTHON, "-m", "pip", "install", "-q", *PACKAGES], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no environment can be made: {error}"
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return None if done.returncode == 0 else (lines or ["pip failed"])[-1]


def main():
    why = None if has_packages() else install()
    if why:
        print(f"skip others: {why}")
        print(f"others: 0 passed, 0 failed, {len(SCRIPTS)} skipped")
        return 0
    counts, status = [0, 0, 0], 0
    environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "CUDA_VISIBLE_DEVICES": "",
                   "HF_HUB_OFFLINE": "1"}
    for script in SCRIPTS:
        done = subprocess.run([PYTHON, os.path.join(HERE, script), BUILD], check=False,
                              env=environment, text=True, stdout=subprocess.PIPE)
        print(done.stdout, end="")
        status |= done.returncode
        words = done.stdout.split()[-6:]
        numbers = [int(w) for w in words[::2]] if len(words) == 6 and words[1] == "passed," else \
            [0, 1, 0]
        counts = [a + b for a, b in zip(counts, numbers)]
    print("others: {} passed, {} failed, {} skipped".format(*counts))
    return status


if __name__ == "__main__":
    sys.exit(main())
