"""``python -m tltui`` is ``tltui``."""

import os
import sys

if __name__ == "__main__":
    # Python put the current folder first. Before anything else is imported it goes, unless tltui itself lies there.
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if not sys.flags.safe_path and os.path.realpath(sys.path[0]) != root:
        del sys.path[0]

    from tltui.cli.main import main

    main()
