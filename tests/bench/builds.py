"""Environments with llama.cpp under build/, one for each way it is compiled, made on first use;
and the other formats of a model, made by its own quantizer."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import venv

BENCH = pathlib.Path(__file__).resolve().parent
BUILD = BENCH.parents[1] / "build"
PACKAGE = "llama-cpp-python==0.3.36"
NATIVE, AVX2, PLAIN, BLAS = "native", "avx2", "plain", "blas"
CMAKE_ARGS = {
    NATIVE: "",
    AVX2: "-DGGML_NATIVE=OFF -DGGML_AVX512=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON "
          "-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF",
    PLAIN: "-DGGML_NATIVE=OFF -DGGML_SSE42=OFF -DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_BMI2=OFF "
           "-DGGML_FMA=OFF -DGGML_F16C=OFF -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF",
    BLAS: "-DGGML_BLAS=ON -DGGML_BLAS_VENDOR=OpenBLAS -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF",
}
FTYPE = {"Q8_0": 7, "Q4_K_M": 15}  # llama.cpp's numbers of whole-model formats


def say(text):
    print(text, file=sys.stderr, flush=True)


def folder(build):
    return BUILD / ("bench-venv" if build == NATIVE else f"bench-venv-{build}")


def has(python, module):
    test = f"import importlib.util as u, sys; sys.exit(not u.find_spec('{module}'))"
    return subprocess.run([python, "-c", test], stderr=subprocess.DEVNULL).returncode == 0


def install(build, python, packages):
    env = dict(os.environ, CMAKE_ARGS=CMAKE_ARGS[build])
    source = [] if build == NATIVE else ["--no-cache-dir", "--no-binary", "llama-cpp-python"]
    log = pathlib.Path(f"{folder(build)}.log")
    with open(log, "w") as out:
        done = subprocess.run([python, "-m", "pip", "install", *source, *packages], env=env,
                              stdout=out, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"could not install {' '.join(packages)}: {log} says why")


def check_tools(build):
    """What compiling llama.cpp needs and pip does not bring."""
    missing = [] if shutil.which("c++") else ["g++"]
    if build == BLAS:
        # With OpenMP, as llama.cpp: two kinds of threads would take each other's time.
        missing += [] if shutil.which("pkg-config") else ["pkg-config"]
        known = not missing and subprocess.run(["pkg-config", "--exists", "openblas"]).returncode == 0
        missing += [] if known else ["libopenblas-openmp-dev"]
    if missing:
        sys.exit(f"llama.cpp ({build}) cannot be compiled without: apt-get install "
                 f"{' '.join(missing)}")


def python_of(build):
    """The Python that has llama.cpp compiled in this way."""
    if build == NATIVE and os.environ.get("BENCH_NO_VENV"):
        if not has(sys.executable, "llama_cpp"):
            sys.exit("BENCH_NO_VENV is set, but this Python has no llama_cpp")
        return sys.executable
    python = folder(build) / "bin" / "python3"
    if not python.exists():
        if not has(sys.executable, "ensurepip"):
            sys.exit("Python's venv is missing: apt-get install python3-venv")
        venv.create(folder(build), with_pip=True)
    wanted = {"llama_cpp": PACKAGE, "numpy": "numpy"}
    if build == NATIVE:
        wanted["matplotlib"] = "matplotlib"
    missing = [package for module, package in wanted.items() if not has(python, module)]
    if PACKAGE in missing:
        check_tools(build)
        say(f"installing {PACKAGE} ({build}) into {folder(build).relative_to(BUILD.parent)}; "
            "it is compiled, which takes 5 to 30 minutes once")
    if missing:
        install(build, python, missing)
    return python


def is_made(build):
    return has(folder(build) / "bin" / "python3", "llama_cpp") if folder(build).exists() else False


def about(python):
    out = subprocess.run([python, BENCH / "rival.py", "-", "about"], capture_output=True, text=True)
    if out.returncode:
        sys.exit(f"llama.cpp does not start: {out.stderr.strip().splitlines()[-1]}")
    return json.loads(out.stdout)


def quantized(python, model, form):
    """The model in another format, beside it; llama.cpp writes it if it is not there."""
    name = model.name.replace("Q4_1", form) if "Q4_1" in model.name else f"{model.stem}.{form}.gguf"
    path, part = model.with_name(name), model.with_name(name + ".part")
    if path.exists():
        return path
    say(f"writing {name} from {model.name}")
    done = subprocess.run([python, BENCH / "rival.py", model, "quantize", f"out={part}",
                           f"ftype={FTYPE[form]}"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    part.rename(path)
    return path
