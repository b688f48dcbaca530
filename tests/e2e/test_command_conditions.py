"""The command `panopticon` under conditions that are not the usual ones: closed streams, ignored signals, the locale C,
names of any bytes, programs that name no interpreter."""

import os
import signal
import subprocess
import unittest
import zipfile

import e2e

COMMAND = e2e.COMMAND
HAS_PAGE = os.path.exists(os.path.join(e2e.BUILD, "panopticon_rec/command/report/bundle.js"))       # by `scons report`
NAMES = b"new\nline", b"sp ace", b"-dash", b"no\xffutf-8", b"<script>", b"quo'te\""
SHOW = """
    import json, os, signal, sys
    def show():
        print(json.dumps([sys.flags, os.environ.get("LC_CTYPE"), sys.stdin.errors, sys.stdout.encoding, sys.argv,
                          signal.getsignal(signal.SIGCHLD)]))
    show()
    """


class Command(e2e.EndToEnd):
    def run_words(self, *words, env=None, **more):
        env = {"PATH": "/usr/bin:/bin", "TMPDIR": self.directory, **(env or {})}
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.run(words, cwd=self.directory, env=env, timeout=120, **more)

    def command(self, *words, **more):
        return self.run_words(COMMAND, *words, **more)

    def record(self):
        self.write("app.py", "def f(): pass\nf()")
        done = self.command("record", "-q", "app.py")
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.path("run.pnr")


@unittest.skipIf(e2e.IS_SANITIZED, "the command runs the interpreter without the sanitizer")
class Conditions(Command):
    def test_closed_streams(self):
        """The exit status is the same, and what is left to read is no traceback."""
        for words, status in (["--help"], 0), (["record", "--help"], 0), (["--version"], 0), (["view", "-h"], 0), \
                (["none"], 2), (["record", "none"], 2), (["view"], 2), (["view", "none"], 2), (["report", "none"], 2):
            for number in 1, 2:
                with self.subTest(words=words, number=number):
                    done = self.command(*words, preexec_fn=lambda number=number: os.close(number))
                    self.assertEqual(done.returncode, status)
                    self.assertNotIn(b"Traceback", done.stdout + done.stderr)

    def test_output_that_cannot_be_written(self):
        """One line, on a full disk and into a pipe that nobody reads any more."""
        self.record()
        pipe, end = os.pipe()
        os.close(pipe)
        self.addCleanup(os.close, end)
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        for words in ["--help"], ["--version"], ["ctl", "--help"], ["diff", "--help"], ["diff", "run.pnr", "run.pnr"], \
                ["sql", "--help"], ["record", "--help"], ["view", "--help"]:
            for output, reason in (end, "Broken pipe"), (full, "No space left on device"):
                with self.subTest(words=words, reason=reason):
                    done = self.command(*words, stdout=output)
                    line = f"panopticon: {words[0]}: standard output: cannot write: {reason}\n"
                    self.assertEqual((done.returncode, done.stderr.decode()), (2, line))

    def test_errors_without_a_file(self):
        """What fails without a file is not laid to standard output."""
        self.write("fails.py", """
            import errno, sys
            from panopticon_rec import command

            def run(words):
                print("shown")
                raise OSError(errno.ENETDOWN, "the network is down")

            command.SUBCOMMANDS["top"].run = run
            sys.exit(command.main())
            """)
        done = self.run_words(e2e.PYTHON, "fails.py", "top", env={"PYTHONPATH": e2e.BUILD})
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (2, b"shown\n", b"panopticon: top: the network is down\n"))

    def test_folders_that_are_no_processes(self):
        os.makedirs(self.path("run.pnr/process-\u00b2"))
        done = self.command("ctl", "run.pnr", "status")
        self.assertEqual((done.returncode, done.stderr), (2, b"panopticon: run.pnr: not a capture\n"))

    def test_locales(self):
        """In the locale C the program is in UTF-8 mode, as it is without the recorder."""
        self.write("app.py", SHOW)
        for env in {}, {"LC_CTYPE": "C", "LANG": "C.UTF-8"}, {"LC_ALL": "C"}, {"LANG": "C.UTF-8"}, \
                {"PYTHONCOERCECLOCALE": "0"}, {"PYTHONUTF8": "1"}, {"PYTHONUTF8": "0"}:
            with self.subTest(env=env):
                plain = self.run_words(e2e.PYTHON, "app.py", "x", env=env)
                done = self.command("record", "-q", "--force", "--follow=none", "app.py", "x", env=env)
                self.assertEqual((done.stdout, done.stderr), (plain.stdout, b""))

    def test_characters_that_the_encoding_does_not_have(self):
        """What PYTHONIOENCODING asks for decides what becomes of them. Where it asks for nothing, they are escaped."""
        program = ("import sys; from panopticon_rec import command; command.SUBCOMMANDS['print'] = command.Subcommand("
                   "'', '', lambda words: print('h\\xe9')); sys.argv[1:] = ['print']; sys.exit(command.main())")
        for encoding, expected in ("ascii", b"h\\xe9\n"), ("ascii:replace", b"h?\n"), ("latin-1", b"h\xe9\n"), \
                ("ascii:xmlcharrefreplace", b"h&#233;\n"):
            with self.subTest(encoding):
                done = self.run_words(e2e.PYTHON, "-c", program, env={"PYTHONIOENCODING": encoding, "PYTHONPATH": e2e.BUILD})
                self.assertEqual((done.stdout, done.stderr), (expected, b""))

    def test_programs_that_name_no_interpreter(self):
        """On some file systems every file is executable."""
        self.write("plain", SHOW)
        self.write("archive.pyz", "")
        with zipfile.ZipFile(self.path("archive.pyz"), "w") as archive:
            archive.writestr("__main__.py", e2e.textwrap.dedent(SHOW))
        for name in "plain", "archive.pyz":
            os.chmod(self.path(name), 0o755)
            plain = self.run_words(e2e.PYTHON, name)
            done = self.command("record", "-q", "--force", "--follow=none", name)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, plain.stdout, b""))
        done = self.command("record", "/bin/true")
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (2, 1), done.stderr)

    def test_names(self):
        """Captures of any name, also one that looks like an option, become traces."""
        before = os.fsencode(self.record())
        for name in NAMES:
            with self.subTest(name=name):
                path = os.path.join(os.fsencode(self.directory), name + b".pnr")
                os.rename(before, path)
                done = self.command(b"view", b"--viewer=catapult", b"--", name + b".pnr")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(e2e.Trace(os.fsdecode(path.removesuffix(b".pnr") + b".trace")).count()["__main__.f"], 1)
                for verb in b"top", b"info", b"verify":
                    self.assertEqual(self.command(verb, b"--", name + b".pnr").returncode, 0)
                os.rename(path, before)

    @unittest.skipUnless(HAS_PAGE, "the libraries of the report's page are not bundled")
    def test_where_a_report_goes(self):
        """To captures of any name, through a symbolic link, which is kept, and to the file of standard output."""
        before = os.fsencode(self.record())
        for name in NAMES:
            with self.subTest(name=name):
                path = os.path.join(os.fsencode(self.directory), name + b".pnr")
                os.rename(before, path)
                done = self.command(b"report", b"-q", b"-o", b"run.html", b"--", name + b".pnr")
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                os.rename(path, before)
        size = os.path.getsize(self.path("run.html"))
        os.symlink("target.html", self.path("link.html"))
        self.command("report", "-o", "link.html", "run.pnr")
        self.assertEqual(os.readlink(self.path("link.html")), "target.html")
        self.assertAlmostEqual(os.path.getsize(self.path("target.html")), size, delta=100)
        with open(self.path("out.html"), "wb") as out:
            self.assertEqual(self.command("report", "-o", "/dev/stdout", "run.pnr", stdout=out).returncode, 0)
        self.assertAlmostEqual(os.path.getsize(self.path("out.html")), size, delta=100)
        self.assertEqual([name for name in os.listdir(self.directory) if name.startswith(".panopticon")], [])

    def test_an_option_without_its_argument(self):
        self.record()
        done = self.command("view", "run.pnr", "--from")
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (2, 1), done.stderr)


@e2e.alone
@unittest.skipIf(e2e.IS_SANITIZED, "the command runs the interpreter without the sanitizer")
class Viewer(Command):
    """What needs the port of `panopticon view`."""

    def view(self, *words, **more):
        """Returns standard output, standard error up to the address, and the exit status after Ctrl-C."""
        process = subprocess.Popen([COMMAND, *words], cwd=self.directory, stdin=subprocess.DEVNULL,
                                   env={"PATH": "/usr/bin:/bin", "TMPDIR": self.path("tmp")},
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        lines = []
        for line in process.stderr:
            lines.append(line)
            if b"ui.perfetto.dev/#" in line:
                break
        process.send_signal(signal.SIGINT)
        status = process.wait()
        self.assertEqual(os.listdir(self.path("tmp")), [])
        return process.stdout.read(), b"".join(lines), status

    def setUp(self):
        super().setUp()
        os.mkdir(self.path("tmp"))

    def test_names(self):
        before = os.fsencode(self.record())
        for name, quoted in ((b"no\xffutf-8", b"no%FFutf-8"), (b"new\nline", b"new%0Aline"), (b"-dash", b"-dash")):
            path = os.path.join(os.fsencode(self.directory), name + b".pnr")
            os.rename(before, path)
            _, found, status = self.view(b"view", b"--", name + b".pnr",
                                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
            self.assertTrue(found.endswith(b"/" + quoted + b".pftrace\n"), found)
            self.assertEqual(status, 130)
            os.rename(path, before)

    def test_ignored_end_of_children(self):
        """SIGCHLD ignored by who starts the command: the program is ignorant of the difference, and its end is seen."""
        self.write("app.py", SHOW + "sys.exit(3)")

        def ignore():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)

        plain = self.run_words(e2e.PYTHON, "app.py", preexec_fn=ignore)
        out, found, status = self.view("record", "--view", "-q", "--follow=none", "app.py", preexec_fn=ignore)
        self.assertEqual((out, status), (plain.stdout, 3))
        self.assertIn(b"ui.perfetto.dev/#", found)


if __name__ == "__main__":
    unittest.main()
