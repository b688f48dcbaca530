"""The figures in README.md and docs/ are those of bench/README.md, which bench/run has printed."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORDER, C_CALLS = "**panopticon_rec**", "**panopticon_rec --c-calls**"
VERSIONS = ["3.11", "3.12", "3.13", "3.14"]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def median(cell):
    """The second figure of "min / median", without a range; text."""
    return cell.partition(" / ")[2].replace(",", "") or cell.partition(" (")[0]


def measured():
    """dict of (version, group, tracer, column) to text. group: micro, programs, or server for the second table."""
    found = {}
    section = re.compile(r"^#### CPython (3\.\d+)$(.*?)(?=^#{2,4} |\Z)", re.M | re.S)
    for version, text in section.findall(read("bench/README.md")):
        tables = [table.strip().splitlines() for table in re.findall(r"(?:^\|.*\n)+", text, re.M)]
        group = None
        for line in tables[0][2:]:
            name, slowdown, cost, _ = cells(line)
            if name.startswith("*") and not name.startswith("**"):
                group = "micro" if "micro" in name else "programs"
            found[version, group, name, "slowdown"] = median(slowdown)
            found[version, group, name, "ns"] = median(cost)
        columns = cells(tables[1][0])
        for line in tables[1][2:]:
            for column, cell in zip(columns[1:], cells(line)[1:]):
                found[version, "server", cells(line)[0], column] = median(cell)
    return found


class Figures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.measured = measured()

    def rows(self, path):
        """The figures of the rows below a head that has all versions: list of lists of text."""
        found, is_figures = [], False
        for row in map(cells, read(path).splitlines()):
            is_figures = row[1:] == VERSIONS or is_figures and len(row) == 1 + len(VERSIONS)
            if is_figures and row[1:] != VERSIONS and not row[1].endswith("-:"):
                found.append([cell.strip("*") for cell in row[1:]])
        return found

    def of(self, group, tracer, column):
        return [self.measured.get((version, group, tracer, column), "-") for version in VERSIONS]

    def callback(self):
        names = {"3.11": "empty C `PyEval_SetProfile` callback"}
        return [self.measured[version, "micro", names.get(version, "empty C `sys.monitoring` callback"), "ns"]
                for version in VERSIONS]

    def share(self):
        """Requests a second of those without a tracer."""
        return [f"{float(one) / float(all):.0%}".replace("%", " %") for one, all in
                zip(self.of("server", RECORDER, "requests/s"), self.of("server", "no tracer", "requests/s"))]

    def test_cost(self):
        without_c, trace0, cprofile, viztracer = "VizTracer, without C functions", "trace0", "cProfile", "VizTracer"
        expected = [self.of("micro", RECORDER, "ns"), self.callback(),
                    *(self.of("micro", name, "ns") for name in (without_c, trace0, cprofile)),
                    *(self.of("programs", name, "slowdown") for name in (RECORDER, without_c, trace0, cprofile, C_CALLS,
                                                                         viztracer)),
                    self.share(), self.of("server", RECORDER, "bytes per event"),
                    self.of("server", RECORDER, "drain, ns per event")]
        self.assertEqual(self.rows("docs/cost.md"), expected)

    def test_comparison(self):
        names = [RECORDER, "trace0", "VizTracer, without C functions", "cProfile", C_CALLS, "VizTracer"]
        self.assertEqual(self.rows("docs/comparison.md"),
                         [self.of("programs", name, "slowdown") for name in names])

    def test_one_line(self):
        """What a call costs, and how much longer programs run."""
        events = [float(one) for one in self.of("micro", RECORDER, "ns")]
        slowdowns = [float(one) for one in self.of("programs", RECORDER, "slowdown")]
        size = [float(one) for one in self.of("server", RECORDER, "bytes per event")]
        # rounded to whole tens: a call and its return are two events
        cost = f"{round(2 * min(events), -1):.0f} to {round(2 * max(events), -1):.0f} ns"
        longer = f"{100 * min(slowdowns) - 100:.0f} to {100 * max(slowdowns) - 100:.0f} %"
        for path in "README.md", "docs/index.md", "docs/cost.md":
            text = " ".join(read(path).split())
            self.assertIn(f"call and its return cost {cost} together and {2 * sum(size) / len(size):.1f} bytes on disk",
                          text, path)
            self.assertIn(longer, text, path)


if __name__ == "__main__":
    unittest.main()
