"""The command `panopticon`: what is recorded is the program that the shell would run, with the interpreter that it would
run under, and nothing of it changes. And what `panopticon view` gives to whom."""

import glob
import http.client
import json
import os
import re
import signal
import subprocess
import unittest

import e2e
import viewer_port

COMMAND = e2e.COMMAND
SHOW = """
    import json, os, sys
    def show():
        print(json.dumps([sys.argv, sys.orig_argv, sys.path, sys.executable, sys.flags,
                          sorted(item for item in os.environ.items() if item[0] not in ("PWD", "OLDPWD", "_")), __name__, sorted(globals())]))
    show()
    """


def environment(**more):
    """The command is on PATH; the package is found by no interpreter, and there is no browser."""
    found = e2e.environment(PATH=f"{os.path.dirname(COMMAND)}:/usr/bin:/bin", **more)
    for name in {"PYTHONPATH", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "VIRTUAL_ENV"} - more.keys():
        found.pop(name, None)
    return found


@unittest.skipIf(e2e.IS_SANITIZED, "the command runs the interpreter without the sanitizer")
class Command(e2e.EndToEnd):
    def setUp(self):
        super().setUp()
        self.env = environment()

    def run_words(self, *words, stdin=b""):
        done = subprocess.run(words, cwd=self.directory, env=self.env, input=stdin, capture_output=True, timeout=120,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        return e2e.Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    def command(self, *words, **more):
        return self.run_words(COMMAND, *words, **more)

    def write_script(self, name, first, text):
        path = self.write(name, f"{first}\n" + e2e.textwrap.dedent(text).lstrip("\n"))
        os.chmod(path, 0o755)
        return path

    def refused(self, *words):
        """The one line with which a command line is refused."""
        done = self.command(*words)
        self.assertEqual((done.status, done.out), (2, ""), done.err)
        self.assertEqual(done.err.count("\n"), 1, done.err)
        self.assertFalse(os.path.exists(self.path("run.pnr")))
        return done.err.rstrip("\n")


class Record(Command):
    def compare(self, plain, words):
        """Runs the program plain, and recorded by these words. Returns what came of it."""
        e2e.shutil.rmtree(self.path("run.pnr"), ignore_errors=True)
        expected, found = self.run_words(*plain), self.command("record", "-q", *words)
        self.assertEqual(found, expected)
        if expected.status:
            return found
        trace = e2e.Trace(e2e.convert(self.path("run.pnr")))
        self.assertEqual(trace.count()["__main__.show"], 1)
        return found

    def test_files_modules_commands(self):
        self.write("app.py", SHOW)
        self.write("folder/__main__.py", SHOW)
        options = "-o", "run.pnr", "--follow=none"          # else PYTHONPATH is longer
        for words in (["app.py", "-x", "--view"], ["./app.py"], ["folder"], ["-m", "app", "1"], ["-c", e2e.textwrap.dedent(SHOW)]):
            for more in {}, {"PYTHONSAFEPATH": "1"}:
                with self.subTest(words=words[:2], more=more):
                    self.env = environment(**more)
                    found = self.compare([e2e.PYTHON, *words], [*options, *words])
                    self.assertEqual(found.status, int(bool(more) and words[0] == "-m"), found.err)

    def test_standard_input(self):
        self.env["X"] = "1"
        text = e2e.textwrap.dedent(SHOW).encode()
        found = self.command("record", "-q", "--follow=none", "-", "a", stdin=text)
        self.assertEqual(found, self.run_words(e2e.PYTHON, "-", "a", stdin=text))

    def test_scripts_on_path(self):
        self.env["PATH"] = f"{self.path('bin')}:{self.env['PATH']}"
        for name, first, flags in (("direct", f"#!{e2e.PYTHON}", []), ("flags", f"#!{e2e.PYTHON} -sP", ["-sP"]),
                                   ("isolated", f"#! {e2e.PYTHON} -I", ["-I"]),
                                   ("pip", f"#!/bin/sh\n'''exec' \"{e2e.PYTHON}\" \"$0\" \"$@\"\n' '''", []),
                                   ("split", f"#!/usr/bin/env -S {e2e.PYTHON} -s", ["-s"])):
            with self.subTest(name):
                path = self.write_script(f"bin/{name}", first, SHOW)
                found = self.compare([name, "-q", "x"], ["--follow=none", name, "-q", "x"])
                self.assertEqual(json.loads(found.out)[1], [e2e.PYTHON, *flags, path, "-q", "x"])

    def test_env_finds_the_interpreter(self):
        folder = self.path("bin")
        os.makedirs(folder)
        os.symlink(e2e.PYTHON, os.path.join(folder, "python3"))
        self.env["PATH"] = f"{folder}:{self.env['PATH']}"
        self.write_script("bin/tool", "#!/usr/bin/env python3", SHOW)
        found = self.compare(["tool"], ["--follow=none", "tool"])
        self.assertEqual(json.loads(found.out)[1], ["python3", self.path("bin/tool")])

    def test_environments(self):
        """Of the same Python, without the package: a script of one, and one that is active."""
        self.run_words(e2e.PYTHON, "-m", "venv", "--without-pip", self.path("its own"))
        python = self.path("its own/bin/python")
        script = self.write_script("its own/bin/tool", f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''", SHOW)
        for words in [script], [self.path("its own/bin/tool"), "x"]:
            found = self.compare(words, ["--follow=none", *words])
            self.assertEqual(json.loads(found.out)[3], python)
        self.write("app.py", SHOW)
        self.env["VIRTUAL_ENV"] = self.path("its own")
        self.compare([python, "app.py"], ["--follow=none", "app.py"])

    def test_children(self):
        """They join, also where no interpreter finds the package by itself."""
        self.write("app.py", """
            import subprocess, sys
            def parent(): subprocess.run([sys.executable, "-c", "def child(): pass\\nchild()"], check=True)
            parent()
            """)
        self.assertEqual(self.command("record", "-q", "app.py"), (0, "", ""))
        count = e2e.Trace(e2e.convert(self.path("run.pnr"))).count()
        self.assertEqual((count["__main__.parent"], count["__main__.child"]), (1, 1))

    def test_last_lines(self):
        self.write("app.py", "print('hello')")
        count = r"\d+ events, 1 thread(, \d+ bytes)?, 0 lost"
        for options, lines in (([], [f"panopticon: run.pnr: {count}", "panopticon view run.pnr"]),
                               (["-o", "x.pftrace"], [f"panopticon: {self.path('x.pftrace')}: {count}",
                                                      f"panopticon view {self.path('x.pftrace')}"]),
                               (["-o", "x.folded"], [f"panopticon: {self.path('x.folded')}: {count}"]),
                               (["-q", "--force"], [])):
            done = self.command("record", *options, "app.py")
            self.assertEqual((done.status, done.out), (0, "hello\n"))
            self.assertRegex(done.err, "^" + "".join(f"{line}\n" for line in lines) + "$")
        done = e2e.run([e2e.PYTHON, "-m", "panopticon_rec", "--force", "app.py"], cwd=self.directory)
        self.assertRegex(done.err, f"^panopticon: run.pnr: {count}; panopticon-convert run.pnr\n$")

    def test_help(self):
        for flag in "-h", "--help":
            text = self.command("record", flag).out
            self.assertTrue(text.startswith("usage: panopticon record [options]"), text)
            self.assertIn("--view", text)
            self.assertEqual([line for line in text.splitlines()[1:] if len(line) > 79], [])
            for name in "convert", "top", "info", "verify", "view":
                self.assertTrue(self.command(name, flag).out.startswith(f"usage: panopticon {name} "))
        self.assertIn("\n  record  ", self.command().out)
        self.assertEqual(self.command("--help"), self.command())

    def test_mistakes(self):
        self.write("app.py", "pass")
        self.write("folder/part.py", "pass")
        self.write_script("tool", "#!/bin/bash", "echo")
        self.write_script("old/gone", "#!/nowhere/python3", "pass")
        self.write_script("shims/pytest", "#!/usr/bin/env bash", "exec pyenv exec pytest")
        self.env["PATH"] += f":{self.path('shims')}"
        for words, text in (
                (["record", "app"], "panopticon record app.py"), (["record", "json.tool"], "panopticon record -m json.tool"),
                (["record", "nothing_there"], "no script nothing_there on PATH"), (["record", "no.py"], "there is no file no.py"),
                (["record", "folder/no.py"], "No such file"), (["record", "folder"], "without __main__.py"),
                (["record", "ls"], "only Python programs"), (["record", "./tool"], "a script for bash"),
                (["record", e2e.PYTHON, "app.py"], "panopticon record app.py"), (["record", "old/gone"], "not there"),
                (["record", "shims/pytest"], "pyenv which pytest"), (["record"], "nothing to run"),
                (["record", "--no-such", "app.py"], "--no-such"), (["app.py"], "panopticon record app.py"),
                (["record", "--view", "-o", "x.folded", "app.py"], "x.folded is not"), (["nonsense"], "--help"),
                (["view"], "Give a capture"), (["view", "app.py"], "panopticon record app.py"), (["view", "no.pnr"], "no.pnr"),
                (["view", "--top", "run.pnr"], "panopticon top"), (["view", "-ox", "run.pnr"], "panopticon convert -o"),
                (["view", "--viewer=x", "run.pnr"], "perfetto, catapult"),
                (["top", "app.py"], "panopticon record app.py"), (["info", "no.pnr"], "panopticon info: no.pnr"),
                (["verify", "folder"], "no process was recorded")):
            with self.subTest(words):
                self.assertIn(text, self.refused(*words))

    def test_other_interpreters(self):
        """The package is not for those: one line says so, and how to install it."""
        others = {*glob.glob("/usr/bin/python3.[0-9]*[0-9]"), *glob.glob(os.path.expanduser("~/.pyenv/versions/3*/bin/python3"))}
        n_checked = 0
        for python in sorted(others):
            about = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
            version = tuple(map(int, about.stdout.split()))
            suffix = "".join(map(str, version))
            if glob.glob(f"{e2e.BUILD}/panopticon_rec/_recorder.cpython-{suffix}-*"):       # it has been built for that, too
                continue
            script = self.write_script("tool", f"#!{python}", "print('hello')")
            self.assertIn("-m pip install panopticon-rec==" if version >= (3, 11) else "3.11 and later", self.refused("record", script))
            n_checked += 1
        if not n_checked:
            self.skipTest("there is no other Python")


class Signals(Command):
    PROGRAM = """
        import os, signal, sys, time
        seen = []
        def handle(number, frame):
            seen.append(number)
            os.write(1, f"{{signal.Signals(number).name}}\\n".encode())
        for number in signal.SIGUSR1, signal.SIGTERM: signal.signal(number, handle)
        os.write(1, f"{{os.getpid()}}\\n".encode())       # print() is not for signal handlers
        {end}
        """
    UNTIL_SEEN = "[time.sleep(0.01) for _ in iter(lambda: bool(seen), True)]; sys.exit(7)"

    def setUp(self):
        super().setUp()
        viewer_port.hold(self)

    def start(self, *options, end="time.sleep(60)"):
        """Returns the command, and the process id of the program."""
        self.write("app.py", self.PROGRAM.format(end=end))
        process = subprocess.Popen([COMMAND, "record", *options, "app.py"], cwd=self.directory, env=self.env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        self.addCleanup(process.communicate)
        self.addCleanup(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
        return process, int(process.stdout.readline())

    def end_viewer(self, process):
        for line in process.stderr:
            if "ui.perfetto.dev/#" in line:
                break
        process.send_signal(signal.SIGINT)

    def test_the_command_is_the_program(self):
        process, pid = self.start("-q")
        self.assertEqual(pid, process.pid)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.stdout.readline(), "SIGUSR1\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(), -signal.SIGINT)

    def test_view(self):
        """The command is the parent: a signal reaches the program once, and how it ends is how the command ends."""
        for end, number, status in (("time.sleep(60)", signal.SIGINT, -signal.SIGINT), ("time.sleep(60)", signal.SIGKILL, -9),
                                    (self.UNTIL_SEEN, signal.SIGTERM, 7)):
            with self.subTest(end=end, number=number):
                process, pid = self.start("-q", "--view", "--force", end=end)
                self.assertNotEqual(pid, process.pid)
                if status == 7:
                    process.send_signal(number)
                    self.assertEqual(process.stdout.readline(), "SIGTERM\n")
                else:
                    process.send_signal(signal.SIGUSR1)
                    self.assertEqual(process.stdout.readline(), "SIGUSR1\n")
                    os.kill(pid, number)
                self.end_viewer(process)
                self.assertEqual(process.wait(), status)
                self.assertEqual(process.stdout.read(), "")

    def test_program_that_stops(self):
        process, pid = self.start("-q", "--view", end="os.kill(os.getpid(), signal.SIGSTOP); sys.exit(3)")
        self.assertTrue(os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1]))
        process.send_signal(signal.SIGCONT)
        self.end_viewer(process)
        self.assertEqual(process.wait(), 3)

    def test_program_that_does_not_run(self):
        done = self.command("record", "--view", "-o", "/nowhere/run.pnr", "-c", "pass")
        self.assertEqual((done.status, done.out, done.err.count("\n")), (2, "", 1), done.err)

    def test_view_and_the_same_program(self):
        """It finds what it finds without: arguments, environment, descriptors."""
        self.write("app.py", SHOW)
        plain = self.run_words(e2e.PYTHON, "app.py", "x")
        process = subprocess.Popen([COMMAND, "record", "--follow=none", "-q", "--view", "app.py", "x"], cwd=self.directory, env=self.env,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        self.addCleanup(process.communicate)
        self.assertEqual(process.stdout.readline(), plain.out)
        self.end_viewer(process)
        self.assertEqual(process.wait(), 0)


class View(Command):
    """The server of `panopticon view`."""

    HOST, ORIGIN = "127.0.0.1:9001", "https://ui.perfetto.dev"

    def setUp(self):
        super().setUp()
        viewer_port.hold(self)
        self.write("app.py", "def f(): pass\nfor _ in range(1000): f()")
        self.command("record", "-q", "app.py")
        self.env["TMPDIR"] = self.path("tmp")
        os.mkdir(self.env["TMPDIR"])

    def start(self, *words):
        """Returns the process, and the paths in the addresses that it prints."""
        process = subprocess.Popen([COMMAND, "view", *words], cwd=self.directory, env=self.env, text=True,
                                   stderr=subprocess.PIPE,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        found = []
        for line in process.stderr:
            found += re.findall(rf"^ +{self.ORIGIN}/#!/\?url=http://{self.HOST}(/\S+)$", line)
            if len(found) == len(words):
                return process, found
        self.fail("no address")

    def ask(self, path, method="GET", host=HOST, origin=ORIGIN):
        """Returns (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", 9001, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        for name, value in ("Host", host), ("Origin", origin):
            if value:
                connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def test_one_page_fetches_one_file(self):
        process, (path,) = self.start("run.pnr")
        self.assertRegex(path, "^/[0-9a-f]{16}/run.pftrace$")
        for wanted, given in ((403, {"origin": "https://example.org"}), (403, {"origin": None}), (403, {"origin": "null"}),
                              (403, {"host": "example.org:9001"}), (403, {"host": "127.0.0.1"}), (403, {"host": None})):
            for method in "GET", "OPTIONS", "POST":
                status, headers, body = self.ask(path, method, **given)
                self.assertEqual((status, body), (wanted, b""), given)
                self.assertNotIn("Access-Control-Allow-Origin", headers)
        for other in "/", "/run.pftrace", path + "x", "/../app.py", path.replace("run", "../run"), "/status":
            self.assertEqual(self.ask(other)[0], 404)
            self.assertEqual(self.ask(other, "POST")[0], 404)
        status, headers, _ = self.ask(path, "OPTIONS")
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (204, self.ORIGIN))
        self.assertIsNone(process.poll())

        e2e.run([e2e.CONVERT, "-q", self.path("run.pnr"), "-o", self.path("expected.pftrace")])
        status, headers, body = self.ask(path)
        with open(self.path("expected.pftrace"), "rb") as file:
            self.assertEqual((status, body), (200, file.read()))
        self.assertEqual(headers["Access-Control-Allow-Origin"], self.ORIGIN)
        self.assertEqual(headers["Content-Length"], str(len(body)))
        self.assertEqual(process.wait(), 0)
        self.assertEqual(os.listdir(self.env["TMPDIR"]), [])

    def test_several(self):
        self.command("convert", "run.pnr", "-o", "a b.trace")
        process, paths = self.start("run.pnr/", "a b.trace")
        self.assertRegex(paths[1], "/a%20b.trace$")
        self.assertEqual([self.ask(path)[0] for path in paths], [200, 200])
        self.assertEqual(process.wait(), 0)

    def test_it_ends_and_leaves_nothing(self):
        for number, status in (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129):
            process, _ = self.start("run.pnr")
            self.assertNotEqual(os.listdir(self.env["TMPDIR"]), [])
            process.send_signal(number)
            self.assertEqual(process.wait(), status)
            self.assertEqual(os.listdir(self.env["TMPDIR"]), [])

    def test_idle_connections(self):
        """As a browser makes them in advance."""
        process, (path,) = self.start("run.pnr")
        idle = [http.client.HTTPConnection("127.0.0.1", 9001) for _ in range(3)]
        for one in idle:
            one.connect()
        self.assertEqual(self.ask(path)[0], 200)
        self.assertEqual(process.wait(), 0)
        for one in idle:
            one.close()

    def test_port_is_taken(self):
        process, _ = self.start("run.pnr")
        done = self.command("view", "-q", "run.pnr")
        self.assertEqual((done.status, done.err.count("\n")), (2, 1), done.err)
        self.assertIn("127.0.0.1:9001", done.err)
        process.kill()

    def test_browsers(self):
        """The one of BROWSER is opened. Over ssh the line says how to reach the port."""
        browser = self.write_script("browser", "#!/bin/sh", f'echo "$1" >{self.path("opened")}')
        self.env["BROWSER"] = browser
        process, (path,) = self.start("run.pnr")
        with open(self.path("opened"), encoding="utf-8") as file:
            self.assertEqual(file.read(), f"{self.ORIGIN}/#!/?url=http://{self.HOST}{path}\n")
        process.kill()
        process.wait()
        del self.env["BROWSER"]
        self.env["SSH_CONNECTION"] = "192.0.2.1 50000 192.0.2.2 22"
        process, _ = self.start("run.pnr")
        self.assertIn("ssh -N -L 9001:127.0.0.1:9001 192.0.2.2", process.stderr.readline())
        process.kill()

    def test_catapult(self):
        done = self.command("view", "--viewer", "catapult", "--from", "0s", "run.pnr")
        self.assertEqual(done.status, 0, done.err)
        self.assertIn("chrome://tracing", done.err)
        self.assertEqual(e2e.Trace(self.path("run.trace")).count()["__main__.f"], 1000)

    def test_bad_captures(self):
        os.mkdir(self.path("empty.pnr"))
        done = self.command("view", "empty.pnr")
        self.assertEqual((done.status, done.err.count("\n")), (2, 1), done.err)
        self.assertTrue(done.err.startswith("panopticon view: "))


if __name__ == "__main__":
    unittest.main()
