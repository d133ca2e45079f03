"""`python -m rankrl` is the `rankrl` command."""

import sys

from rankrl.cli import main

sys.exit(main())
