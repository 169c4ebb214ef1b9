"""The `probestore` command. A command only parses and calls.

Exit codes: 0 everything is done; 1 something failed, and the rest is stored; 2 something that was given cannot be used;
3 a file could not be checked, because it cannot be read now; 129, 130, 143 the command was stopped by SIGHUP, Ctrl-C,
SIGTERM.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from cluster import commands
from cluster.console import homes, streams
from cluster.console.terminal import say
from cluster.pool import stop_signals
from featurestore import registry
from featurestore.errors import ConfigurationError, OutputError, ProbestoreError, did_you_mean


class _Commands(click.Group):
    """The files of the folder `commands`, by their names. For a misspelt name, the error suggests a command."""

    def list_commands(self, ctx: click.Context | None) -> list[str]:
        return sorted(name.rstrip("_") for name in registry.names(commands))

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        files = {name.rstrip("_"): name for name in registry.names(commands)}  # import_ is no word of Python
        if cmd_name not in files:
            return None
        command: click.Command = registry.load(commands, "command", files[cmd_name]).command
        command.name = cmd_name
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would exit with 1
            raise streams.PipeClosedError from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise click.UsageError(f"There is no command {args[0]!r}.{did_you_mean(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="probestore")
def cli() -> None:
    """Which pretrained backbone transfers best to your data, and does a better ImageNet model transfer better?

    The features of every model on every dataset are extracted once, probes are fitted on them in parallel, and SQL
    answers the questions.

    \b
    probestore demo                      run a whole study on real networks and images, in minutes
    probestore run study.toml            run your own study
    probestore data check study.toml     show what is in your datasets, and what is used
    probestore plan study.toml           show what your study would compute
    probestore probe --probe knn         fit another probe on the stored features
    probestore query leaderboard         show the results
    probestore report --out report.html  write the report
    """


def main() -> None:
    """Run the command. Every error becomes a message and an exit code."""
    if sys.platform == "win32":
        _fail(
            "probestore needs Linux or macOS, and this machine runs Windows. Install probestore in the Windows "
            "Subsystem for Linux: run `wsl --install`, then `pip install probestore` there."
        )
    streams.make_usable()
    with stop_signals.listening():
        _guarded()


def _guarded() -> None:
    try:
        _run()
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        _stopped()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except ProbestoreError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _stopped()
    except streams.PipeClosedError:
        streams.discard()  # the flush at exit must not fail
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception:
        _fail(f"probestore has a bug: an unexpected error came up. Please report it with {_keep_traceback()}")


def _check_current_folder() -> None:
    """Check that the current folder is there still: without one, libraries end the process in ways of their own."""
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigurationError(
            "The current folder is not there any more. Change to another one (cd ~), and run the command again."
        ) from error


def _run() -> None:
    _check_current_folder()
    if note := homes.make_usable():
        say(note)
    try:
        cli(standalone_mode=False)
    except (SystemExit, click.exceptions.Exit):
        with suppress(streams.PipeClosedError):
            streams.flush()
        raise
    except BaseException:
        with suppress(OutputError, streams.PipeClosedError):  # what went wrong before says more
            streams.flush()
        raise
    with suppress(streams.PipeClosedError):
        streams.flush()


def _fail(message: str) -> None:
    say(f"Error: {message}")
    sys.exit(2)


def _keep_traceback() -> str:
    """Write the traceback of the current exception to a file, for the report of a bug; return where it is."""
    import tempfile
    import traceback

    text = traceback.format_exc().encode("utf-8", "backslashreplace")
    try:
        with tempfile.NamedTemporaryFile(prefix="probestore-", suffix=".log", delete=False) as file:
            file.write(text)
    except OSError:  # no folder for temporary files
        return f"this text:\n{text.decode()}"
    return f"the file {file.name}"


def _stopped() -> None:
    say(f"\n{stop_signals.STOPPED.format(stop_signals.by_whom())}")
    # Ray's clean-up when the interpreter ends can crash after an interrupt; `RaySession` has ended it already.
    os._exit(stop_signals.exit_code())


if __name__ == "__main__":
    main()
