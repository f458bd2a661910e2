"""`python -m export.sample`: see `export.sample.render`."""

import sys

from export.sample.render import main

if __name__ == "__main__":
    sys.exit(main())
