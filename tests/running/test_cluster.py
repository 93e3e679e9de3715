"""The Ray that a job starts: its worker processes stay from stage to stage."""

import os
import time

import psutil


def test_workers_without_work_stay(ray_here):
    @ray_here.remote(num_cpus=0)
    def process_id():
        time.sleep(1)
        return os.getpid()

    workers = set(ray_here.get([process_id.remote() for _ in range(3)]))
    time.sleep(3)
    assert [worker for worker in workers if psutil.pid_exists(worker)] == list(workers)
