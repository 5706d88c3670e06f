"""The page of the command line, made from the commands themselves: `python docs/commands.py > docs/commands.md`.

Usage, options and exit codes come from the help texts. The example of each command stands in docs/_examples, because
its output is elided by hand where it may differ; tests/docs runs it and compares.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from gpn.cli.program import app

EXAMPLES = Path(__file__).parent / "_examples"
_BEGIN = """\
# Commands

Every command prints its answer on standard output. Progress and messages go to standard error.

* `--json` prints the same answer for a program, and nothing else.
* `gpn help COMMAND` or `gpn COMMAND --help` prints the text below in the terminal.
* A formula goes in quotes. A formula that begins with a minus sign goes after `--`.
* Wrong use ends with exit code 2 and one sentence. An interrupt ends with 130. Exit code 70 is a defect of gpn: please
  [report it](help.md#report-a-bug).
* Exit code 0 means that the command succeeded, unless the command says otherwise below.

This page is made from the commands: `python docs/commands.py > docs/commands.md`.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command with its full name, in the order of `gpn --help`."""
    root = typer.main.get_command(app)
    context = root.context_class(root, info_name="gpn")
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        parts = getattr(command, "commands", {})
        yield from (
            ((f"gpn {name} {part}", inner) for part, inner in parts.items()) if parts else [(f"gpn {name}", command)]
        )


def page() -> str:
    """Return the whole page as Markdown."""
    found = list(commands())
    contents = [f"* [{name}](#{name.replace(' ', '-')}): {_short(command)}" for name, command in found]
    return "\n".join([_BEGIN, *contents, "", *(section(name, command) for name, command in found)])


def section(name: str, command: Any) -> str:
    """Return what the page says about one command.

    Args:
        name: the full name, as "gpn check".
        command: as typer makes it of the function.
    """
    words, codes, forms = _parts(command.help)
    options = [_option(parameter, command, name) for parameter in command.params]
    arguments = [_argument(parameter) for parameter in command.params if parameter.param_type_name == "argument"]
    parts = [
        f"## {name}",
        *words[:1],
        f"`{' '.join([name, *arguments, '[OPTIONS]'])}`",
        "\n".join(options),
        *words[1:],
        *(f"**Exit code.** {code}" for code in codes),
        f"Ways to call it:\n\n<!-- not run: the example below is -->\n```sh\n{forms}\n```",
        f"Example:\n\n{_example(name)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _short(command: Any) -> str:
    text = command.short_help or command.help.partition("\n")[0]
    return _escaped(text[:1].lower() + text[1:])


def _parts(text: str) -> tuple[list[str], list[str], str]:
    """The help text in three parts: prose, exit codes, and the forms of the command."""
    prose, _, forms = text.replace("\b\n", "").replace("\x08", "").partition("Examples:\n")
    paragraphs = [part.strip() for part in prose.split("\n\n") if part.strip()]
    codes = [part.removeprefix("Exit code:").strip() for part in paragraphs if part.startswith("Exit code:")]
    words = [_escaped(part) for part in paragraphs if not part.startswith("Exit code:")]
    lines = [re.sub(r" {3,}(\S.*)$", r"  # \1", line.strip()) for line in forms.strip().splitlines()]
    return words, codes, "\n".join(lines)


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.required or name.startswith("[") else f"[{name}]"


def _option(parameter: Any, command: Any, name: str) -> str:
    """One line: what is typed, what it means, what is taken if it is left out."""
    typed, words = parameter.get_help_record(command.context_class(command, info_name=name))
    if parameter.param_type_name == "argument":
        typed = parameter.metavar
    words = re.sub(r"\s*\[default: (.*)\]$", r" Default: \1.", words)
    return f"* `{typed}`: {_escaped(re.sub(r'  *.required.$', ' Required.', words))}"


def _escaped(text: str) -> str:
    """Stars and underscores as themselves, not as the marks of Markdown; options as code."""
    return re.sub(r"(?<![\w-])(--[a-z][a-z-]+)", r"`\1`", re.sub(r"(\*|(?<!\w)_)", r"\\\1", text))


def _example(name: str) -> str:
    mark, _, shown = (EXAMPLES / f"{name.replace(' ', '-')}.txt").read_text(encoding="utf-8").rpartition("-->\n")
    return f"{mark}{'-->' if mark else ''}\n```text\n{shown.rstrip()}\n```".lstrip()


if __name__ == "__main__":
    print(page(), end="")
