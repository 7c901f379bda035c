"""Runs the functions test_* of a script, each with a folder of its own to work in; the last line is
what tests/run.sh adds up."""
import tempfile


def run_tests(what, functions, words=()):
    """functions: globals() of the script; words: parts of names, all if there are none. Returns the
    status to exit with."""
    passed = failed = 0
    for name, test in sorted(functions.items()):
        if not name.startswith("test_") or (words and not any(word in name for word in words)):
            continue
        title = f"{what}: {name[5:].replace('_', ' ')}"
        with tempfile.TemporaryDirectory() as work:
            try:
                test(work)
                passed += 1
                print(f"ok   {title}")
            except Exception as error:  # the next test is to run
                failed += 1
                print(f"FAIL {title}: {type(error).__name__}: {error}")
    print(f"{what}: {passed} passed, {failed} failed, 0 skipped")
    return 1 if failed or not passed else 0
