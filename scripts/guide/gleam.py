"""Gleam blocks: each program of a document becomes a module of one package, which is built once."""
import re
import shutil
import subprocess

from documents import Wrong

MARK = "=== block "
# A definition begins in the first column with one of these; what does not is a statement.
DEFINITION = re.compile(r"(pub |import |fn |type |const |opaque |@|///)")


class Program:
    """What runs as one module: definitions, and the statements of its blocks in order."""

    def __init__(self, name, title):
        self.name, self.title, self.blocks = name, title, []

    def source(self):
        imports, definitions, statements = {}, [], []
        for block in self.blocks:
            tops, rest = split(block.lines)
            for top in tops:
                if top[0].startswith("import "):
                    add_import(imports, " ".join(line.strip() for line in top))
                else:
                    definitions += top + [""]
            statements.append(f'  io.println("{MARK}{block.line}")')
            statements += ["  " + line if line else "" for line in rest]
            if any(line.startswith("pub fn main(") for line in block.lines):
                statements.append("  let _ = main()")
        add_import(imports, "import gleam/io")
        head = [show_import(module, *names) for module, names in sorted(imports.items())]
        return "\n".join(head + [""] + definitions + ["pub fn run_blocks() {"] + statements + ["  Nil", "}", ""])


def split(lines):
    """The definitions of a block, each a list of lines, and its statements."""
    tops, rest, top, depth = [], [], [], 0
    for line in lines:
        if not top and not DEFINITION.match(line):
            rest.append(line)
            continue
        top.append(line)
        code = re.sub(r'"(\\.|[^"\\])*"|//.*', "", line)
        depth += sum(map(code.count, "({[")) - sum(map(code.count, ")}]"))
        # What stands above a definition belongs to it.
        if depth == 0 and not line.startswith(("@", "//")) and not code.rstrip().endswith("="):
            tops.append(top)
            top = []
    return tops, rest


def add_import(imports, text):
    found = re.fullmatch(r"import ([a-z0-9_/]+)(?:\.\{(.*?),?\s*\})?(?: as (\w+))?", text.strip())
    if not found:
        raise Wrong(f"cannot read this import: {text}")
    module, names, alias = found.groups()
    known, _ = imports.setdefault(module, (set(), alias))
    known.update(name.strip() for name in (names or "").split(",") if name.strip())


def show_import(module, names, alias):
    unqualified = ".{" + ", ".join(sorted(names)) + "}" if names else ""
    return f"import {module}{unqualified}" + (f" as {alias}" if alias else "")


def programs(document, blocks):
    """The programs of a document, and its modules by path."""
    stem = re.sub(r"\W+", "_", document.removesuffix(".md").lower())
    found, modules = [Program(stem, document)], {}
    for block in blocks:
        if "program" in block.directives:
            name = block.directives["program"]
            found.append(Program(f"{stem}_{name}", f"{document} {name}"))
        if "module" in block.directives:
            modules[block.directives["module"]] = block
        elif block.language == "gleam":
            found[-1].blocks.append(block)
    return [program for program in found if program.blocks], modules


def build(root, package, all_programs, modules):
    """Builds all programs and modules as one package that depends on what is beside it."""
    shutil.rmtree(package / "src", ignore_errors=True)
    (package / "src").mkdir(parents=True)
    paths = {"warp": root / "gleam", "kuma": root / "gleam" / "kuma"}
    ours = [f'{name} = {{ path = "{path}" }}' for name, path in paths.items() if (path / "gleam.toml").exists()]
    (package / "gleam.toml").write_text("\n".join([
        'name = "guide"', 'version = "0.0.0"', 'target = "erlang"', "", "[dependencies]", *ours,
        'gleam_stdlib = ">= 0.60.0 and < 2.0.0"', 'gleam_erlang = ">= 1.0.0 and < 2.0.0"',
        'gleam_otp = ">= 1.0.0 and < 2.0.0"', 'gleam_json = ">= 3.0.0 and < 4.0.0"', ""]))
    for path, block in modules.items():
        file = package / "src" / f"{path}.gleam"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text(), encoding="utf-8")
    for program in all_programs:
        (package / "src" / f"{program.name}.gleam").write_text(program.source(), encoding="utf-8")
    built = subprocess.run([root / "scripts" / "gleam", "build", package], capture_output=True, text=True)
    if built.returncode != 0:
        raise Wrong(f"building the Gleam blocks: status {built.returncode}\n{built.stdout}{built.stderr}")


def run(program, folder, ebins, limit):
    """What each block printed, by its line, and what went wrong, if anything."""
    command = ["erl", "-noinput", "-kernel", "logger_level", "error", "-pa", *ebins,
               "-eval", f"'{program.name}':run_blocks(), init:stop()."]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {}, f"not done after {limit} seconds"
    printed, at = {}, None
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            at = int(line[len(MARK):])
            printed[at] = []
        elif at is not None:
            printed[at].append(line)
    return printed, "" if done.returncode == 0 else f"status {done.returncode}\n{done.stdout}{done.stderr}"
