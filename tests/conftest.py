"""Makes `reference` importable: the slow, readable twins of what is tested."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
