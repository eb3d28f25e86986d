"""The module behind `python -m searchflow.cli`, for processes that must not depend on the console script's place."""

from searchflow.cli import main

main()
