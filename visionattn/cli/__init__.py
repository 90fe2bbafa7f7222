"""The command line: ``visionattn train | compare | evaluate | ...``; ``visionattn --help`` names all commands.

Help, lists and mistakes are answered without importing torch. A command's module is imported when its configuration
has been checked.

Exit codes: 0 done, 1 a job failed, 2 the command line or a configuration is wrong, 130 interrupted, 143 ended by a
signal, a training with its state saved.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence

from visionattn.cli.terminating import ending_in_order
from visionattn.errors import ConfigError, Interrupted, VisionAttnError, interruption

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, prog: str = "visionattn") -> int:
    """Run one command line and return its exit code.

    Args:
        argv: without the program's name; None: the process's own.
        prog: the program as it was typed.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None and "--dry-run" in arguments:
        from visionattn.cli.launch.postponing import postpone

        postpone()
    try:
        return _dispatch(arguments, shlex.join([*prog.split(), *arguments]))
    except Interrupted as stop:
        print(f"visionattn: {stop}", file=sys.stderr)
        return stop.code
    except VisionAttnError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
            print(*error.details, sep="\n", file=sys.stderr)
        print(f"visionattn: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except (KeyboardInterrupt, SystemExit) as stop:
        ended = interruption(stop)
        if ended is None:
            raise
        print(f"visionattn: {ended[0]}", file=sys.stderr)
        return ended[1]
    except BrokenPipeError:  # the reader of our output has gone, as in `visionattn list mixers | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - a person gets one sentence, and the traceback in a file
        from visionattn.cli.failure import report

        report(error)
        return 1


def _dispatch(arguments: list[str], typed: str) -> int:
    from visionattn.cli import arguments as grammar
    from visionattn.cli.launch import ranks

    if spec := ranks.child_spec():
        from visionattn.cli.launch.run import run_child

        return run_child(spec)
    request = grammar.parse(arguments, typed)
    if request.version:
        from visionattn import __version__

        print(f"visionattn {__version__}")
        return 0
    if request.help or request.command is None:
        from visionattn.cli.help import show_help

        return show_help(request.command)
    if request.command == "list":
        from visionattn.cli.listing import show_list

        return show_list(request.overrides, request.config_dirs)
    if request.command == "completion":
        from visionattn.cli.completion import show_completion

        return show_completion(request.overrides)
    if request.command == "keys":
        from visionattn.cli.keys import show_keys

        return show_keys(request.overrides, request.config_dirs)
    from visionattn.cli.launch.run import execute

    with ending_in_order():
        return execute(request)
