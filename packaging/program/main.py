"""The program as it is packaged: the packages in the folder beside this file, and nothing else."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "site"))
sys.argv[0] = "mcpnatsd"

from mcpnatsd.cli import main  # noqa: E402 - it is in that folder

if __name__ == "__main__":
    sys.exit(main())
