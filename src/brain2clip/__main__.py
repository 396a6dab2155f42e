"""``python -m brain2clip`` is the command ``brain2clip``."""

from brain2clip.cli.main import main

if __name__ == "__main__":
    main()
