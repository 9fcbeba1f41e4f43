#!/usr/bin/env bash
# Prints docs/commands.md: the help of every command.
set -euo pipefail
cat <<'END'
# Commands

This page is the output of `docs/commands.sh` (`make docs`): the help of every command. [using.md](using.md) shows the
commands in use, and [settings.md](settings.md) has the settings.
END
for command in "" $(python -c 'from lmladder.cli.main import COMMANDS; print(*COMMANDS)'); do
    printf '\n## lmladder %s\n\n```text\n' "$command" | sed 's/ $//'
    lmladder $command -h
    echo '```'
done
