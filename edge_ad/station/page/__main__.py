"""`python -m edge_ad.station.page`: started by a station, and by nobody else."""

import sys

from edge_ad.station.page.serve import main

if __name__ == "__main__":
    sys.exit(main())
