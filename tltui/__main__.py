"""``python -m tltui`` is ``tltui``."""

from tltui.cli.main import main

if __name__ == "__main__":
    main()
