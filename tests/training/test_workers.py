"""Workers of the training end with their trainer, however that ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

import training

TRAINER = """
import multiprocessing, time
from training.workers import end_with_parent

def work():
    end_with_parent()
    print("working", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=work)
    worker.start()
    print(worker.pid, flush=True)
    worker.join()
"""


def test_a_killed_trainer_leaves_no_worker_behind(tmp_path):
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    environment = {**os.environ, "PYTHONPATH": str(Path(training.__file__).parents[1])}
    command = [sys.executable, str(script)]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    worker = psutil.Process(int(trainer.stdout.readline()))
    assert trainer.stdout.readline() == "working\n"
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    assert psutil.wait_procs([worker], timeout=30)[1] == []
