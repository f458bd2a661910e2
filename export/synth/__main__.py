"""`python -m export.synth`: see `export.synth.command`."""

import sys

from export.synth.command import main

if __name__ == "__main__":
    sys.exit(main())
