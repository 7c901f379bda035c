#!/usr/bin/env python3
"""inflight-quantize BUILD: gptq against its formula in Python, on inputs of a forward pass there."""
import bisect
import math
import multiprocessing
import struct
import sys
from operator import mul

import runner
import safetensors
from calibrate import (D, DIM, HEADS, KV_HEADS, LAYER, LENGTH, Pass, heads_of, make_model, matrices_of,
                       normalised, norms_of, quantize, relative_error, rounded_of, times, turned)


def cholesky(A):
    """Lower L with L L^T = A."""
    n = len(A)
    L = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            rest = A[i][j] - sum(L[i][k] * L[j][k] for k in range(j))
            L[i][j] = math.sqrt(rest) if i == j else rest / L[j][j]
    return L


def inverse(A):
    n = len(A)
    rows = [list(map(float, r)) + [float(i == j) for j in range(n)] for i, r in enumerate(A)]
    for i in range(n):
        p = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[p] = rows[p], rows[i]
        pivot = rows[i][i]
        rows[i] = [v / pivot for v in rows[i]]
        for r in range(n):
            if r != i and rows[r][i]:
                part = rows[r][i]
                rows[r] = [v - part * w for v, w in zip(rows[r], rows[i])]
    return [r[n:] for r in rows]


def inverse_moments(X, order):
    K = len(order)
    H = [[0.0] * K for _ in range(K)]
    columns = list(zip(*X))
    for i in range(K):
        for j in range(i, K):
            H[i][j] = H[j][i] = sum(map(mul, columns[order[i]], columns[order[j]]))
    damp = 0.01 * sum(H[i][i] for i in range(K)) / K
    for i in range(K):
        H[i][i] += damp
    return inverse(H)


def upper_factor(X, order):
    L = cholesky(inverse_moments(X, order))
    return [list(column) for column in zip(*L)]


# ---- What attention makes of what keys and values are computed from


def philox(key, low, high):
    """Philox-4x32-10 of Salmon et al. 2011: 128 bits."""
    words, key = [low, low >> 32, high, high >> 32], [key, key >> 32]
    for _ in range(10):
        a, b = 0xd2511f53 * words[0], 0xcd9e8d57 * words[2]
        words = [b >> 32 ^ words[1] ^ key[0], b & 0xffffffff,
                 a >> 32 ^ words[3] ^ key[1], a & 0xffffffff]
        key = [k + add & 0xffffffff for k, add in zip(key, (0x9e3779b9, 0xbb67ae85))]
    return sum(w << 32 * i for i, w in enumerate(words))


def attended_of(sample, X, W):
    """Of one sample: what values are rounded for, M X, and keys, X by the square roots of w."""
    q, k = ([[turned(h, t) for h in heads_of(row)] for t, row in enumerate(times(X, W[name]))]
            for name in ("self_attn.q_proj", "self_attn.k_proj"))
    values, counts = [[0.0] * D for _ in X], [0.0] * len(X)
    for i in range(len(X)):
        signs = philox(sample, i, 0)
        for h in range(HEADS):
            p = [math.exp(sum(map(mul, q[i][h], k[j][h * KV_HEADS // HEADS])) / math.sqrt(DIM))
                 for j in range(i + 1)]
            p = [v / sum(p) for v in p]
            for j, v in enumerate(p):
                counts[j] += sum(x * x for x in q[i][h]) * (v * (1 - v)) ** 2
                share = v if signs >> h & 1 else -v
                values[i] = [a + share * x for a, x in zip(values[i], X[j])]
    return values, [[math.sqrt(c) * v for v in row] for c, row in zip(counts, X)]


def seen_by_attention(weights):
    """What the matrices of values and keys of the first layer are rounded for."""
    W, values, keys = matrices_of(weights), [], []
    rows = Pass(weights, W, norms_of(weights)).X["self_attn.q_proj"]
    for at in range(0, len(rows), LENGTH):
        of_values, of_keys = attended_of(at // LENGTH, rows[at:at + LENGTH], W)
        values += of_values
        keys += of_keys
    return {"self_attn.v_proj": values, "self_attn.k_proj": keys}


# ---- The formula


def minus(rows, others):
    return [[a - b for a, b in zip(r, o)] for r, o in zip(rows, others)]


def corrected(W, X, Y, hidden, share):
    """What is rounded where X is read instead of Y; hidden: how far the state is, a row a token."""
    K = len(X[0])
    lost = times(minus(Y, X), W)
    if hidden:
        lost = [list(map(sum, zip(a, b))) for a, b in zip(lost, hidden)]
    moments = times(list(zip(*lost)), list(zip(*X)))
    change = times(moments, inverse_moments(X, range(K)))
    return [[w + share * c for w, c in zip(r, o)] for r, o in zip(W, change)]


def int4_number(value, scale, zero):
    level = min(max(round(value / scale) + zero, 0), 15) if scale else zero
    return (level - zero) * scale


def int8_number(value, scale, _=0):
    return min(max(round(value / scale), -127), 127) * scale


E4M3 = [safetensors.e4m3(bits) for bits in range(127)]


def e4m3_number(value, scale):
    size = min(abs(value / scale), E4M3[-1])
    above = bisect.bisect_left(E4M3, size)
    near = min(E4M3[max(above - 1, 0):above + 1], key=lambda number: abs(number - size))
    return math.copysign(near, value) * scale


def ordered_factor(X, K, by_size):
    order = list(range(K))
    if by_size:
        size = [sum(x[k] * x[k] for x in X) for k in range(K)]
        order.sort(key=lambda k: -size[k])
    return order, upper_factor(X, order)


def gptq(W, X, grids, by_size=True, number=int4_number):
    """Rounded rows; grids[row][group]: what number() has besides a value."""
    K = len(W[0])
    order, U = ordered_factor(X, K, by_size)
    out = []
    for row, grid in zip(W, grids):
        w, q = [row[k] for k in order], [0.0] * K
        for j, k in enumerate(order):
            q[k] = number(w[j], *grid[k * len(grid) // K])
            e = (w[j] - q[k]) / U[j][j]
            for i in range(j + 1, K):
                w[i] -= e * U[j][i]
        out.append(q)
    return out


def grids_of(tensors, module):
    """Of groups of int4 (scale, zero), else the scale of each row."""
    if f"{module}.weight" in tensors:
        return [[(scale,)] for scale in tensors[f"{module}.weight_scale"][2]]
    _, _, (rows, width) = tensors[f"{module}.weight_shape"]
    _, (_, groups), scale = tensors[f"{module}.weight_scale"]
    zero = [[8] * groups for _ in range(rows)]
    if f"{module}.weight_zero_point" in tensors:
        _, _, z = tensors[f"{module}.weight_zero_point"]
        zero = [[z[r // 8 * groups + g] >> 4 * (r % 8) & 15 for g in range(groups)]
                for r in range(rows)]
    return [[(scale[r * groups + g], zero[r][g]) for g in range(groups)] for r in range(rows)]


def counted_error(row, grid, number, counts):
    """Of rounding to the nearest, squared: an error in column k counts counts[k]."""
    return sum(c * (w - number(w, *grid[k * len(grid) // len(row)])) ** 2
               for k, (w, c) in enumerate(zip(row, counts)))


def e4m3_scales(row):
    """Those that are tried: of an octave, rounded up to bfloat16 numbers."""
    whole = max(map(abs, row)) / E4M3[-1]
    for phase in range(16):
        bits, = struct.unpack("<I", struct.pack("<f", whole * (1 + phase / 16)))
        yield struct.unpack("<f", struct.pack("<I", bits + 0xffff & 0xffff0000))[0]


def check_grids(W, X, grids, plain, number, by_size):
    """Those of int8 stay; the others are searched by what errors count."""
    K = len(W[0])
    order, U = ordered_factor(X, K, by_size)
    counts = [0.0] * K
    for j, k in enumerate(order):
        counts[k] = 1 / U[j][j] ** 2
    if number == int8_number:
        assert grids == plain, "grids are static"
    elif number == e4m3_number:
        for row, grid in zip(W, grids):
            least = min(counted_error(row, [(scale,)], number, counts)
                        for scale in e4m3_scales(row))
            assert counted_error(row, grid, number, counts) < 1.001 * least, "the best scale"
    elif by_size:
        new, old = (sum(counted_error(row, grid, number, counts) for row, grid in zip(W, some))
                    for some in (grids, plain))
        assert new < old, "grids are of the errors that count"


def on_all_cores(check, *args, cases):
    """check(*args, *case) of each case."""
    with multiprocessing.get_context("fork").Pool() as pool:
        pool.starmap(check, [(*args, *case) for case in cases])


def check_formula(work, weights, attended, number, options):
    by_size = "--no-act-order" not in options
    plain, of_plain = quantize(work, "rtn" + "".join(options), "rtn",
                               *[o for o in options if o != "--no-act-order"])
    tensors, report = quantize(work, "gptq" + "".join(options), "gptq", "--correct", "0", *options)
    rounded, nearest = rounded_of(tensors), rounded_of(plain)
    seen = Pass(weights, rounded, norms_of(weights))
    for name, W in matrices_of(weights).items():
        grids = grids_of(tensors, LAYER + name)
        X = attended.get(name, seen.X[name])
        want = gptq(W, X, grids, by_size, number)
        # A value in the middle between two numbers may go to the other one, and the rest of its
        # row with it.
        wrong = sum(any(abs(a - b) >= 1e-6 for a, b in zip(r, o))
                    for r, o in zip(rounded[name], want))
        assert wrong <= len(W) // 32, f"{options} {name}: {wrong} rows are not of the formula"
        Y = times(seen.X[name], W)
        error = relative_error(times(seen.X[name], rounded[name]), Y)
        told = report[LAYER + name]["relative_output_error"]
        assert abs(error - told) < 0.02 * error, f"{options} {name}: {told}, is {error}"
        if name not in attended:
            assert told < of_plain[LAYER + name]["relative_output_error"]
        else:
            some = X[::5]
            assert relative_error(times(some, rounded[name]), times(some, W)) < \
                relative_error(times(some, nearest[name]), times(some, W)), f"{options} {name}"
        check_grids(W, X, grids, grids_of(plain, LAYER + name), number, by_size)


def test_gptq_is_its_formula(work):
    weights = make_model(f"{work}/model")
    on_all_cores(check_formula, work, weights, seen_by_attention(weights), cases=[
        (int4_number, []), (int4_number, ["--no-act-order"]), (int4_number, ["-s"]),
        (int8_number, ["-r", "int8"]), (int8_number, ["-r", "int8-group"]),
        (e4m3_number, ["-r", "fp8"]), (e4m3_number, ["-r", "fp8", "--no-act-order"])])


def check_correction(work, weights, attended, number, share, options):
    matrices, norms = matrices_of(weights), norms_of(weights)
    was = Pass(weights, matrices, norms)
    tensors, report = quantize(work, "gptq" + "".join(options), "gptq", *options)
    rounded = rounded_of(tensors)
    seen = Pass(weights, rounded, norms)
    for name, W in matrices.items():
        X, Y = (attended.get(name, of.X[name]) for of in (seen, was))
        hidden = minus(was.middle, seen.middle) if name == "mlp.down_proj" else None
        wanted = corrected(W, X, Y, hidden, share)
        want = gptq(wanted, X, grids_of(tensors, LAYER + name), "--no-act-order" not in options,
                    number)
        wrong = sum(any(abs(a - b) >= 1e-6 for a, b in zip(r, o))
                    for r, o in zip(rounded[name], want))
        assert wrong <= len(W) // 16, f"{options} {name}: {wrong} rows are not of the formula"
        off, square = (sum(v * v for r in times(seen.X[name], rows) for v in r)
                       for rows in (minus(wanted, rounded[name]), W))
        error, told = math.sqrt(off / square), report[LAYER + name]["relative_output_error"]
        assert abs(error - told) < 0.02 * error, f"{options} {name}: {told}, is {error}"
    without = [o for o in options if o != "--correct" and not o[0].isdigit()]
    plain = Pass(weights, rounded_of(quantize(work, f"plain{options}", "gptq", "--correct", "0",
                                              *without)[0]), norms)
    assert relative_error(seen.out, was.out) < relative_error(plain.out, was.out), options


def test_what_rounding_has_changed_is_made_up_for(work):
    """In the first layer: of o the hidden state has not changed yet, of down it has."""
    weights = make_model(f"{work}/model")
    on_all_cores(check_correction, work, weights, seen_by_attention(weights), cases=[
        (int4_number, 0.25, []), (int4_number, 1, ["--correct", "1", "--no-act-order"]),
        (e4m3_number, 0.5, ["-r", "fp8", "--correct", "0.5"])])


def test_the_head_is_calibrated_by_what_the_last_layer_gives(work):
    """Its rows are more than are rounded at once; the first and the last are looked at."""
    vocab, some = 4200, [*range(24), *range(4200 - 24, 4200)]
    weights = make_model(f"{work}/model", vocab=vocab)
    W = weights["lm_head.weight"]
    _, plain = quantize(work, "rtn", "rtn", "--head")
    for number, options in ((int4_number, []), (e4m3_number, ["-r", "fp8"])):
        tensors, report = quantize(work, "gptq" + "".join(options), "gptq", "--head", *options)
        seen = Pass(weights, rounded_of(tensors), norms_of(weights))
        X = normalised(seen.out, weights["model.norm.weight"][0])
        rounded, grids = safetensors.dequantize(tensors, "lm_head"), grids_of(tensors, "lm_head")
        want = gptq([W[r] for r in some], X, [grids[r] for r in some], number=number)
        same = sum(abs(a - b) < 1e-6 for r, o in zip(some, want) for a, b in zip(rounded[r], o))
        whole = len(some) * D
        assert same > 0.99 * whole, f"{options}: {same} of {whole} as by the formula"
        part = X[::7]
        error = relative_error(times(part, rounded), times(part, W))
        told = report["lm_head"]["relative_output_error"]
        assert abs(error - told) < 0.1 * error, f"{options}: {told}, of a part {error}"
        if not options:
            assert told < 0.6 * plain["lm_head"]["relative_output_error"]
    _, by_awq = quantize(work, "awq", "awq", "--head")
    assert by_awq["lm_head"]["relative_error"] == plain["lm_head"]["relative_error"]


if __name__ == "__main__":
    sys.exit(runner.run_tests("gptq", globals(), sys.argv[2:]))
