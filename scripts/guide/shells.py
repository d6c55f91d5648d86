"""Blocks that run one after the other in one shell for each language of a document."""
import os
import re
import subprocess
import threading
import time

from documents import SHOWS, Wrong

END = "=== end "


class Shell:
    """A process that runs one block after the other and says where each ends."""

    def __init__(self, command, folder, environment, limit):
        self.limit, self.late = limit, False
        self.errors = open(folder.parent / f"{folder.name}-{os.path.basename(command[-1])}.stderr", "w+")
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def run(self, line):
        """The lines that the block printed, and what the shell says of its end."""
        timer = threading.Timer(self.limit, self.give_up)
        timer.start()
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            printed = []
            for out in self.process.stdout:
                if out.startswith(END):
                    # What the mark begins with, so that it stands in a line of its own.
                    return printed[:-1] if printed and not printed[-1] else printed, out[len(END):].strip()
                printed.append(out.rstrip("\n"))
        except BrokenPipeError:
            printed = []
        finally:
            timer.cancel()
        why = f"it was not done after {self.limit} seconds" if self.late else "its shell ended"
        self.errors.seek(0)
        return printed, "\n".join([why, *printed, self.errors.read()])

    def give_up(self):
        self.late = True
        self.process.kill()

    def close(self):
        try:
            self.process.stdin.close()
            self.process.wait(20)
        except BrokenPipeError:
            pass
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.errors.close()


class Shells:
    """The shells of one document, which are started with the first block of a language."""

    def __init__(self, root, folder, ebins, limit):
        self.root, self.folder, self.limit, self.shells = root, folder, limit, {}
        here = root / "scripts" / "guide"
        paths = " ".join(f"-pz {path}" for path in ebins)
        with_warp = {**os.environ, "ERL_LIBS": str(root / "_build/default/lib"), "ERL_AFLAGS": paths,
                     "LC_ALL": "C.UTF-8"}
        # Projects that a document makes need nothing of a registry, and it may be out of reach.
        self.environments = {"erlang": with_warp,
                             "elixir": {**with_warp, "ERL_LIBS": str(root / "elixir/_build/dev/lib")},
                             "sh": {**os.environ, "REBAR_OFFLINE": "1"}}
        self.commands = {"erlang": ["escript", here / "erlang.escript"], "elixir": ["elixir", here / "elixir.exs"],
                         "sh": ["bash", "-euo", "pipefail"]}

    def run(self, block):
        """What the block printed, and its values by the line that each ends in."""
        shell = self.shells.get(block.language)
        if shell is None:
            shell = Shell(self.commands[block.language], self.folder,
                          self.environments[block.language], self.limit)
            self.shells[block.language] = shell
        file = self.folder.parent / f"{self.folder.name}-{block.line}.{block.language}"
        file.write_text(block.text(), encoding="utf-8")
        if block.language == "sh":
            # Shards follow the journal within a tenth of a second: nobody who reads a document types faster.
            if len(self.shells) > 1:
                time.sleep(0.3)
            printed, outcome = shell.run(f'. "{file}" </dev/null; printf "\\n{END}ok\\n"')
            values = {}
        else:
            printed, outcome = shell.run(str(file))
            printed, values = take_values(printed)
        # An exception that the document shows is no failure.
        while found := re.match(r"raised (\d+) ", outcome):
            line = int(found.group(1))
            if not block.shown().get(line, [""])[0].startswith("**"):
                raise Wrong(f"{block.name()}: line {block.line + line} raised\n" + "\n".join(values[line]))
            outcome = outcome[found.end():]
        if found := re.match(r"line (\d+)", outcome):
            outcome = f"line {block.line + int(found.group(1))}{outcome[found.end():]}"
        if outcome != "ok":
            raise Wrong(f"{block.name()}: {outcome}")
        return printed, values

    def close(self):
        for shell in self.shells.values():
            shell.close()


def take_values(lines):
    """Parts what a block printed from the values of its expressions."""
    printed, values, at = [], {}, None
    for line in lines:
        if found := re.match(r"=== value (\d+)$", line):
            at = int(found.group(1))
            values[at] = []
            if printed and not printed[-1]:
                printed.pop()
        elif line == "===":
            at = None
        elif at is not None:
            values[at].append(line)
        else:
            printed.append(line)
    return printed, values
