"""Quantizes and evaluates, one row after another; what was measured is kept, and measured again
only when a program, a text, a source or a setting has changed. Wants nothing but Python."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import rows

sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "tests/bench"))
import gguf_read

REPORT = "inflight-quantize.json"
NICE = ["nice", "-n", "5"]


class Failed(Exception):
    pass


def run(command):
    """What it prints; the last line of its errors is the reason of a failure."""
    done = subprocess.run([*NICE, *map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise Failed(lines[-1])
    return done.stdout


def digest(path, known={}):
    """Of a file, or of a folder's weights; read once a run."""
    path = pathlib.Path(path)
    path = path / "model.safetensors" if path.is_dir() else path
    if path not in known:
        h = hashlib.sha256()
        with open(path, "rb") as f:
            for part in iter(lambda: f.read(1 << 20), b""):
                h.update(part)
        known[path] = h.hexdigest()[:16]
    return known[path]


class Bench:
    """Where things are, and how much is read."""

    def __init__(self, args):
        self.args = args
        self.work = pathlib.Path(args.work)
        self.bin = pathlib.Path(args.bin)
        self.evaluation = self.work / "texts/evaluation.txt"
        self.calibration = self.work / "texts/calibration.txt"
        self.texts = [pathlib.Path(text) for text in args.text] or [self.evaluation]

    def source(self, name):
        return self.work / name

    def gguf(self, source, form):
        return self.work / f"{source}.{form}.gguf"

    def label(self, source, text):
        """Of a source and the text that is scored, unless that is the one for evaluation."""
        return rows.label(source, text.stem if text != self.evaluation else "")

    def results(self, source, text):
        return self.work / "results" / self.label(source, text)

    def result_path(self, source, row, text, activations):
        return self.results(source, text) / rows.file_name(row, activations)

    def windows(self, row):
        return self.args.windows if rows.is_precise(row) else self.args.windows4

    # ---- Quantizing

    def quantize_command(self, source, row, out):
        text = ["-c", self.calibration, "--samples", self.args.samples] if row.wants_text else []
        return [self.bin / "inflight-quantize", self.source(source), "-o", out, "--quiet",
                "-d", self.args.device, *row.quantize, *text]

    def made(self, source, row):
        """The model of a row, and what is known of its matrices."""
        if row.kind == "cache":
            return self.source(source), {}
        if row.kind == "rival":
            path = self.gguf(source, row.form)
            if not path.exists():
                raise Failed("llama.cpp's file has not been made")
            return path, self.gguf_facts(path)
        out = self.work / "made" / source / rows.title(row).replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(f"{out}.partial", ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        run(self.quantize_command(source, row, out))
        return out, {**self.folder_facts(source, out), "seconds": time.monotonic() - began}

    def folder_facts(self, source, out):
        """Of all matrices of layers, those that stayed as they were too."""
        values = {name.removesuffix(".weight"): t["shape"][0] * t["shape"][1]
                  for name, t in tensors_of(self.source(source)).items()
                  if ".layers." in name and len(t["shape"]) == 2}
        size = sum(t["data_offsets"][1] - t["data_offsets"][0]
                   for name, t in tensors_of(out).items() if name.rpartition(".")[0] in values)
        with open(out / REPORT, encoding="utf-8") as f:
            matrices = json.load(f)["matrices"]
        return {"bytes": size, "bits": 8 * size / sum(values.values()), "matrices": matrices}

    @staticmethod
    def gguf_facts(path):
        matrices = [t for t in gguf_read.Header(str(path)).matrices() if t.name.startswith("blk.")]
        size = sum(t.bytes for t in matrices)
        forms = sorted({t.format for t in matrices})
        return {"bytes": size, "bits": 8 * size / sum(t.shape[0] * t.shape[1] for t in matrices),
                "forms": forms}

    # ---- Evaluating

    def evaluate_command(self, source, row, model, text, activations):
        cache = ["-k", row.quantize[0]] if row.kind == "cache" else []
        return [self.bin / "inflight-eval", model, text, "-r", self.source(source),
                "-c", self.args.context, "-n", self.windows(row), "-a", activations,
                "-d", self.args.device, "--quiet", "-j", "-", *cache]

    def stamp(self, source, row, text, activations):
        """What a result depends on, wherever that lies."""
        parts = [*self.programs(row), digest(text), digest(self.source(source)),
                 self.args.context, self.windows(row), self.args.device, activations, *row.quantize]
        if row.wants_text:
            parts += [self.args.samples, digest(self.calibration)]
        if row.kind == "rival" and self.gguf(source, row.form).exists():
            parts.append(digest(self.gguf(source, row.form)))
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()

    def programs(self, row):
        names = ["inflight-eval"] + (["inflight-quantize"] if row.kind == "ours" else [])
        return [f"{name} {digest(self.bin / name)}" for name in names]

    def known(self, source, row, text, activations):
        try:
            with open(self.result_path(source, row, text, activations), encoding="utf-8") as f:
                result = json.load(f)
        except (OSError, ValueError):
            return None
        stamp = self.stamp(source, row, text, activations)
        return result if result.get("stamp") == stamp else None

    def keep(self, source, row, text, activations, result):
        path = self.result_path(source, row, text, activations)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{path}.part", "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
        os.replace(f"{path}.part", path)

    def evaluate(self, source, row, text, activations, model, facts):
        found = json.loads(run(self.evaluate_command(source, row, model, text, activations)))
        result = {**found, **facts, "source": self.label(source, text), "title": rows.title(row),
                  "activations": activations,
                  "stamp": self.stamp(source, row, text, activations),
                  "text_digest": digest(text), "device": self.args.device,
                  "programs": self.programs(row)}
        self.keep(source, row, text, activations, result)
        return result

    def measure(self, source, row):
        """All of a row that is not known yet: {(text, activations): result}. It is quantized once
        for all texts."""
        results = {(text, kind): self.known(source, row, text, kind)
                   for text in self.texts for kind in row.activations}
        missing = [key for key, result in results.items() if not result]
        if not missing:
            return results
        model, facts = self.made(source, row)
        for key in missing:
            results[key] = self.evaluate(source, row, *key, model, facts)
        if row.kind == "ours":
            shutil.rmtree(model)
        return results


def tensors_of(folder):
    """What the headers of its files say."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as f:
            n = int.from_bytes(f.read(8), "little")
            found.update(json.loads(f.read(n)))
    found.pop("__metadata__", None)
    return found
