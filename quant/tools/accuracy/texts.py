#!/usr/bin/env python3
"""English prose out of Debian's packages, as three texts of which no two share a passage.

    texts.py FOLDER      writes FOLDER/{evaluation,calibration,training}.txt

evaluation   every eighth passage of an administrator's handbook, a history of hackers and the King
             James Bible, in turn, so that any beginning of the file is a mixture
calibration  two other books, in turn
training     all other passages of all five, for the model that train.py trains

Packages are downloaded and unpacked, not installed. They change with Debian's releases, and what
was measured with them: the table names the texts by their hashes."""
import glob
import html.parser
import itertools
import os
import re
import subprocess
import sys

PASSAGE = 8000  # bytes, of whole paragraphs; about four windows of 512 tokens
HELD_OUT = 8    # every so many passages one is for evaluation

# Package, and where its prose is.
HTML = {
    "debian-handbook": "usr/share/doc/debian-handbook/html/en-US/*.html",
    "cfi-en": "usr/share/doc/cfi-en/html/ch*.htm",
    "developers-reference": "usr/share/developers-reference/developers-reference.html",
    "debian-reference-en": "usr/share/debian-reference/ch*.en.html",
}
BIBLE = ("bible-kjv", "bible-kjv-text")
FOR_EVALUATION = ("debian-handbook", "bible-kjv", "cfi-en")
FOR_CALIBRATION = ("developers-reference", "debian-reference-en")


class Paragraphs(html.parser.HTMLParser):
    """What stands in <p> or <div class="para">, without markup."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.found, self.parts = [], None

    def end(self):
        if self.parts is not None:
            self.found.append(" ".join("".join(self.parts).split()))
        self.parts = None

    def handle_starttag(self, tag, attrs):
        if tag in ("p", "table", "pre", "ul", "ol", "div"):
            self.end()
        if tag == "p" or tag == "div" and ("class", "para") in attrs:
            self.parts = []

    def handle_endtag(self, tag):
        if tag in ("p", "div", "td", "li"):
            self.end()

    def handle_data(self, data):
        if self.parts is not None:
            self.parts.append(data)


def decode(raw):
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def html_paragraphs(pattern):
    for path in sorted(glob.glob(pattern)):
        parser = Paragraphs()
        with open(path, "rb") as f:
            parser.feed(decode(f.read()))
        parser.end()
        yield from (p for p in parser.found if len(p) > 80)  # shorter ones are captions and links


def bible_paragraphs(packages):
    """Its chapters; bible -f prints a verse a line, "Ge1:1 In the beginning ..."."""
    program, data = (f"{packages}/{p}/{at}" for p, at in zip(BIBLE, ("usr/bin/bible", "usr/lib")))
    out = subprocess.run([program, "-f", "-p", data, "Gen1:1-Rev22:21"], capture_output=True,
                         text=True, check=True, stdin=subprocess.DEVNULL).stdout
    verses = re.findall(r"^(\S+):\d+ (.+)$", out, re.M)
    for _, chapter in itertools.groupby(verses, key=lambda verse: verse[0]):
        yield " ".join(text for _, text in chapter)


def fetch(folder, packages):
    os.makedirs(folder, exist_ok=True)
    missing = [p for p in packages if not os.path.isdir(f"{folder}/{p}")]
    if not missing:
        return
    for before in (None, ["apt-get", "update", "-qq"]):
        if before:
            subprocess.run(before, check=True)
        done = subprocess.run(["apt-get", "download", "-qq", *missing], cwd=folder, check=False)
        if done.returncode == 0:
            break
    else:
        sys.exit("apt-get could not download " + " ".join(missing))
    for package in missing:
        for deb in glob.glob(f"{folder}/{package}_*.deb"):
            subprocess.run(["dpkg-deb", "-x", deb, f"{folder}/{package}"], check=True)
            os.remove(deb)


def passages(paragraphs):
    part, size = [], 0
    for paragraph in paragraphs:
        part.append(paragraph)
        size += len(paragraph)
        if size >= PASSAGE:
            yield "\n\n".join(part) + "\n\n"
            part, size = [], 0


def in_turn(books):
    """As long as every book has one: then the mixture is the same all along."""
    return [passage for row in zip(*books) for passage in row]


def write(path, parts):
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write("".join(parts))
    os.replace(path + ".part", path)
    print(f"{path}: {os.path.getsize(path)} bytes")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    packages = f"{folder}/packages"
    fetch(packages, [*HTML, *BIBLE])
    books = {name: list(passages(html_paragraphs(f"{packages}/{name}/{pattern}")))
             for name, pattern in HTML.items()}
    books["bible-kjv"] = list(passages(bible_paragraphs(packages)))
    for name, found in books.items():
        if not found:
            sys.exit(f"{name}: no prose was found in the package")
    held = {name: books[name][::HELD_OUT] for name in FOR_EVALUATION}
    write(f"{folder}/evaluation.txt", in_turn(held.values()))
    write(f"{folder}/calibration.txt", in_turn(books[name] for name in FOR_CALIBRATION))
    rest = [p for name, found in books.items() for i, p in enumerate(found)
            if name not in held or i % HELD_OUT]
    write(f"{folder}/training.txt", rest)


if __name__ == "__main__":
    main()
