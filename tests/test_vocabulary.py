"""The vocabulary: one word for one thing, by docs/glossary.md, and sentences that stand by themselves. Refuses the
words that were replaced, in names, comments, messages and documents. Checks that the files, sections and terms to which
documents refer exist."""

import collections
import inspect
import io
import pathlib
import re
import tokenize
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
PRODUCT = ("recorder/", "format/", "convert/", "tables/")
FOLDERS = (*PRODUCT, "tests/", "bench/", "examples/")
NOT_EXAMINED = {ROOT / "CHANGELOG.md", pathlib.Path(__file__).resolve()}        # they name the words that were replaced
MAX_WORDS = 40                                  # in a sentence of a comment

# Words in names, between underscores: (pattern, use instead[, where: the beginning of a path]). Names of tests are
# sentences, to which the rules for prose apply.
NAMES = [
    ("tells?|told", "emit, record, report"),
    ("say|said|complain", "report, warn, diagnostics"),
    ("meet|met", "note, reveal"),
    ("foresee|look_on", "plan_readahead, rescan"),
    ("(blocks|files)_rest|miss_(file|first_segments)", "release, report_missing"),
    ("awake|stand_in", "on_first_event, run_inline"),
    ("give_up|given_up", "disable"),
    ("take_back|taken_back|has_taken", "retract"),
    ("give_back|put_another|put_all", "release, flush_oldest, flush_all"),
    ("(?<!at_)(most|least)", "max, min"),
    ("odd|vain|seam", "anomalies, failed, block_boundary"),
    ("birth|born|facts?", "child_start, start_method, property"),
    ("(is|make|count|remove|note|clear)_begun|begun_prefix", "partial", PRODUCT),
    ("undecided|stays?|keeps", "pending, retained", ("convert/", "tests/format/", "tests/unit/")),
    ("left_unseen|leave_unseen|enter_unseen|opened_before", "exit_missing, begin_unknown"),
    ("is_well", "ok"),
    ("adopt|catch_up", "resync_thread, slow_path"),
    ("noted", "watched"),
    ("room", "capacity, buffer, reserve"),
    ("gap", "unrecorded"),
    ("drops?|dropped", "elide, discard, evict, prune, skip"),
    (r"(?<!load_cert_)chains?", "flow"),
    ("edges?(?!_cases)", "begin, end"),
    ("(?<=_)mark|mark(?=_)|marks", "flags, code_tag"),         # mark() is the name of a public function
    ("points?(?=_(first|last|middle|ns|event|phase))", "flow_event"),
    ("(first|last|middle|flows|put|take|write|trace|check)_points?", "flow_event"),
    ("(take|renew|live)_instants?", "clock_sample"),
    ("leader|lead", "payload, child_tracing_hook"),
    ("show_late", "deferred"),
    ("turn", "start_chunk, readahead_entry", PRODUCT),
    ("places?", "block_ref, slot, position, sequence", PRODUCT),
    ("ways?", "call_path", "recorder/cpython/"),
    ("units?", "c_recursion_cost", "recorder/cpython/"),
    ("hooked_(low|size)", "hook_window", "recorder/"),
    ("base_depth|(in|sync)_base|(set|foreign)_floor", "unhooked_frames", "recorder/"),
    ("rec_(log|part)|is_log_of|(new|begin)_log", "rec_buffer, rec_region"),
    ("creations|creation(?=_)", "spawn_arrow", "convert/"),
    ("hammer|surroundings|corners|truth", "stress, environment, edge_cases, oracle"),
]

# In the text of a C file without its comments.
C_CODE = [
    (r"\bstruct run\b", "thread_cursor", "convert/"),
    (r"\bstruct shown\b|\bshown_(init|clear|thread|path)\b", "lazy_metadata", "convert/"),
    (r"\bstruct stacks\b", "open_stack_snapshot", "convert/"),
    (r"\benum \w*_step\b", "status"),
    (r"\b(?:spans|stacks|creations|shown|ahead|notes|births)_\w+\(|\bstruct (?:spans|notes|odd|births|turn)\b",
     "call_stack, open_stack_snapshot, spawn_arrows, lazy_metadata, readahead, diagnostics", "convert/"),
]

# In comments, docstrings, messages and documents; in lower case, what stands in backquotes left out.
PROSE = [
    (r"(?:^|[.:;] )the same (?:for|as|with|without|of|in|by|but)\b", "a sentence that stands by itself"),
    (r"\bas in [a-z]+_[a-z_]+|\b(?:like|as) (?:that|those|the one) (?:above|below)|\b(?:see|as) (?:above|below)\b",
     "a sentence that stands by itself"),
    (r"\bsee(?:s|n)? to it\b", "ensure"),
    (r"\bwhoever\b", "the caller, the process that"),
    (r"\bfree of python\b", "no Python dependency"),
    (r"\bin one another\b", "nested"),
    (r"\bbut for\b", "except"),
    (r"\bbeside\b", "alongside, next to"),
    (r"(?<!fall )(?<!falls )(?<!fell )(?<!left )(?<!leave )(?<!leaves )(?<!nothing )(?<!is )\bbehind\b", "after"),
    (r"\btell(?:s|ing)?\b(?!.{0,24}\bapart\b)|\btold\b(?!.{0,24}\bapart\b)", "report, show, record, identify"),
    (r"\b(?:is|are|was|were|be|been) said\b", "report"),
    (r"\bin vain\b|\bforesees?\b|\blooks? on\b", "fail, plan, scan"),
    (r"\b(?:is|are) taken back\b|\btakes? (?:it|them|that|the \w+|a record) back\b", "retract"),
    (r"\bgiv(?:es?|ing|en) up\b", "disable, drop privileges, stop"),
    (r"(?<!there )\b(?:is|are|was|were) none\b(?! of)", "is not one"),
    (r"\bgaps?\b", "unrecorded region"),
    (r"\bedges?\b(?! case)", "begin, end"),
    (r"(?<!hash )\bchains?\b", "flow"),
    (r"\bborn\b|\bbirths?\b", "start"),
    (r"\b(?:the|a|its|no|these) marks?\b", "flag, code tag"),
    (r"(?<!tried and )(?<!measured and )\bdrop(?:s|ped|ping)?\b(?! (?:its |their |root |all )?(?:privileges|rights))",
     "elide, discard, evict, prune, leave out"),
    (r"\bsegments? of the chain\b|\bfirst point\b|\blast point\b", "flow event"),
    (r"\bthe log\b|\blogs\b|\bthread's log\b", "thread buffer", "recorder/"),
    (r"\bwhat is odd\b|\bodd things\b", "anomalies"),
    (r"\bone behind the other\b|\bby turns\b", "in sequence, alternately"),
    (r"\bthe hammer\b|\bsurroundings\b", "stress test, environment"),
]

C_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

Piece = collections.namedtuple("Piece", "line text")


class Source:
    """A file, taken apart: names, comments and messages (lists of Piece), the names of its tests, and, of a C file, its
    code without comments and strings."""

    def __init__(self, path):
        self.path = path
        self.name = str(path.relative_to(ROOT))
        self.names, self.tests, self.comments, self.messages, self.code = [], set(), [], [], ""
        text = path.read_text(encoding="utf-8")
        if path.suffix in (".c", ".h", ".def"):
            self.read_c(text)
        elif path.suffix == ".md":
            self.read_markdown(text)
        elif path.suffix == ".py" or path.name == "SConstruct" or "python" in text.split("\n", 1)[0]:
            self.read_python(text)
        else:
            self.read_shell(text)

    def read_c(self, text):
        def replace(found):
            line, token = text.count("\n", 0, found.start()) + 1, found[0]
            if token.startswith("/"):
                body = re.sub(r"\n[ \t]*\*?", "\n", re.sub(r"\*/$", "", token[2:]))
                self.comments.append(Piece(line, body))
            elif token.startswith('"') and " " in token:
                self.messages.append(Piece(line, token[1:-1]))
            return re.sub(r"[^\n]", " ", token)
        self.code = C_TOKEN.sub(replace, text)
        self.tests = {name for pair in re.findall(r"\bTest\((\w+),\s*(\w+)", self.code) for name in pair}
        self.find_names(self.code)

    def read_python(self, text):
        previous, run = tokenize.NEWLINE, []
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                number, own_line = token.start[0], token.line.lstrip().startswith("#")
                if not (own_line and run and run[-1].line == number - 1):
                    self.end_run(run)
                    run = []
                run.append(Piece(number, token.string.lstrip("#")))
            elif token.type == tokenize.STRING:
                body = re.sub(r'^\w*("""|\'\'\'|"|\')|("""|\'\'\'|"|\')$', "", token.string)
                is_docstring = previous in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL)
                if is_docstring:
                    self.comments.append(Piece(token.start[0], inspect.cleandoc(body)))
                elif " " in body:
                    self.messages.append(Piece(token.start[0], body))
            elif token.type == tokenize.NAME:
                self.names.append(Piece(token.start[0], token.string))
            if token.type not in (tokenize.COMMENT, tokenize.NL):
                previous = token.type
        self.end_run(run)
        self.tests = {name for name in re.findall(r"\bdef (test_\w+)|\bclass (\w+)\(", text) for name in name if name}

    def end_run(self, run):
        if run:
            self.comments.append(Piece(run[0].line, "\n".join(piece.text for piece in run)))

    def read_shell(self, text):
        run = []
        for number, line in enumerate(text.splitlines(), 1):
            if found := re.match(r"\s*#(?!!)(.*)", line):
                run.append(Piece(number, found[1]))
            else:
                self.end_run(run)
                run = []
        self.end_run(run)

    def read_markdown(self, text):
        text = re.sub(r"^```.*?^```", lambda found: "\n" * found[0].count("\n"), text, flags=re.M | re.S)
        start, lines = 1, []
        for number, line in enumerate([*text.splitlines(), ""], 1):
            if line.strip() and not line.startswith("    ") and not line.startswith("|"):
                lines.append(line)
                continue
            if lines:
                self.comments.append(Piece(start, "\n".join(lines)))
            if line.startswith("|"):
                self.comments.append(Piece(number, line))
            start, lines = number + 1, []

    def find_names(self, code):
        for number, line in enumerate(code.splitlines(), 1):
            self.names += (Piece(number, name) for name in re.findall(r"[A-Za-z_]\w*", line))

    def prose(self):
        """Pieces for the rules for prose: what stands in backquotes is a name of something, not a word."""
        messages = self.messages if self.name.startswith(PRODUCT) else []
        for piece in (*self.comments, *messages):
            text = re.sub(r"`[^`]*`|\bNone\b", lambda found: "``" + "\n" * found[0].count("\n"), piece.text)
            yield Piece(piece.line, re.sub(r"[ \t]+", " ", re.sub(r"[ \t]*\n[ \t]*", "\n", text)).strip(" \t").lower())
        for piece in self.names:
            if piece.text in self.tests:
                yield Piece(piece.line, piece.text.lower().removeprefix("test_").replace("_", " "))


def sources():
    """Files of the project that people write, without data."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts
             and (path.suffix in (".c", ".h", ".def", ".py") or path.suffix == "" and path.read_bytes()[:2] == b"#!")]
    paths += [path for folder in (".", "docs", "specs", "bench") for path in (ROOT / folder).glob("*.md")]
    paths += [ROOT / "test", ROOT / "demo", ROOT / "SConstruct", *(ROOT / ".ci").iterdir()]
    return [Source(path) for path in sorted(set(paths)) if path not in NOT_EXAMINED]


def applies(rule, name):
    return len(rule) == 2 or name.startswith(rule[2])


def anchors(path):
    """The places of a document that a link can lead to, as GitHub names them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = set(re.findall(r'<a id="([^"]+)"', text))
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.M):
        found.add(re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading)).strip().lower().replace(" ", "-"))
    return found


def sections(path):
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", path.read_text(encoding="utf-8"), re.M))


class Vocabulary(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sources = sources()
        cls.documents = [source.path for source in cls.sources if source.path.suffix == ".md"]

    def refuse(self, found):
        """found: (file, line, what it is, pattern it is refused by, what to use instead)."""
        found = sorted(set(found))
        counts = collections.Counter((pattern, instead) for _, _, _, pattern, instead in found)
        lines = [f"{name}:{line}: {what}: use {instead}" for name, line, what, _, instead in found]
        lines += [f"{n:6} {pattern}  (use {instead})" for (pattern, instead), n in counts.most_common()]
        if lines:
            self.fail(f"{len(found)} in {len({name for name, *_ in found})} files\n" + "\n".join(lines))

    def test_names(self):
        found = []
        rules = [(re.compile(rf"(?<![a-z0-9])(?:{rule[0]})(?![a-z0-9])"), rule) for rule in NAMES]
        for source in self.sources:
            active = [(pattern, rule) for pattern, rule in rules if applies(rule, source.name)]
            for line, name in source.names:
                if name not in source.tests and not source.name.startswith("tests/e2e/programs/"):
                    found += ((source.name, line, name, rule[0], rule[1]) for pattern, rule in active
                              if pattern.search(name.lower()))
        self.refuse(found)

    def test_code(self):
        self.refuse((source.name, source.code.count("\n", 0, hit.start()) + 1, hit[0], rule[0], rule[1])
                    for source in self.sources for rule in C_CODE if applies(rule, source.name)
                    for hit in re.finditer(rule[0], source.code))

    def test_statics(self):
        """A static function of the product has a name that no other one has: grep, gdb and perf tell them apart."""
        where = collections.defaultdict(set)
        for source in self.sources:
            if source.path.suffix == ".c" and source.name.startswith(PRODUCT):
                for name in re.findall(r"^static\b[^;={(]*?\b(\w+)\(", source.code.replace("__attribute__", ""), re.M):
                    where[name].add(source.name)
        shared = [f"{name}: {', '.join(sorted(files))}" for name, files in sorted(where.items()) if len(files) > 1]
        if shared:
            self.fail(f"{len(shared)} names\n" + "\n".join(shared))

    def test_prose(self):
        self.refuse((source.name, line + text.count("\n", 0, hit.start()),
                     text[max(0, hit.start() - 30):hit.end() + 20].replace("\n", " "), rule[0], rule[1])
                    for source in self.sources for line, text in source.prose()
                    for rule in PROSE if applies(rule, source.name)
                    for hit in re.finditer(rule[0], text.replace("\n", " ")))

    def test_sentences(self):
        """A sentence of a comment has no more than MAX_WORDS words. Tables, drawings and lists of names are none."""
        found = []
        for source in self.sources:
            if source.path.suffix == ".md":
                continue
            for line, text in source.comments:
                text = re.sub(r"^(?: {3,}|\t).*$", "", text, flags=re.M)
                for paragraph in re.split(r"\n[ *]*\n|\n *[-*] ", text):
                    for sentence in re.split(r"(?<=[.?!])[)\"]?\s+", " ".join(paragraph.split())):
                        if (n := len(sentence.split())) > MAX_WORDS:
                            found.append((source.name, line, f"{n} words: {sentence[:60]}...", "long sentence", "two"))
        self.refuse(found)

    def test_glossary(self):
        """Each term is defined once, the terms in its definition are, too, and the file where it lives is there."""
        text = GLOSSARY.read_text(encoding="utf-8")
        rows = re.findall(r'^\| <a id="([^"]+)"></a>([^|]+?) \|(.+)\|([^|]+)\|$', text, re.M)
        terms = [term for _, term, _, _ in rows]
        self.assertGreaterEqual(len(rows), 40)
        self.assertEqual([term for term, n in collections.Counter(terms).items() if n > 1], [])
        self.assertEqual([term for anchor, term, _, _ in rows if anchor != term.lower().replace(" ", "-")], [])
        self.assertEqual([f"{term}: [{used}]" for _, term, meaning, _ in rows
                          for used in re.findall(r"\[([^\]]+)\](?!\()", re.sub(r"`[^`]*`", "", meaning))
                          if used not in terms], [])
        self.assertEqual([term for _, term, _, place in rows if not re.search(r"\]\(\.\./[^)]+\)", place)], [])
        targets = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.M))
        self.assertEqual(targets, {term: f"#{anchor}" for anchor, term, _, _ in rows})

    def test_links(self):
        """Each link from a document leads to a file that is there, and to a heading that is in it."""
        wrong = []
        for path in self.documents:
            text = re.sub(r"(?s:^```.*?^```)|^    .*$|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.M)
            for target in re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", text, re.M):
                target = target[0] or target[1]
                if re.match(r"\w+:", target):
                    continue
                name, _, anchor = target.partition("#")
                there = (path.parent / name).resolve() if name else path
                if not there.exists():
                    wrong.append(f"{path.relative_to(ROOT)}: there is no {target}")
                elif anchor and there.suffix == ".md" and anchor not in anchors(there):
                    wrong.append(f"{path.relative_to(ROOT)}: there is no heading for {target}")
        self.assertEqual(wrong, [])

    def test_files(self):
        """docs/tour.md names every module. Each file that it names is in the folder of its row."""
        docs = ROOT / "docs"
        tour = (docs / "tour.md").read_text(encoding="utf-8")
        wrong = []
        for row in re.findall(r"^\|.*$", tour, re.M):
            folders = [docs / target if (docs / target).is_dir() else (docs / target).parent
                       for target in re.findall(r"\]\(([^)#]+)\)", row)]
            wrong += [name for name in re.findall(r"`([\w/]+\.(?:[ch]|py|def))`", row)
                      if not any((folder / name).exists() for folder in folders)]
        self.assertEqual(wrong, [])
        modules = {path.stem for folder in PRODUCT for path in (ROOT / folder).rglob("*.[ch]")}
        named = {pathlib.Path(name).stem for name in re.findall(r"[\w/]+\.(?:[ch]|def)\b", tour)}
        self.assertEqual(sorted(modules - named), [])

    def test_faults(self):
        """Each test that the table of faults names is there."""
        faults = (ROOT / "specs" / "faults.md").read_text(encoding="utf-8")
        names = set(re.findall(r"`(test_\w+)(?:\.(\w+))?`", faults))
        self.assertGreater(len(names), 10)
        self.assertEqual([name for name, case in sorted(names)
                          if not (there := ROOT / "tests" / "e2e" / f"{name}.py").exists()
                          or case and not re.search(rf"^class {case}\(", there.read_text(encoding="utf-8"), re.M)], [])
        self.assertEqual([name for name in re.findall(r"`(tests/[\w/.]+)`", faults) if not (ROOT / name).exists()], [])

    def test_sections(self):
        """Each section of a specification that code, tests or another document refers to is there."""
        reference = re.compile(r"\b([\w-]+\.md)[,)]*\s+(?:\*\s+)?(?:#\s+)?sections? (\d+(?:\.\d+)?)")
        wrong = []
        for source in self.sources:
            text = re.sub(r"\n[ \t]*[*#]?", " ", source.path.read_text(encoding="utf-8"))
            for name, section in reference.findall(text):
                path = ROOT / "specs" / name
                if path.exists() and section not in sections(path):
                    wrong.append(f"{source.name}: {name} has no section {section}")
                elif not path.exists():
                    wrong.append(f"{source.name}: there is no specs/{name}")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
