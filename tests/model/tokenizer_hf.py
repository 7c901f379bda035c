#!/usr/bin/env python3
"""Makes tests/model/golden/tokenizer.bin: lines of text, and what the reference
implementation of Hugging Face (pip install tokenizers gguf) makes of them.

    tests/model/tokenizer_hf.py MODEL.gguf                 rewrites the committed file
    tests/model/tokenizer_hf.py MODEL.gguf --seed 7 --out build/tokenizer.bin
    INFLIGHT_TOKENIZER_GOLDEN=build/tokenizer.bin build/tests/model/tokenizer
    tests/model/tokenizer_hf.py MODEL.gguf --speed TEXT    its MB/s, one thread

MODEL: SmolLM2's GGUF file, for its vocabulary and merges. The file, little-endian:

    "TOKGOLD1", u32 lines, u32 lists
    per line: u16 length, UTF-8
    per list: u8 length, name, u32 lines per hash, u32 hashes, u32 each

A list "ids NAME" hashes token ids, a list "cut NAME" the words the pre-tokenizer NAME
makes of the line. Hashes are FNV-1a of 32 bits over the ids as 4 bytes each, or over
the bytes of each word and 0xFF; those of several lines run on.
"""
import argparse
import random
import re
import struct
import time
import unicodedata

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

N_LINES = 12_288
LINES_PER_CUT = 16

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = (CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SEED_CODER = (CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+"
              r"|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTION}?"
         rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTION}?|\p{{N}}{{1,3}}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V3 = [
    r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"]


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def split(*expressions):
    return [pre_tokenizers.Split(Regex(e), "isolated") for e in expressions]


def digits():
    return pre_tokenizers.Digits(individual_digits=True)


BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
FALCON = [pre_tokenizers.Punctuation("contiguous"), byte_level(True),
          pre_tokenizers.Digits(individual_digits=False), *split("[0-9][0-9][0-9]")]

# Name as in tokenizer.ggml.pre: normalizer or None, pre-tokenizers in order.
FAMILIES = {
    "gpt-2": (None, [byte_level(True)]),
    "smollm": (None, [digits(), byte_level(True)]),
    "llama-bpe": (None, split(LLAMA3) + [byte_level(False)]),
    "qwen2": (normalizers.NFC(), split(QWEN2) + [byte_level(False)]),
    "tekken": (None, split(TEKKEN) + [byte_level(False)]),
    "gpt-4o": (None, split(GPT4O) + [byte_level(False)]),
    "deepseek-coder": (None, split(*DEEPSEEK_CODER) + [digits(), byte_level(False)]),
    "deepseek-v3": (None, split(*DEEPSEEK_V3) + [byte_level(False)]),
    "mpt": (normalizers.NFC(), [byte_level(True)]),
    "bloom": (None, split(BLOOM) + [byte_level(False)]),
    "falcon": (None, FALCON),
    "command-r": (normalizers.NFC(), [digits(), byte_level(True)]),
    "dbrx": (None, split(LLAMA3) + [byte_level(False)]),
    "seed-coder": (None, split(SEED_CODER) + [byte_level(False)]),
}

# ---- Lines: handwritten ones, pieces of them put together anew, and random characters.

SEEDS = r"""
The quick brown fox jumps over the lazy dog.
I'm sure they'll say we've won; it's what you'd do, isn't it? THEY'RE NOT, he'S said.
int main(void) { return printf("%d\\n", x->y[3] << 2) != 0 ? 1 : 0; }
    def __init__(self, *args, **kwargs):  # four spaces
\tfor (size_t i = 0; i < n; i++)\tsum += a[i];\t\t
SELECT COUNT(*) FROM users WHERE name LIKE '%o''brien%' AND id >= 0x1F;
https://example.org/path/to?query=1&b=%20#fragment user.name+tag@mail.example
{"role": "user", "content": "hi\\u00e9", "n": [1, 2.5e-10, null, true]}
<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n
<|im_start|><|im_end|><|endoftext|><|im_start
a<|im_end|>b <|im_end|> c<|im_<|im_end|>end|>
<repo_name>x<file_sep>y<filename>z<gh_stars>0-10<jupyter_code>
\r\n\r\nWindows lines\r\nand\rold Mac\n\n\n   \n  x
      a  b   c    d     e      \t\t\t  \n \n\x20\x20
3.14159265358979 1,000,000 2024-01-31T23:59:59Z 007 ½ ¾ ² ³ ① ② Ⅷ ٣٤٥ १२३ 三十
+1 (555) 010-9999 $12.50 €99,99 £7 ¥1000 100% 5°C −40 ±3 ×2 ÷4 ≤ ≥ ≠ ∞ ∑ ∫ √2
机器学习是人工智能的一个分支。你好，世界！他说：“真的吗？”
吾輩は猫である。名前はまだ無い。カタカナとひらがな、ｶﾞｷﾞ全角ＡＢＣ１２３
한국어 문장은 띄어쓰기가 있습니다. 안녕하세요! 가나다
Съешь же ещё этих мягких французских булок, да выпей чаю. ЁЛКА
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. ΆΈΉ ς σ
שלום עולם! מה שלומך? שָׁלוֹם
السلام عليكم ورحمة الله وبركاته، كيف حالك؟ مُحَمَّد
नमस्ते दुनिया, आप कैसे हैं? क्षत्रिय ज़रूर
สวัสดีชาวโลก ภาษาไทยไม่เว้นวรรค
👋🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️‍🔥 👩🏿‍🚀 #️⃣ 😀😃😄 ☎ ☎️ ✌🏻
e\u0301 a\u0308\u0323 o\u0302\u0301 n\u0303 \u212B \u2126 A\u030A \u1E9B\u0323 q\u0307\u0323
Z\u0351\u036B\u0343a\u0334\u0321\u0327l\u0335\u0316g\u0338\u033Fo\u0336
\u1100\u1161\u11A8 \uAC00\u11A8 \u0958 \u2ADC \uFB1D \u0344
naïve café résumé Zürich Straße Ærøskøbing Łódź İstanbul ılık Ĳssel ŉ
'ſ 'S 'T 'LL 'Re 'vE 'ᵭ ’s ’t can't CAN'T o'clock 'tis 'K 'm'm''s'''d
ſtraße KELVIN ﬁ ﬀ ﬆ ǅ ǈ ǲ ᾈ ʰ ˈ ª º
\u00A0nbsp\u00A0\u2003em\u2003\u3000wide\u3000\u202Fnarrow\u205F\u1680ogham\u0085nel\u2028ls\u2029ps
zero\u200Bwidth\u200Cjoin\u200Der\u2060word\uFEFFbom\u180Emongol\u00ADsoft
\u200Erights\u200F\u202Alre\u202Bpdf\u202C\u2066iso\u2069
\x00\x01\x02\x03\x05\x07\x08\x0b\x0c\x0e\x1b[31mred\x1b[0m\x1c\x1d\x1e\x1f\x7f\x80\x9f
$$$ ### !!! ??? ... --- === *** ___ /// \\\\\\ ||| ~~~ ^^^ &&& @@@ ;;; ::: ,,,
"quoted" 'single' `tick` «guillemets» „low“ ‚x‘ ‹y› (a)[b]{c}<d>
camelCaseWord HTMLParser XMLHttpRequest snake_case_word kebab-case SCREAMING_SNAKE iPhone15Pro
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
abababababababababababababababababababababababababababababababababababababab
Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft
0123456789012345678901234567890123456789 0xDEADBEEF 1e10 1_000
================================================================================
                                                                 deep indent
𝕳𝖊𝖑𝖑𝖔 𝓦𝓸𝓻𝓵𝓭 𝟘𝟙𝟚 𐍈 𠜎𠜱 𒀀 𓂀 🜁 \U000E0001
tab\tsep\tvalues\r\n1\t2\t3\r\n\t\r\n
C:\\Users\\x\\n.txt ../../etc/passwd ~/.bashrc /usr/lib/x86_64-linux-gnu
dear\u0001\u0301 \u0301x \n\u0301 1\u0301 \u200D\u0301 .\u0301
"""

RANGES = [(0x20, 0x7E)] * 6 + [
    (0, 0x1F), (0x80, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
    (0x1100, 0x11FF), (0x1680, 0x169F), (0x1800, 0x180F), (0x1D00, 0x1DFF), (0x1E00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x23FF), (0x2460, 0x27BF), (0x2E80, 0x303F),
    (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA640, 0xA69F), (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFEFF), (0xFF00, 0xFFEF), (0x10000, 0x100FF),
    (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0xE0000, 0xE007F),
    (0x0, 0x10FFFF)]


def unescape(text):
    return re.sub(r"\\(?:u[0-9A-F]{4}|U[0-9A-F]{8}|x[0-9a-f]{2}|[nrt\\])",
                  lambda m: m[0].encode().decode("unicode_escape"), text)


def random_character(rng):
    """An assigned character: versions of Unicode agree on what those are."""
    while True:
        low, high = rng.choice(RANGES)
        c = chr(rng.randint(low, high))
        if unicodedata.category(c) not in ("Cn", "Cs"):
            return c


def versions_agree(line):
    """The reference's table of combining classes is of an old version of Unicode."""
    return normalizers.NFC().normalize_str(line) == unicodedata.normalize("NFC", line)


def random_piece(rng, seeds):
    kind = rng.randrange(10)
    if kind < 5:
        seed = rng.choice(seeds)
        at = rng.randrange(len(seed))
        return seed[at:at + rng.randint(1, 14)]
    if kind < 6:
        return rng.choice(" \t\n\r'.-\u00a0") * rng.randint(1, 6)
    if kind < 7:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 7)))
    if kind < 8:
        return rng.choice([" ", "\n", "\r\n", "'s", "'LL", "\u0301", "\u0323", "\u200d", "\ufe0f"])
    low, high = rng.choice(RANGES)
    pool = [random_character(rng) if (low, high) == RANGES[-1] else chr(rng.randint(low, high))
            for _ in range(rng.randint(1, 6))]
    return "".join(c for c in pool if unicodedata.category(c) not in ("Cn", "Cs"))


def make_lines(seed):
    rng = random.Random(seed)
    seeds = [unescape(text) for text in SEEDS.splitlines() if text]
    lines = {text: None for text in seeds}
    while len(lines) < N_LINES:
        line = "".join(random_piece(rng, seeds) for _ in range(rng.choice([1, 2, 2, 3, 3, 4])))
        if line and len(line.encode()) < 600 and versions_agree(line):
            lines[line] = None
    return list(lines)


# ---- The reference and its hashes.

def read_model(path):
    fields = GGUFReader(path).fields
    texts = {k: [bytes(fields[k].parts[i]).decode() for i in fields[k].data]
             for k in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges")}
    types = fields["tokenizer.ggml.token_type"]
    kinds = [int(types.parts[i][0]) for i in types.data]
    return texts["tokenizer.ggml.tokens"], kinds, texts["tokenizer.ggml.merges"]


def make_tokenizer(model, name, with_control):
    tokens, kinds, merges = model
    t = Tokenizer(models.BPE({s: i for i, s in enumerate(tokens)},
                             [tuple(m.split(" ")) for m in merges]))
    normalizer, steps = FAMILIES[name]
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if with_control:
        t.add_special_tokens([AddedToken(s, special=True, normalized=False)
                              for s, k in zip(tokens, kinds) if k == 3])
    return t


def alphabet():
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in visible]
    return {chr(b): b for b in visible} | {chr(256 + i): b for i, b in enumerate(hidden)}


def fnv(data, h):
    for b in data:
        h = (h ^ b) * 0x01000193 & 0xFFFFFFFF
    return h


FNV_START = 0x811C9DC5


def hash_ids(tokenizer, lines):
    return [fnv(struct.pack(f"<{len(e.ids)}i", *e.ids), FNV_START)
            for e in tokenizer.encode_batch(lines, add_special_tokens=False)]


def hash_cuts(name, lines):
    normalizer, steps = FAMILIES[name]
    cutter, to_byte, hashes = pre_tokenizers.Sequence(steps), alphabet(), []
    for i, line in enumerate(lines):
        if i % LINES_PER_CUT == 0:
            hashes.append(FNV_START)
        text = normalizer.normalize_str(line) if normalizer else line
        for word, _ in cutter.pre_tokenize_str(text):
            hashes[-1] = fnv(bytes(to_byte[c] for c in word) + b"\xff", hashes[-1])
    return hashes


def write(path, lines, lists):
    with open(path, "wb") as f:
        f.write(b"TOKGOLD1" + struct.pack("<II", len(lines), len(lists)))
        for line in map(str.encode, lines):
            f.write(struct.pack("<H", len(line)) + line)
        for name, per_hash, hashes in lists:
            f.write(struct.pack("B", len(name)) + name.encode())
            f.write(struct.pack(f"<II{len(hashes)}I", per_hash, len(hashes), *hashes))


def speed(tokenizer, path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        best = min(best, time.perf_counter() - start)
    print(f"{len(text.encode())} bytes, {len(ids)} ids, {len(text.encode()) / best / 1e6:.2f} MB/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="tests/model/golden/tokenizer.bin")
    parser.add_argument("--speed")
    args = parser.parse_args()
    model = read_model(args.model)
    if args.speed:
        speed(make_tokenizer(model, "smollm", True), args.speed)
        return
    lines = make_lines(args.seed)
    lists = [("ids trusted", 1, hash_ids(make_tokenizer(model, "smollm", True), lines)),
             ("ids plain", 1, hash_ids(make_tokenizer(model, "smollm", False), lines))]
    # Falcon's marks are those of an older Unicode there: one line, of U+061D, is cut differently.
    lists += [("cut " + name, LINES_PER_CUT, hash_cuts(name, lines)) for name in FAMILIES
              if name != "falcon"]
    write(args.out, lines, lists)
    print(f"{args.out}: {len(lines)} lines, {sum(len(x.encode()) for x in lines)} bytes, "
          f"{len(lists)} lists")


if __name__ == "__main__":
    main()
