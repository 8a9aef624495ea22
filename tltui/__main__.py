"""``python -m tltui`` is ``tltui``."""

from tltui.cli import main

if __name__ == "__main__":
    main()
