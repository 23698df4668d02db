"""The program."""

import sys

from mcpnatsd.cli import main

if __name__ == "__main__":
    sys.exit(main())
