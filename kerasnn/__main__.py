"""`python -m kerasnn`."""

import sys

from kerasnn.cli import main

sys.exit(main())
