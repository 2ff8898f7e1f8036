"""`actorq completion SHELL`: what a shell needs to complete commands, tasks and queues."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Write the shell's completion script to stdout.

    \b
    bash:  eval "$(actorq completion bash)"      in ~/.bashrc
    zsh:   eval "$(actorq completion zsh)"       in ~/.zshrc
    fish:  actorq completion fish | source       in ~/.config/fish/config.fish
    """
    from actorq.cli.app import actorq

    kind = get_completion_class(shell)
    assert kind is not None
    if shell == "bash":  # or it takes `jobs:add` for two words
        click.echo("COMP_WORDBREAKS=${COMP_WORDBREAKS//:/}")
    click.echo(kind(actorq, {}, "actorq", "_ACTORQ_COMPLETE").source())
