"""`python -m prospect`, as torchrun starts it."""

import sys

from prospect.cli.main import main

sys.exit(main())
