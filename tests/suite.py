"""Runs unittest as `python3 -m unittest` does, and says at the end why tests were skipped:

    python3 tests/suite.py discover -s tests/e2e        Skipped, 3 tests: uvloop is not there for this Python
"""

import collections
import sys
import unittest


def main():
    result = unittest.main(module=None, exit=False).result
    for reason, n in collections.Counter(reason for _, reason in result.skipped).items():
        print(f"Skipped, {n} test{'s' if n > 1 else ''}: {reason}", file=sys.stderr)
    return not result.wasSuccessful() or not result.testsRun


if __name__ == "__main__":
    sys.exit(main())
