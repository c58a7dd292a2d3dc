"""`python -m claude_proxy`, the same as `claude-proxy`."""

import sys

from claude_proxy.cli import main

sys.exit(main())
