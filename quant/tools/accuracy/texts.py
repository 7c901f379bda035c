#!/usr/bin/env python3
"""English prose out of Debian's packages, as texts of which no two share a passage.

    texts.py FOLDER      writes FOLDER/{evaluation,calibration,held-out,prose,training}.txt

evaluation   every eighth passage of an administrator's handbook, a history of hackers and the King
             James Bible, in turn, so that any beginning of the file is a mixture
calibration  pieces of twenty-five other books, dictionaries and manuals and of a collection of
             quotations, in turn: what is calibrated by one kind of text loses more of all others
held-out     those eighth passages that evaluation has no place for: what train.py is judged by
prose        passages of the history that are not in evaluation, and of a book of essays, in turn:
             modern English alone. Training has them, so it is for other sources than train.py's
training     for the model that train.py trains, about 120 MB: manuals, dictionaries and other books
             of which nothing is held out, then all other passages of the five, several times, so
             that the model knows what it is evaluated on in kind. Calibration is among them.

Packages, about 200 MB, are downloaded and unpacked, not installed. They change with Debian's
releases, and what was measured with them: the table names the texts by their hashes."""
import glob
import gzip
import html.parser
import itertools
import os
import re
import subprocess
import sys

PASSAGE = 8000  # bytes, of whole paragraphs; about four windows of 512 tokens
SHORT = 80      # characters: paragraphs of no more are captions and links
HELD_OUT = 8    # every so many passages one is for evaluation

# Package, and where its prose is.
HTML = {
    "debian-handbook": "usr/share/doc/debian-handbook/html/en-US/*.html",
    "cfi-en": "usr/share/doc/cfi-en/html/ch*.htm",
    "developers-reference": "usr/share/developers-reference/developers-reference.html",
    "debian-reference-en": "usr/share/debian-reference/ch*.en.html",
}
BIBLE = ("bible-kjv", "bible-kjv-text")
ESSAYS = "anarchism"
# Where there is more, in English: the book by itself, translations and lists of changes left out.
WIDER = {
    ESSAYS: "html/*.html",
    "apache2-doc": "manual/en/**/*.html",
    "c++-annotations-html": "/usr/share/doc/c++-annotations/html/*.html",
    "debian-history": "docs/*.en.html",
    "debian-policy": "**/*.html",
    "dict-devil": "/usr/share/dictd/devil.dict.dz",
    "dict-foldoc": "/usr/share/dictd/foldoc.dict.dz",
    "dict-gcide": "/usr/share/dictd/gcide.dict.dz",
    "dict-jargon": "/usr/share/dictd/jargon.dict.dz",
    "exim4-doc-html": "spec_html/*.html",
    "fortunes": "/usr/share/games/fortunes/*",
    "git-doc": "**/*.html",
    "gnome-user-docs": "/usr/share/help/C/**/*.page",
    "libreoffice-help-en-us": "/usr/share/libreoffice/help/en-US/**/*.html",
    "linux-doc-6.1": "html/**/*.html",
    "perl-doc": "/usr/share/perl/**/*.pod",
    "png-definitive-guide": "html/*.html",
    "postfix-doc": "/usr/share/doc/postfix/html/*.html",
    "postgresql-doc-15": "html/*.html",
    "python-django-doc": "html/**/*.html",
    "python3.11-doc": "/usr/share/doc/python3.11/html/**/*.html",
    "rust-doc": "html/book/*.html",
    "shorewall-doc": "html/*.htm*",
    "sqlite3-doc": "/usr/share/doc/sqlite3/**/*.html",
    "swig4.0-doc": "**/*.html",
}
POD_MARKUP = re.compile(r"[A-Z]<<+\s+(.*?)\s+>>+|[A-Z]<([^<>]*)>", re.S)
NO_PROSE = re.compile(r"/translations/|changelog|releaselog|genindex|/changes\b|\.dat$")
BOOKS = 4       # times that the passages of the five books are trained on
KNOWN = 8       # words: a paragraph that shares twice as many in a row is the same text
FOR_EVALUATION = ("debian-handbook", "bible-kjv", "cfi-en")
PROSE = 15      # passages of each of two books, the second ESSAYS
# Pieces that calibration has of a source in each turn; of others one.
SHARES = {"fortunes": 5, "dict-devil": 2, "dict-gcide": 2, "dict-jargon": 2, "gnome-user-docs": 2,
          "rust-doc": 2}
TURNS = 12
PIECE = 2500    # bytes, of whole paragraphs; about a sample of 512 tokens


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
        yield from (p for p in parser.found if len(p) > SHORT)


def is_quotations(path):
    return os.path.basename(os.path.dirname(path)) == "fortunes"


def plain_paragraphs(path):
    """Of a dictionary, where texts are indented, of Perl's pod, where those are examples, or of
    quotations, which stand between lines of "%"."""
    is_pod = path.endswith(".pod")
    with (gzip.open if path.endswith(".dz") else open)(path, "rb") as f:
        text = decode(f.read())
    for part in re.split(r"\n%\n" if is_quotations(path) else r"\n\s*\n", text):
        if is_pod and part[:1] in ("=", " ", "\t"):
            continue
        if is_pod:
            part = POD_MARKUP.sub(r"\1\2", re.sub(r"E<(\w+)>", r"&\1;", part))  # HTML's names
            part = html.unescape(part)
        else:
            part = re.sub(r"\[1913 Webster\]|[{}]", "", part)
        yield " ".join(part.split())


def wider_paragraphs(folder, package, pattern):
    if not pattern.startswith("/"):
        pattern = f"/usr/share/doc/{package}/{pattern}"
    for path in sorted(glob.glob(f"{folder}/{package}{pattern}", recursive=True)):
        if not os.path.isfile(path) or os.path.islink(path) or NO_PROSE.search(path):
            continue
        is_plain = path.endswith((".pod", ".dz")) or is_quotations(path)
        yield from plain_paragraphs(path) if is_plain else html_paragraphs(glob.escape(path))


def runs_of_words(text):
    words = re.findall(r"[a-z0-9]+", text.lower())
    return [" ".join(words[i:i + KNOWN]) for i in range(len(words) - KNOWN + 1)]


def all_runs(texts):
    return {run for text in texts for run in runs_of_words(text)}


def wider(folder, packages, known):
    """Paragraphs of prose by package, each once, and none that quotes what is known."""
    found, seen = {}, set()
    for package, pattern in packages.items():
        found[package] = []
        for paragraph in wider_paragraphs(folder, package, pattern):
            if len(paragraph) <= SHORT or paragraph in seen:
                continue
            seen.add(paragraph)
            if known.isdisjoint(runs_of_words(paragraph)[::KNOWN]):
                found[package].append(paragraph)
        print(f"{package}: {sum(map(len, found[package]))} characters")
    return found


def pieces(paragraphs, n):
    """From all over the paragraphs."""
    for i in range(n):
        piece = ""
        for paragraph in paragraphs[(2 * i + 1) * len(paragraphs) // (2 * n):]:
            piece += paragraph + "\n\n"
            if len(piece) >= PIECE:
                break
        yield piece


def mixture(sources, known):
    """Of paragraphs by source; in each turn pieces of all, none of which quotes what is known."""
    columns = []
    for source, paragraphs in sources.items():
        free = [p for p in paragraphs if known.isdisjoint(runs_of_words(p)[::KNOWN])]
        share = SHARES.get(source, 1)
        parts = list(pieces(free, TURNS * share))
        columns += [parts[i::share] for i in range(share)]
    return in_turn(columns)


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


def offered(packages):
    """Those of them that this release of Debian has: some are named by version."""
    return [p for p in packages if subprocess.run(["apt-cache", "show", p], capture_output=True,
                                                  check=False).returncode == 0]


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


def modern_prose(packages, history):
    essays = passages(wider_paragraphs(packages, ESSAYS, "html/sec*.html"))
    rest = (passage for i, passage in enumerate(history) if i % HELD_OUT)
    return list(itertools.islice(itertools.chain(*zip(rest, essays)), 2 * PROSE))


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
    fetch(packages, offered(WIDER))
    paragraphs = {name: list(html_paragraphs(f"{packages}/{name}/{pattern}"))
                  for name, pattern in HTML.items()}
    paragraphs["bible-kjv"] = list(bible_paragraphs(packages))
    books = {name: list(passages(found)) for name, found in paragraphs.items()}
    for name, found in books.items():
        if not found:
            sys.exit(f"{name}: no prose was found in the package")
    held = {name: books[name][::HELD_OUT] for name in FOR_EVALUATION}
    evaluation, prose = in_turn(held.values()), modern_prose(packages, books["cfi-en"])
    all_held = [p for found in held.values() for p in found]
    others = wider(packages, WIDER, all_runs(all_held))
    sources = {name: found for name, found in {**paragraphs, **others}.items()
               if name not in (*FOR_EVALUATION, ESSAYS)}
    write(f"{folder}/evaluation.txt", evaluation)
    write(f"{folder}/calibration.txt", mixture(sources, all_runs(evaluation + prose)))
    write(f"{folder}/prose.txt", prose)
    rest = [p for name, found in books.items() for i, p in enumerate(found)
            if name not in held or i % HELD_OUT]
    write(f"{folder}/training.txt",
          [*(p + "\n\n" for found in others.values() for p in found), *rest * BOOKS])
    unused = [found[len(evaluation) // len(held):] for found in held.values()]
    write(f"{folder}/held-out.txt", in_turn(part for part in unused if part))


if __name__ == "__main__":
    main()
