#!/usr/bin/env python3
"""The structs of the Python, Lua and C# bindings lie in memory as those of inflight.h.

A C program prints size and field offsets of every struct; each binding must print the same.
A language that is not installed is skipped, and said so. usage: layout.py
"""
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
HOSTAPI = os.path.join(ROOT, "hostapi")
sys.dont_write_bytecode = True
sys.path.insert(0, HOSTAPI)
import inflight  # noqa: E402

FIELDS = {name: [field[0] for field in struct._fields_]
          for name, struct in inflight.STRUCTS.items()}

C_PROGRAM = """#include <inflight.h>
#include <stdio.h>
int main(void) {
%s
}
"""

CS_PROGRAM = """using System;
using System.Runtime.InteropServices;
using InflightLLM;
static class Layout {
    static void Show(Type type) {
        Console.WriteLine(type.Name + " " + Marshal.SizeOf(type));
        foreach (var field in type.GetFields())
            Console.WriteLine(type.Name + "." + field.Name + " " +
                              Marshal.OffsetOf(type, field.Name));
    }
    static void Main() {
%s
    }
}
"""


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def layout_of_c(folder, names):
    lines = []
    for name in names:
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        lines += [f'printf("{name}.{field} %zu\\n", offsetof({name}, {field}));'
                  for field in FIELDS[name]]
    source, program = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
    with open(source, "w") as file:
        file.write(C_PROGRAM % "\n".join(lines))
    run(os.environ.get("CC", "cc"), "-std=c11", "-I", os.path.join(ROOT, "include"), source, "-o",
        program)
    return run(program)


def layout_of_python(_, names):
    lines = []
    for name in names:
        struct = inflight.STRUCTS[name]
        lines.append(f"{name} {ctypes.sizeof(struct)}")
        lines += [f"{name}.{field} {getattr(struct, field).offset}" for field in FIELDS[name]]
    return "\n".join(lines) + "\n"


def layout_of_lua(_, names):
    if not shutil.which("luajit"):
        return None
    show = "".join(
        f'print("{name} " .. ffi.sizeof "{name}")' + "".join(
            f' print("{name}.{field} " .. ffi.offsetof("{name}", "{field}"))'
            for field in FIELDS[name]) + "\n"
        for name in names)
    program = (f'package.path = "{HOSTAPI}/?.lua;" .. package.path\n'
               f'require "inflight"\nlocal ffi = require "ffi"\n{show}')
    return run("luajit", "-e", program)


def layout_of_csharp(folder, names):
    if not shutil.which("mcs") or not shutil.which("mono"):
        return None
    source, program = os.path.join(folder, "layout.cs"), os.path.join(folder, "layout.exe")
    with open(source, "w") as file:
        file.write(CS_PROGRAM % "\n".join(f"        Show(typeof({name}));" for name in names))
    run("mcs", "-unsafe", "-warnaserror", "-out:" + program, source,
        os.path.join(HOSTAPI, "Inflight.cs"))
    return run("mono", program)


def main():
    failed = False
    without_stats = [name for name in FIELDS if name != "inflight_stats"]
    with tempfile.TemporaryDirectory() as folder:
        for language, layout, names in (("python", layout_of_python, list(FIELDS)),
                                        ("lua", layout_of_lua, without_stats),
                                        ("c#", layout_of_csharp, without_stats)):
            got, want = layout(folder, names), layout_of_c(folder, names)
            if got is None:
                print(f"skip layout: {language} (not installed)")
                continue
            differing = sorted(set(got.splitlines()) ^ set(want.splitlines()))
            for line in differing:
                print(f"  {language}: {line} is not in both")
            failed = failed or bool(differing)
            print(f"{'FAIL' if differing else 'ok  '} layout: {language}, "
                  f"{len(want.splitlines())} sizes and offsets")
    return 1 if failed else 0


sys.exit(main())
