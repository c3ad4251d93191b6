"""The problems of one kernel's tests are used by those of others."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
