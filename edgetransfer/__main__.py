"""Lets `python -m edgetransfer` be the command line."""

from __future__ import annotations

from edgetransfer.cli.main import main

if __name__ == "__main__":
    main()
