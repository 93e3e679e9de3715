"""A driver that ends without a word is spoken for, and one that ends by itself is not."""

import subprocess
import sys

import pytest

from drp_ray.running.last_words import LINE

DRIVER = """
import os, signal, sys
from drp_ray.running.last_words import be_spoken_for
dismiss = be_spoken_for()
{end}
"""


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("os._exit(1)", LINE),
        ("os.kill(os.getpid(), signal.SIGKILL)", LINE),
        ("pass", ""),
        ("dismiss(); os._exit(1)", ""),
        ("dismiss()", ""),
        ("sys.exit('drp-ray: the bucket is away')", "drp-ray: the bucket is away\n"),
    ],
)
def test_only_a_driver_that_ended_without_a_word_is_spoken_for(end, says):
    done = subprocess.run([sys.executable, "-c", DRIVER.format(end=end)], capture_output=True, text=True, timeout=60)
    assert done.stderr == says
