"""What ``python -m skhash`` does."""

import argparse
import os
import sys


def main(arguments=None):
    """Run a command.

    Parameters
    ----------
    arguments : list of str, default=None
        Those of the command line by default.

    Returns
    -------
    status : int
        0, or 1 if the file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m skhash", description="Learning to hash with the scikit-learn API.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("inspect", help="say what a file and the log beside it hold, without loading them")
    command.add_argument("file", help="a file of skhash.save; it need not be trusted")
    command.add_argument("--verify", action="store_true", help="read all tensors and compare their checksums")
    command.add_argument("--card", action="store_true", help="print the model card alone")
    given = parser.parse_args(arguments)
    from .persistence import inspect, model_card

    try:
        text = model_card(given.file) if given.card else inspect(given.file, verify=given.verify)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    try:
        print("no model card" if text is None else text, flush=True)
    except BrokenPipeError:
        # As of `| head`; the interpreter would complain again when it closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
