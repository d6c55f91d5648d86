"""What is done with blocks that are no program of a shell: data, SQL, Python, and what is left out."""
import json
import re
import sqlite3
import subprocess
import sys
import tomllib

from documents import Wrong


def parse(block):
    """JSON and TOML have to be just that."""
    try:
        json.loads(block.text()) if block.language == "json" else tomllib.loads(block.text())
    except ValueError as error:
        raise Wrong(f"{block.name()}: {error}") from None


def sql(block, folder):
    """What a query prints in the sqlite3 shell, on the database that the block names; or nothing, when it is
    the schema of that database."""
    if "schema" in block.directives:
        return schema(block, folder / block.directives["schema"])
    database = block.directives.get("database")
    command = ["sqlite3", "-batch", "-bail", *(["-readonly", folder / database] if database else [":memory:"])]
    return output(block, command, folder)


def schema(block, file):
    """Each statement has to stand in the file, and those of the file that make the same kind in the block."""
    normal = lambda text: re.sub(r"\s+", "", text.strip().rstrip(";"))
    ours = {normal(text) for text in block.text().split(";\n") if text.strip()}
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        theirs = {normal(text): kind for text, kind in database.execute(
            "SELECT sql, type FROM sqlite_schema WHERE sql IS NOT NULL")}
    kinds = {theirs[text] for text in ours & set(theirs)}
    wrong = (ours - set(theirs)) | {text for text, kind in theirs.items() if kind in kinds} - ours
    if wrong:
        raise Wrong("\n".join([f"{block.name()}: only in the document or only in {file.name}:", *sorted(wrong)]))
    return []


def python(block, folder):
    return output(block, [sys.executable, "-"], folder)


def output(block, command, folder):
    done = subprocess.run(command, cwd=folder, input=block.text(), capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Wrong(f"{block.name()}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()


def left_out(block, root):
    """A shell's block that is not run has to be one, and its targets of make and scripts have to exist."""
    if block.language != "sh":
        return
    done = subprocess.run(["bash", "-n"], input=block.text(), capture_output=True, text=True)
    wrong = [done.stderr] if done.returncode else []
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (root / "Makefile").read_text(), re.MULTILINE))
    wrong += [f"make has no target {target}" for target in re.findall(r"^make (?:-C \S+ )?([a-z][a-z0-9-]*)", block.text(), re.MULTILINE)
              if target not in targets]
    wrong += [f"there is no {path}" for path in
              re.findall(r"(?:^|\s)((?:scripts|examples|demo|bench|gleam|test)/[\w./-]+)", block.text())
              if not (root / path).exists() and not (root / f"{path}.erl").exists()]
    if wrong:
        raise Wrong("\n".join([f"{block.name()}:", *wrong]))
