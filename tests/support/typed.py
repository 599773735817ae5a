"""The commands that can be typed, with their options, and those that a text names."""

import importlib.util
import re
import subprocess
import sys

import click
from invoke import Collection

from labd_host.cli.main import labd
from support.paths import ROOT

# a program of ours and what follows it, up to the end of its command line
NAMED = re.compile(
    r"(?<![\w./-])(?:\$ )?(?:\S*/)?"
    r"(labd|fab|make|python3? (?:-\w )?(?:-m labd_\w+(?:\.\w+)*|\w+/\w+\.py))"
    r"""((?: +(?:"[^"]*"|(?!or |then |with |and )[^\s#;|&,()]+))*)"""
)
OPTION = re.compile(r"^-{1,2}[a-z][a-z-]*")
OF_OTHERS = {  # options that our texts name of du, docker and pip
    "--max-depth", "--privileged", "--no-build-isolation", "--no-deps",
}  # fmt: skip
PROSE = {"a", "it", "room", "the"}  # "make room" is no target


def targets():
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


class Commands:
    """Every command of ours.

    Attributes:
        options: The command's words -> its options: ``("labd", "board", "up")``, ``("labd_board.validate",)``,
            ``("bench/bench_compile.py",)``.
        required: The same -> those that it asks for, each with its short form.
    """

    def __init__(self):
        self.options = {}
        self.required = {}
        self._add_click(labd, ("labd",))
        self._add_fab()
        self.options.update({("make", target): set() for target in targets()})
        for path in sorted((ROOT / "board" / "labd_board").glob("*.py")):
            if "\ndef main(" in path.read_text():
                self._add_module("labd_board." + path.stem)
        for path in (ROOT / "bench").glob("*.py"):
            self.options["bench/" + path.name,] = set(re.findall(r'"(--[a-z][a-z-]*)"', path.read_text()))

    def _add_click(self, command, words):
        context = click.Context(command)
        options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
        self.options[words] = {"--help"}.union(*(one.opts + one.secondary_opts for one in options))
        self.required[words] = [set(one.opts) for one in options if one.required]
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                self._add_click(command.get_command(context, name), (*words, name))

    def _add_fab(self):
        spec = importlib.util.spec_from_file_location("fabfile", str(ROOT / "fabfile.py"))
        fabfile = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fabfile)
        for context in Collection.from_module(fabfile).to_contexts():
            self.options["fab", context.name] = set(context.flags)

    def _add_module(self, module):
        shown = subprocess.run(
            [sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=60, check=True
        )
        self.options[module,] = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown.stdout))

    def of_all(self):
        """The options of all commands together."""
        return set().union(*self.options.values()) | OF_OTHERS

    def faults(self, text, prose=False):
        """What does not exist of the commands that *text* names.

        With *prose* a word behind "labd", "fab" or "make" that is no command of theirs is just a word.
        """
        for program, rest in NAMED.findall(text):
            words = _command_line(rest)
            if program.startswith("python"):
                yield from self._program_faults(program.split()[-1], words)
            elif words:
                yield from self._faults(program, words, prose)

    def lacks(self, text):
        """What the command lines in *text*, as far as they have options at all, leave out and must have."""
        for program, rest in NAMED.findall(text):
            words = _command_line(rest)
            given = set(_options(words))
            for required in self.required.get((program, *words[:1]), []):
                if given and not given & required:
                    yield f"{program} {words[0]} needs {min(required)}"

    def unknown_options(self, text):
        """Options in *text* that no command has."""
        return sorted(set(re.findall(r"(?<![\w/.-])--[a-z][a-z-]*[a-z]", text)) - self.of_all())

    def _faults(self, program, words, prose):
        found = (program,)
        while words and (*found, words[0]) in self.options:
            found, words = (*found, words[0]), words[1:]
        is_group = any(known[:-1] == found for known in self.options)
        if is_group and words and re.fullmatch("[a-z][a-z-]*", words[0]):
            if not prose and not (program == "make" and words[0] in PROSE):
                yield f"{' '.join(found)} has no command {words[0]}"
            return
        # "fab {}" may be any of its tasks
        known = self.of_all() if is_group and found not in self.options else self.options.get(found, set())
        yield from (f"{' '.join(found)} has no option {one}" for one in _options(words) if one not in known)

    def _program_faults(self, program, words):
        known = self.options.get((program,))
        if known is not None:
            yield from (f"{program} has no option {one}" for one in _options(words) if one not in known)
        elif program.endswith(".py") or importlib.util.find_spec(program) is None:
            yield f"there is no {program}"


def _command_line(rest):
    """The words of a command line, up to the end of its sentence."""
    words = []
    for word in rest.split():
        words.append(word.strip("`'\"[].:"))
        if word.endswith((":", ".")):
            break
    return words


def _options(words):
    """The options among *words*, without their values."""
    return [found.group() for word in words for found in [OPTION.match(word)] if found]
