"""Reads the fenced blocks of a document, and compares what they printed with what it shows."""
import re

# What may stand behind a fence's ```; what a block of each language means stands in scripts/run-guide.
LANGUAGES = ["gleam", "erlang", "elixir", "sh", "sql", "python", "json", "toml", "text", "mermaid"]
# In these, a line below an expression shows its value when it begins with this.
SHOWS = {"erlang": "% ", "elixir": "#=> "}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
DIRECTIVES = "program|module|not run|file|database|schema"


class Wrong(Exception):
    """A document that cannot be read, or a block that did not do what it shows."""


class Block:
    """A fenced block: its language, the line of its fence, its lines and its directives."""

    def __init__(self, document, language, line, directives):
        self.document, self.language, self.line = document, language, line
        self.directives, self.lines = directives, []
        self.output = None  # the text block that shows what this one prints

    def text(self):
        return "\n".join(self.lines) + "\n"

    def name(self):
        return f"{self.document} line {self.line} ({self.language})"

    def shown(self):
        """The values that the block shows: by the line of the code above each, its lines."""
        if self.language not in SHOWS:
            return {}
        prefix, shown, last = SHOWS[self.language], {}, 0
        for number, line in enumerate(self.lines, 1):
            if line.startswith(prefix):
                shown.setdefault(last, []).append(line[len(prefix):])
            else:
                last = number
        return shown


def read(root, document):
    """The blocks of a document, in order. A text block right behind one that runs is that one's output."""
    blocks, block, directives, last = [], None, {}, None
    for number, line in enumerate((root / document).read_text(encoding="utf-8").splitlines(), 1):
        if block is not None:
            if line.startswith("```"):
                block = None
            else:
                block.lines.append(line)
        elif line.startswith("```"):
            block = Block(document, line[3:].strip(), number, directives)
            if block.language not in LANGUAGES:
                raise Wrong(f"{block.name()}: no such language; known are {', '.join(LANGUAGES)}")
            if block.language == "text" and last is not None:
                last.output = block
            blocks.append(block)
            last = None if block.language in ("text", "mermaid") else block
            directives = {}
        elif line.lstrip().startswith("```"):
            raise Wrong(f"{document} line {number}: a fence stands in the first column")
        elif found := re.match(rf"<!-- ({DIRECTIVES}): (.*) -->$", line):
            directives[found.group(1)] = found.group(2)
        elif line.strip():
            last = None
    if block is not None:
        raise Wrong(f"{block.name()}: the block has no end")
    return blocks


def broken_links(root, document):
    """Links of a document to files and headings that are not there."""
    text = re.sub(r"^```.*?^```", "", (root / document).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (root / document).parent / path if path else root / document
        if not file.exists():
            yield f"{document}: there is no {target}"
        elif anchor and anchor not in anchors(file):
            yield f"{document}: there is no heading for {target}"


def anchors(file):
    """The names that the repository's host gives to headings."""
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def same(shown, printed):
    """Whether lines say the same. `...` in those shown stands for anything, a time for any other time."""
    shown, printed = (TIME.sub("TIME", "\n".join(line.rstrip() for line in lines)) for lines in (shown, printed))
    return re.fullmatch(".*?".join(map(re.escape, shown.split("..."))), printed, re.DOTALL) is not None


def same_value(shown, value):
    """The same of a term, whose lines may be broken anywhere."""
    return same([re.sub(r"\s+", "", "".join(shown))], [re.sub(r"\s+", "", "".join(value))])


def differ(block, what, shown, printed):
    return "\n".join([f"{block.name()}: {what} is", *printed, "and the document shows", *shown])


def compare(block, printed, values):
    """Yields what differs between what a block did and what the document shows of it."""
    shown = block.output.lines if block.output else []
    if not same(shown, printed):
        yield differ(block, "what it printed", shown, printed)
    for line, lines in block.shown().items():
        if not same_value(lines, values.get(line, ["(nothing)"])):
            yield differ(block, f"the value in line {block.line + line}", lines, values.get(line, ["(nothing)"]))


def update(root, document, results):
    """Writes into a document what was printed, where it shows something else. RESULTS: of (block,
    lines printed, values by line)."""
    lines = (root / document).read_text(encoding="utf-8").splitlines()
    changes = []
    for block, printed, values in results:
        if block.output and not same(block.output.lines, printed):
            changes.append((block.output.line, len(block.output.lines), printed))
        for line, shown in block.shown().items():
            if line in values and not same_value(shown, values[line]):
                prefix = SHOWS[block.language]
                changes.append((block.line + line, len(shown), [prefix + value for value in values[line]]))
    for line, count, new in sorted(changes, key=lambda one: one[0], reverse=True):
        lines[line:line + count] = new
    (root / document).write_text("\n".join(lines) + "\n", encoding="utf-8")
