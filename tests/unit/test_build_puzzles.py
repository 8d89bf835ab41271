import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SURPASS_SHARED_DATA", ROOT / "../shared/data"))


@pytest.mark.shared
@pytest.mark.skipif(
    not DATA.is_dir(), reason="the folder of published data is not here: set SURPASS_SHARED_DATA"
)
def test_the_shipped_puzzles_are_what_the_script_builds():
    """Takes about 45 seconds: every one of 144,401 solutions is played through."""
    script = [sys.executable, str(ROOT / "scripts" / "build_puzzles.py"), str(DATA), "--check"]
    built = subprocess.run(script, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
