"""%%panopticon in a real Jupyter kernel, and in IPython in a terminal."""

import html.parser
import json
import os
import subprocess
import textwrap
import unittest

import e2e
from jupyter_client.manager import KernelManager

SYNC = """
    %%panopticon
    def f(n):
        return n and f(n - 1)
    x = f(5)
    print("hello")
    x + 41
    """

ASYNC = """
    %%panopticon -o run.pnr
    import asyncio
    async def step(n):
        await asyncio.sleep(0.001)
        return n
    y = await asyncio.gather(step(1), step(2))
    await step(3)
    """


class Table(html.parser.HTMLParser):
    """The cells of a table in HTML, by rows; and the addresses of links."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.links, self.is_cell = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        self.is_cell |= tag in ("td", "th")
        self.links += [value for name, value in attributes if tag == "a" and name == "href"]
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.is_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.is_cell:
            self.rows[-1][-1] += data


class Notebook(e2e.EndToEnd):
    """A notebook: cells are run one after another by a kernel of its own."""

    def setUp(self):
        super().setUp()
        manager = KernelManager(kernel_name="python3")
        environ = e2e.environment(HOME=self.path("home"), IPYTHONDIR=self.path("home/ipython"), PYTHONPATH="",
                                  PYDEVD_DISABLE_FILE_VALIDATION="1")
        manager.start_kernel(cwd=self.directory, env=environ, stderr=subprocess.DEVNULL)
        self.client = manager.blocking_client()
        self.client.start_channels()
        self.addCleanup(self.stop, manager)
        self.client.wait_for_ready(timeout=120)
        self.run_cell("%load_ext panopticon_rec")

    def stop(self, manager):
        self.client.stop_channels()
        manager.shutdown_kernel(now=True)

    def run_cell(self, code, status="ok"):
        """Returns what the cell printed, its last value as text, its error, and what it displayed: list of dict."""
        printed, value, error, displayed = "", None, None, []

        def take(message):
            nonlocal printed, value, error
            content = message["content"]
            match message["header"]["msg_type"]:
                case "stream":
                    printed += content["text"]
                case "execute_result":
                    value = content["data"]["text/plain"]
                case "error":
                    error = content["ename"], content["evalue"]
                case "display_data":
                    displayed.append(content["data"])

        reply = self.client.execute_interactive(textwrap.dedent(code).strip(), output_hook=take, timeout=120)
        self.assertEqual(reply["content"]["status"], status, (printed, error))
        return printed, value, error, displayed

    def check_nothing_of_the_kernel(self, trace):
        self.assertEqual([one for one in trace.slices if not one.function.name.startswith("__main__.")], [])


class Cells(Notebook):
    def test_a_cell(self):
        printed, value, _, (displayed,) = self.run_cell(SYNC)
        self.assertEqual((printed, value), ("hello\n", "41"))
        self.assertEqual(self.run_cell("print(x, f(1))")[0], "0 0\n")
        trace = self.trace("cell.pnr")
        self.assertEqual(trace.count(), {"__main__.f": 6, "__main__.<module>": 5})      # one for each statement
        self.check_nothing_of_the_kernel(trace)
        self.assertIn("cell.pftrace is the trace: panopticon view cell.pnr", displayed["text/plain"])

        table = Table(displayed["text/html"])
        self.assertIn("cell.pftrace", table.links)
        self.assertGreater(os.path.getsize(self.path("cell.pftrace")), 0)
        self.assertIn("panopticon view cell.pnr", displayed["text/html"])
        top = json.loads(e2e.run([e2e.CONVERT, "-q", self.path("cell.pnr"), "--top", "--json"]).out)["functions"]
        self.assertEqual([row[2:] for row in table.rows[1:]],
                         [[f"{one['calls']:,}", one["name"]] for one in top[:30]])
        self.assertIn(["6", "__main__.f"], [row[2:] for row in table.rows])

    def test_await(self):
        """Cells with await, whose coroutines go on in the kernel's own loop."""
        _, value, error, displayed = self.run_cell(ASYNC)
        self.assertEqual((value, error, len(displayed)), ("3", None, 1))
        self.assertEqual(self.run_cell("y")[1], "[1, 2]")
        trace = self.trace()
        self.check_nothing_of_the_kernel(trace)
        flows = [len(flow) for flow in trace.flows if flow[0].function.name == "__main__.step"]
        self.assertEqual(flows, [2, 2, 2])
        cells = [len(flow) for flow in trace.flows if flow[0].function.name == "__main__.<module>"]
        self.assertEqual(sorted(cells)[-2:], [2, 2])    # the two statements that wait

    def test_errors(self):
        _, _, error, displayed = self.run_cell("%%panopticon\na = 1\ndef f(): 1 / 0\nf()", status="error")
        self.assertEqual((error[0], len(displayed)), ("ZeroDivisionError", 1))
        self.assertEqual(self.run_cell("a")[1], "1")
        self.assertEqual([one.flags for one in self.trace("cell.pnr").named("__main__.f")], [{"exception"}])

    def test_wrong_options(self):
        """The cell does not run."""
        for words, message in (("--nothing", "unknown option --nothing"), ("--last x", "last: 'x' is not a duration"),
                               ("app.py", "there is no program to be named here"),
                               ("-q", "--quiet has no meaning here"),
                               ("-o x.trace", "-o takes the name of a capture, which ends in .pnr"),
                               ("-o missing/x.pnr", "missing")):
            with self.subTest(words):
                printed, *_ = self.run_cell(f"%%panopticon {words}\nb = 1", status="error")
                self.assertIn("UsageError: %%panopticon: ", printed)
                self.assertIn(message, printed)
        self.assertEqual(self.run_cell("'b' in globals()")[1], "False")
        self.assertFalse(any(name.endswith(".pnr") for name in os.listdir(self.directory)))

    def test_options(self):
        cell = "\ndef f(): return g(1)\ndef g(n): return abs(n)\nf()"
        self.run_cell("%%panopticon -o c.pnr --c-calls" + cell)
        self.assertEqual(self.trace("c.pnr").count()["builtins.abs"], 1)
        self.run_cell("%%panopticon -o i.pnr --exclude '*' --include __main__.f" + cell)
        self.assertEqual(self.trace("i.pnr").count(), {"__main__.f": 1})
        self.run_cell("%%panopticon -o j.pnr --include 'json.*'\nimport json\njson.dumps(f())")
        counts = self.trace("j.pnr").count()
        self.assertEqual((counts["__main__.f"], counts["json.encoder.JSONEncoder.encode"] >= 1), (1, True))
        self.run_cell("%%panopticon -o e.pnr --exclude __main__.f" + cell)
        counts = self.trace("e.pnr").count()
        self.assertEqual((counts["__main__.f"], counts["__main__.g"]), (0, 1))

    def test_inside_others(self):
        """Other magics, cells that run cells, and a part of a cell."""
        _, value, _, _ = self.run_cell("%%time\n%panopticon -o a.pnr\n2 + 2")
        self.assertEqual((value, len(self.trace("a.pnr").slices) > 0), ("4", True))
        printed, _, _, displayed = self.run_cell("%%panopticon -o b.pnr\n%%time\ndef f(): pass\nf()")
        self.assertIn("CPU times", printed)
        self.assertEqual((len(displayed), self.trace("b.pnr").count()["__main__.f"]), (1, 1))
        self.run_cell("%%capture\n%%panopticon -o c.pnr\nf()")
        self.assertEqual(self.trace("c.pnr").count()["__main__.f"], 1)
        self.run_cell("%%panopticon -o d.pnr\nget_ipython().run_cell('f()')\nf()")
        self.assertEqual(self.trace("d.pnr").count()["__main__.f"], 2)
        printed, *_ = self.run_cell("f()\n%panopticon -o e.pnr\nf()\n%panopticon", status="error")
        self.assertIn("UsageError: this cell is being recorded already", printed)
        self.assertEqual(self.trace("e.pnr").count()["__main__.f"], 1)
        self.assertEqual(self.run_cell("f()")[3], [])

    def test_again_and_without(self):
        self.run_cell("%reload_ext panopticon_rec")
        for _ in range(2):
            self.assertEqual(len(self.run_cell("%%panopticon\n1")[3]), 1)
        self.assertTrue(os.path.isdir(self.path("cell-2.pnr")))
        self.run_cell("%unload_ext panopticon_rec")
        printed, *_ = self.run_cell("%%panopticon\n1", status="error")
        self.assertIn("Cell magic `%%panopticon` not found", printed)


class Terminal(e2e.EndToEnd):
    def test_a_cell(self):
        lines = ["%load_ext panopticon_rec", "%%panopticon -o run.pnr", "def f(n):", "    return n and f(n - 1)",
                 "f(3)", "", "", "f(4)", "exit", ""]
        finished = e2e.plain(["-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit"],
                             cwd=self.directory, stdin="\n".join(lines).encode(),
                             env={"PYTHONPATH": "", "HOME": self.directory})
        self.assertEqual(finished.status, 0, finished.err)
        self.assertIn("run.pftrace is the trace: panopticon view run.pnr", finished.out)
        self.assertRegex(finished.out, r"\n *\S+ +\S+ +4 .* __main__\.f:2\n")
        trace = self.trace()
        self.assertEqual(trace.count()["__main__.f"], 4)
        self.assertEqual([one for one in trace.slices if one.function.name.startswith("IPython.")], [])


if __name__ == "__main__":
    unittest.main()
