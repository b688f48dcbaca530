"""The type hints: they agree with the modules, and a type checker finds in a user's program what it should."""

import os
import re
import unittest

import e2e

HERE = os.path.dirname(os.path.abspath(__file__))


class Types(e2e.EndToEnd):
    def mypy(self, module, *words):
        return e2e.plain(["-m", module, *words], cwd=self.directory, env={"PYTHONPATH": ""})

    def test_stubs_agree_with_the_modules(self):
        """Names, parameters and defaults. What an interpreter runs by itself has no interface."""
        allowed = self.write("allowed.txt", r"""
            panopticon(_rec)?\.__main__
            panopticon_rec\.follow\.sitecustomize
            """)
        finished = self.mypy("mypy.stubtest", "--allowlist", allowed, "--ignore-unused-allowlist",
                             "--ignore-disjoint-bases", "--mypy-config-file", os.path.join(HERE, "mypy.ini"),
                             "panopticon_rec", "panopticon")
        self.assertEqual(finished.status, 0, finished.out + finished.err)

    def test_a_users_program(self):
        path = os.path.join(HERE, "sample.py")
        finished = self.mypy("mypy", "--strict", "--cache-dir", self.path("cache"), path)
        found = {}
        for line in finished.out.splitlines():
            if report := re.match(r".*sample\.py:(\d+): (?:note: Revealed type is \"(.*)\"|error: .*\[(.*)\])$", line):
                found[int(report[1])] = report[2] or f"error: {report[3]}"
        with open(path, encoding="utf-8") as file:
            expected = {number: line.partition("# ")[2].strip()
                        for number, line in enumerate(file, 1) if "  # " in line}
        self.assertEqual(found, expected, finished.out)


if __name__ == "__main__":
    unittest.main()
