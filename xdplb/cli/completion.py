"""`xdplb completion`: the script by which a shell completes commands, options and the names that there are now."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

# Click's own script with two differences. Bash takes `fd00:13::2` for five words (COMP_WORDBREAKS), so they are put
# together before we are asked, and what was typed up to the last colon is taken off the answers. And where there is
# nothing to say, errors of ours do not spoil the line that is being typed.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' word type value words=() cword=0 index typed
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if ((index > 1)) && [[ $word == :* || ${COMP_WORDS[index - 1]} == *: ]]; then
            words[cword]+=$word
        else
            cword=${#words[@]}
            words+=("$word")
        fi
    done
    typed=${words[cword]}
    COMPREPLY=()
    for word in $(env COMP_WORDS="${words[*]}" COMP_CWORD="$cword" %(complete_var)s=bash_complete "$1" 2>/dev/null); do
        IFS=',' read -r type value <<< "$word"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                [[ $typed == *:* ]] && value=${value#"${typed%%"${typed##*:}"}"}
                COMPREPLY+=("$value") ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    source_template = _BASH

    def source(self) -> str:
        return self.source_template % self.source_vars()  # click runs bash here to see its version


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    """Print what makes SHELL complete xdplb's commands, options and names.

    For this shell: `source <(xdplb completion bash)`; in fish: `xdplb completion fish | source`. For good, put it where
    the shell looks: /usr/share/bash-completion/completions/xdplb, /usr/share/zsh/vendor-completions/_xdplb or
    /usr/share/fish/vendor_completions.d/xdplb.fish.

    \b
    Example:
      xdplb completion bash
      xdplb completion zsh
      xdplb completion fish
    """
    from xdplb.cli.main import cli

    click.echo(_SHELLS[shell](cli, {}, "xdplb", "_XDPLB_COMPLETE").source(), nl=False)
