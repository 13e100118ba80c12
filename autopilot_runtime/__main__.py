"""`python -m autopilot_runtime` and the `autopilot` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    # Imported here so that importing this package never loads the command line.
    from autopilot_runtime.cli.entry import run

    run()


if __name__ == "__main__":
    main()
