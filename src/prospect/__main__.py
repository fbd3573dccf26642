"""`python -m prospect`, as torchrun starts it."""

import sys

from prospect.cli.main import start

sys.exit(start())
