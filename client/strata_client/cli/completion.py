"""`strata completion`: names that the shell fills in."""

import os
import shlex

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from strata_client.cli import options
from strata_client.cli.help import Command


class _Bash(BashComplete):
    """Completion for bash as it splits words: `digits:1` and `conv1=mean` are three each.

    The line is taken apart here, and a reply holds what stands behind the last letter that splits.
    """

    name = "bash"
    source_template = """\
%(complete_func)s() {
    local reply kind value
    COMPREPLY=()
    reply=$(STRATA_LINE="${COMP_LINE:0:COMP_POINT}" STRATA_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null) || return
    while IFS=, read -r kind value; do
        case $kind in
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done <<< "$reply"
    if [[ ${#COMPREPLY[@]} -gt 0 && ${COMPREPLY[0]} == *[=:] ]]; then
        compopt -o nospace
    fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def source(self) -> str:
        """Return the script, whether or not a bash is here to try it."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor's, and that one so far."""
        *words, last = _split(os.environ["STRATA_LINE"])
        return words[1:], last

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return a line of the reply."""
        *_, last = _split(os.environ["STRATA_LINE"])
        cut = 1 + max((last.rfind(letter) for letter in os.environ["STRATA_BREAKS"]), default=-1)
        before = last[:cut]
        if last.startswith("--") and not item.value.startswith(before):
            before = before.partition("=")[2]  # of --layers=conv1 only the name is completed
        return f"{item.type},{item.value.removeprefix(before)}"


def _split(line: str) -> list[str]:
    """Return the words of a line as a shell takes them, the last one empty behind a space."""
    words = shlex.shlex(line, posix=True, punctuation_chars=False)
    words.whitespace_split, words.commenters = True, ""
    found: list[str] = []
    try:
        found.extend(words)
    except ValueError:  # a quote that is open yet
        found.append(words.token)
    return found if found and not line[-1:].isspace() else [*found, ""]


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}

add_completion_class(_Bash)  # in place of click's own


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(tuple(_SHELLS)))
@options.json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, *, as_json: bool) -> None:
    """Print a script with which a shell completes what is typed.

    \b
    bash, in ~/.bashrc:                   eval "$(strata completion bash)"
    zsh, in ~/.zshrc behind compinit:     eval "$(strata completion zsh)"
    fish, in ~/.config/fish/config.fish:  strata completion fish | source

    It knows commands, options and files, and the models and layers of the server that the line names, or
    $STRATA_SERVER; one that does not answer within half a second adds none.
    """  # noqa: D301 - click's mark of lines that stay as they are
    script = _SHELLS[shell](ctx.find_root().command, {}, "strata", "_STRATA_COMPLETE").source()
    if as_json:
        from strata_client import documents

        documents.show({"shell": shell, "script": script})
        return
    click.echo(script, nl=False)
