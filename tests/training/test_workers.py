"""Workers of the training end with their trainer, however that ends."""

import signal
import subprocess
import sys

import psutil

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
    trainer = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(trainer.stdout.readline()))
    assert trainer.stdout.readline() == "working\n"
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    assert psutil.wait_procs([worker], timeout=30)[1] == []
