"""Functions, modules, files and a thread with names that JSON, JavaScript or a viewer could stumble over. Prints the
names (module, qualified name) as a JSON list."""

import json
import sys
import threading

NAMES = [
    'say "hi"', "back\\slash", "new\nline", "tab\tand\rreturn", "\x01\x1f\x7f", "nul\0inside",
    "<script>&amp;</script>", "caf\u00e9", "\u5c0f\u3055\u3044", "\u2028\u2029", "smile \U0001f642",
    "lone \ud83d", "low \ude42 first", "\ufeffbom", "constructor", "__proto__", "toString", "hasOwnProperty",
    "", " ", "NaN", "null", "]},", "x" * 10_000, "\u00e9" * 5_000,
]


def template():
    yield 1
    yield 2


def main():
    called = []
    for number, name in enumerate(NAMES):
        code = template.__code__.replace(co_name=name, co_qualname=name, co_filename=f"{name[:200]}.py")
        module = f"module {name[:200]}"
        function = type(template)(code, {"__name__": module})
        list(function())
        called.append([module, name])
    thread = threading.Thread(target=threading.get_ident, name='the "\U0001f9f5"\n')
    thread.start()
    thread.join()
    json.dump(called, sys.stdout)


main()
