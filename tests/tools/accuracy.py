#!/usr/bin/env python3
"""quant/tools/accuracy, for BUILD: what is measured again and what is kept, bits a weight, what is
said of intervals, how texts are cut. llama.cpp, numpy and packages are not needed for these."""
import argparse
import gzip
import os
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "quant/tools/accuracy")]
import eval as made
import measure
import report
import rows
import runner
import texts

BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build")
INT8 = next(row for row in rows.ROWS if rows.title(row) == "int8 rtn")
RIVAL = next(row for row in rows.ROWS if rows.title(row) == "Q4_K llama.cpp")
GPTQ = next(row for row in rows.ROWS if rows.title(row) == "int4 g64 gptq")


def bench_of(work):
    for name in ("evaluation", "calibration"):
        os.makedirs(f"{work}/texts", exist_ok=True)
        with open(f"{work}/texts/{name}.txt", "w", encoding="utf-8") as f:
            f.write(made.TEXT)
    made.make_model(f"{work}/small", lambda r, c: (r + c) % 7 / 7)
    return measure.Bench(argparse.Namespace(work=work, bin=BUILD / "bin", context=64, windows=4,
                                            windows4=2, samples=2, device="cpu", text=[]))


def test_rows_are_measured_once(work):
    bench = bench_of(work)
    results = bench.measure("small", INT8)
    assert [kind for _, kind in results] == ["float", "int8"], results
    path = bench.result_path("small", INT8, bench.evaluation, "float")
    before = path.stat().st_mtime_ns
    assert bench.measure("small", INT8) == results
    assert path.stat().st_mtime_ns == before, "it was measured again"


def test_another_text_is_measured_again(work):
    bench = bench_of(work)
    bench.measure("small", INT8)
    other = pathlib.Path(work, "other.txt")
    other.write_text(made.TEXT.upper(), encoding="utf-8")
    there = bench.result_path("small", INT8, other, "float")
    there.parent.mkdir(parents=True)
    shutil.copy(bench.result_path("small", INT8, bench.evaluation, "float"), there)
    assert bench.known("small", INT8, bench.evaluation, "float")
    assert bench.known("small", INT8, other, "float") is None


def test_results_of_a_text_stand_by_themselves(work):
    bench = bench_of(work)
    path = pathlib.Path(work, "modern.txt")
    path.write_text(made.TEXT.upper(), encoding="utf-8")
    bench.args.text = [str(bench.evaluation), str(path)]
    measure.Bench(bench.args).measure("small", INT8)
    found = report.read(pathlib.Path(work))
    assert list(found) == ["small", "small on modern"], list(found)
    one, other = (results[INT8, "float"] for results in found.values())
    assert one["text_digest"] != other["text_digest"] and other["source"] == "small on modern"
    said = list(report.conditions(pathlib.Path(work), found))
    assert f"text modern: SHA-256 begins with {other['text_digest']}" in said, said
    assert f"text evaluation: SHA-256 begins with {one['text_digest']}" in said, said


def test_bits_are_of_the_matrices(work):
    bench = bench_of(work)
    facts = bench.measure("small", INT8)[bench.evaluation, "float"]
    assert facts["bits"] == 8 + 32 / made.WIDTH, facts["bits"]
    assert facts["bytes"] == 7 * made.WIDTH * (made.WIDTH + 4), facts["bytes"]


def test_what_cannot_be_made_has_a_reason(work):
    bench = bench_of(work)
    for row in (RIVAL, rows.ours("int3", "rtn", "-r", "int3")):
        try:
            bench.measure("small", row)
        except measure.Failed as failure:
            assert "int3" in str(failure) or "has not been made" in str(failure), failure
        else:
            raise AssertionError(f"{rows.title(row)} was measured")


def result(ratio, error, kl, kl_error, bits=4.5):
    return {"perplexity_ratio": {"value": ratio, "interval95": [ratio - error, ratio + error]},
            "kl_divergence": {"mean": kl, "error95": kl_error}, "bits": bits, "windows": 4}


def test_bars_are_held_by_whole_intervals(work):
    for ratio, error, said in ((1.002, 0.002, "holds"), (1.004, 0.002, "not decided"),
                               (1.009, 0.002, "does not hold"), (0.99, 0.002, "holds")):
        fp8 = next(row for row in rows.ROWS if rows.title(row) == "fp8 rtn")
        line, = report.bars({"small": {(fp8, "float"): result(ratio, error, 0.1, 0.01)}})
        assert f"within 0.5 %: {said}" in line, line


def test_llama_cpp_is_compared_at_no_more_bits(work):
    def lines(ours):
        theirs = result(1, 0.1, 0.10, 0.01)
        return list(report.beside_rivals({"small": {(GPTQ, "float"): ours,
                                                    (RIVAL, "float"): theirs}}))
    better, = lines(result(1, 0.1, 0.05, 0.01, 4.3))
    assert better.endswith(": holds"), better
    worse, = lines(result(1, 0.1, 0.15, 0.01, 4.3))
    assert worse.endswith(": does not hold"), worse
    unsure, = lines(result(1, 0.1, 0.11, 0.01, 4.3))
    assert unsure.endswith("not decided by this text"), unsure
    assert lines(result(1, 0.1, 0.05, 0.01, 4.6)) == []
    larger, = lines(result(1, 0.1, 0.15, 0.01, 4.6))
    assert "worse is int4 g64 gptq" in larger, larger
    equal, = lines(result(1, 0.1, 0.15, 0.01, 4.5))
    assert "better is int4 g64 gptq" in equal and equal.endswith(": does not hold"), equal
    symmetric = next(row for row in rows.ROWS if rows.title(row) == "int4 g32 symmetric gptq")
    both = list(report.beside_rivals({"small": {
        (GPTQ, "float"): result(1, 0.1, 0.05, 0.01, 4.3), (RIVAL, "float"): result(1, 0.1, 0.1, 0.01),
        (symmetric, "float"): result(1, 0.1, 0.15, 0.01)}}))
    assert len(both) == 2 and both[0].endswith(": holds"), both
    assert "symmetric" in both[1] and both[1].endswith(": does not hold"), both


def test_windows_decide_what_intervals_do_not(work):
    def of(windows):
        return {"kl_divergence": {"mean": sum(windows) / 4, "error95": 1, "windows": windows}}
    plain = of([0.1, 0.5, 0.3, 0.9])
    assert report.compared(of([0.08, 0.47, 0.28, 0.88]), plain).startswith("holds, window by window -")
    assert report.compared(plain, of([0.08, 0.47, 0.28, 0.88])).startswith("does not hold")
    assert report.compared(of([0.2, 0.4, 0.4, 0.8]), plain).startswith("not decided by this text")
    assert report.compared(of([0.0, 0.1, 0.1, 0.5]), of([0.1, 0.5, 0.3])) == "not decided by this text"


def test_prose_is_what_paragraphs_hold(work):
    parser = texts.Paragraphs()
    parser.feed('<h1>Title</h1><p>One <b>two</b>\n three<ul><li>item</ul><div class="para">Four '
                '&amp; five</div><div class="note">six</div>')
    parser.end()
    assert parser.found == ["One two three", "Four & five"], parser.found


def test_passages_hold_whole_paragraphs(work):
    paragraphs = [f"{i} " + "word " * 400 for i in range(100)]
    found = list(texts.passages(paragraphs))
    assert all(len(p) >= texts.PASSAGE for p in found)
    assert "".join(found).split("\n\n")[:-1] == paragraphs[:len("".join(found).split("\n\n")) - 1]


def test_examples_and_markup_are_no_prose(work):
    pod = pathlib.Path(work, "a.pod")
    pod.write_text("=head1 NAME\n\nSee B<this> and C<< a->b >>\nin C<$cE<gt>d>.\n\n    $code = 1;\n")
    assert list(texts.plain_paragraphs(str(pod))) == ["See this and a->b in $c>d."]
    dictionary = pathlib.Path(work, "a.dict.dz")
    dictionary.write_bytes(gzip.compress(b"Word\n   1. A {thing} <said>.\n   [1913 Webster]\n"))
    assert list(texts.plain_paragraphs(str(dictionary))) == ["Word 1. A thing <said>."]


def test_nothing_held_out_is_quoted(work):
    def words(start, n):
        return " ".join(f"word{i}" for i in range(start, start + n))
    held = words(0, 40)
    quoting = words(100, 21) + " " + words(10, 2 * texts.KNOWN - 1) + " " + words(200, 20)
    touching = words(300, 21) + " " + words(10, texts.KNOWN - 1) + " " + words(400, 20)
    folder = pathlib.Path(work, "anarchism/usr/share/doc/anarchism/html")
    folder.mkdir(parents=True)
    for name in ("a.html", "b.html", "changelog.html"):
        folder.joinpath(name).write_text(f"<p>{quoting}<p>{touching}<p>{words(500, 30)}<p>short")
    folder.joinpath("changelog.html").write_text(f"<p>{words(600, 30)}")
    found = texts.wider(work, {"anarchism": "html/*.html"}, texts.all_runs([held]))
    assert found == {"anarchism": [touching, words(500, 30)]}


def test_calibration_has_pieces_of_all_sources(work):
    def paragraphs(name):
        return [f"{name}{i} " + "word " * 100 for i in range(400)]
    held = " ".join(f"held{i}" for i in range(2 * texts.KNOWN))
    sources = {name: paragraphs(name) for name in ("book", "fortunes")}
    sources["book"][::2] = [held] * 200
    found = texts.mixture(sources, texts.all_runs([held]))
    share = texts.SHARES["fortunes"]
    assert len(found) == texts.TURNS * (1 + share)
    assert all(piece.startswith("book" if i % (1 + share) == 0 else "fortunes")
               for i, piece in enumerate(found))
    assert all(len(piece) < 2 * texts.PIECE and "held" not in piece for piece in found)
    short = [piece for piece in found if len(piece) < texts.PIECE]
    assert len(short) <= 1, "others than that at the end of the quotations"
    assert len({piece.split()[0] for piece in found}) == len(found), "a piece is there twice"


def test_quotations_are_cut_at_their_signs(work):
    folder = pathlib.Path(work, "fortunes")
    folder.mkdir()
    folder.joinpath("love").write_text("One\n\t-- two\n%\nThree\n\nfour\n")
    assert list(texts.plain_paragraphs(str(folder / "love"))) == ["One -- two", "Three four"]


if __name__ == "__main__":
    sys.exit(runner.run_tests("accuracy", globals(), sys.argv[2:]))
