"""The header of a GGUF file with nothing but Python: what it says, and what its matrices cost."""
import collections
import mmap
import struct

# ggml's type number: name, values in a block, bytes of a block.
FORMAT = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 30: ("BF16", 1, 2),
    39: ("MXFP4", 32, 17),
}
SCALAR = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

Tensor = collections.namedtuple("Tensor", "name format shape bytes")


class Header:
    """keys: values by name; raw: each key as it stands in the file; tensors in file order."""

    def __init__(self, path):
        self.keys, self.raw = {}, {}
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as self.data:
            if self.data[:4] != b"GGUF":
                raise ValueError(f"{path} is no GGUF file")
            self.at = 8
            tensors, keys = self.take("Q"), self.take("Q")
            for _ in range(keys):
                start = self.at
                name = self.text()
                self.keys[name] = self.value(self.take("I"))
                self.raw[name] = self.data[start:self.at]
            self.tensors = [self.tensor() for _ in range(tensors)]

    def take(self, code):
        value, = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def text(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            kind = self.take("I")
            return [self.value(kind) for _ in range(self.take("Q"))]
        return self.take(SCALAR[kind])

    def tensor(self):
        name = self.text()
        shape = [self.take("Q") for _ in range(self.take("I"))]
        kind, _ = self.take("I"), self.take("Q")
        if kind not in FORMAT:
            raise ValueError(f"tensor {name} has format {kind}, which this reader does not know")
        form, values, size = FORMAT[kind]
        n = 1
        for extent in shape:
            n *= extent
        return Tensor(name, form, shape, n // values * size)

    def matrices(self):
        """Those that a step of one token multiplies with, those of experts as one of as many rows
        as a token meets: the embedding only where it is the head as well."""
        tied = not any(t.name == "output.weight" for t in self.tensors)
        used = self.keys.get(f"{self.keys.get('general.architecture')}.expert_used_count", 0)
        return [t if len(t.shape) == 2 else
                t._replace(shape=[t.shape[0], t.shape[1] * used],
                           bytes=t.bytes // t.shape[2] * used)
                for t in self.tensors
                if len(t.shape) > 1 and (tied or t.name != "token_embd.weight")]

    def cost(self):
        """Bytes that decoding one token reads, and products: in the layers, in the head."""
        matrices = self.matrices()
        layers = sum(t.shape[0] * t.shape[1] for t in matrices if t.name.startswith("blk."))
        head = sum(t.shape[0] * t.shape[1] for t in matrices if not t.name.startswith("blk."))
        norms = sum(t.bytes for t in self.tensors if len(t.shape) == 1)
        return sum(t.bytes for t in matrices) + norms, layers, head

    def formats(self):
        """Such as "69 % Q4_1, 31 % Q8_0", of the bytes that decoding reads."""
        sums = collections.Counter()
        for t in self.matrices():
            sums[t.format] += t.bytes
        return ", ".join(f"{100 * n / sum(sums.values()):.0f} % {name}"
                         for name, n in sums.most_common())
