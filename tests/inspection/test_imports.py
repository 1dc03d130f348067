import subprocess
import sys


def test_importing_the_displays_imports_neither_matplotlib_nor_pillow():
    program = "import sys, skhash.inspection; print([name for name in ('matplotlib', 'PIL') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_without_matplotlib_the_error_says_what_to_install():
    program = """
import sys
sys.modules["matplotlib"] = None
from skhash.inspection import PrecisionRecallDisplay
try:
    PrecisionRecallDisplay([1], [1], [2]).plot()
except ImportError as error:
    print(error)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("PrecisionRecallDisplay.plot needs 'matplotlib'")
    assert "pip install 'skhash[plot]'" in answer.stdout
