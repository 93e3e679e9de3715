"""One writer a folder, on a disk and in a bucket: who holds a lease, who may take it over, who has lost it."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from drp_ray.errors import BadInput
from drp_ray.storage.folder import StorageUnreachable
from drp_ray.storage.lease import LEASE, Lease, LeaseHeld, LeaseLost, lease, optional_lease, optional_leases

TTL_S = 2.0
WAIT_S = 10.0


def write_as_another_host(folder, renewed_at=0.0, **holder):
    stamp = {"owner": "other", "host": "elsewhere", "boot": "b", "pid": 7, "started": 1.0, **holder}
    folder.write(LEASE, json.dumps({**stamp, "renewed_at": renewed_at}).encode())


@contextmanager
def renewed_by_another_host(folder):
    stopped = threading.Event()

    def renew():
        stamp = 0.0
        while not stopped.wait(TTL_S / 4):
            stamp += 1
            write_as_another_host(folder, stamp)

    write_as_another_host(folder)
    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        yield
    finally:
        stopped.set()
        renewing.join()


def until_lost(check):
    """Check until the lease is lost; how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < WAIT_S:
        check()
        time.sleep(0.05)
    pytest.fail("the loss was not noticed")


class TestLease:
    def test_the_refusal_of_a_second_holder_names_the_first(self, folder):
        with lease(folder, TTL_S):
            began = time.monotonic()
            with pytest.raises(LeaseHeld, match=f"process {os.getpid()} on ") as refused, lease(folder, TTL_S):
                pass
            assert time.monotonic() - began < TTL_S
        assert folder.uri in str(refused.value)
        assert "--no-lease" in str(refused.value)

    def test_a_released_lease_is_free_at_once_and_leaves_no_file(self, folder):
        with lease(folder, TTL_S):
            pass
        assert folder.entries() == []
        began = time.monotonic()
        with lease(folder, TTL_S) as held:
            held.check()
        assert time.monotonic() - began < TTL_S / 3

    def test_a_failed_job_releases_its_lease(self, folder):
        with pytest.raises(ZeroDivisionError), lease(folder, TTL_S):
            _ = 1 / 0
        assert folder.entries() == []

    def test_it_is_still_held_after_its_time_to_live(self, folder):
        with lease(folder, TTL_S) as held:
            first = folder.read(LEASE)
            time.sleep(TTL_S + 0.5)
            held.check()
            assert folder.read(LEASE) != first

    def test_exactly_one_of_many_that_start_together_gets_it(self, folder):
        start, all_tried, racers = threading.Barrier(4), threading.Event(), 4
        refused = []

        def try_to_hold(number):
            start.wait()
            try:
                with lease(folder, TTL_S):
                    return all_tried.wait(WAIT_S)
            except LeaseHeld:
                refused.append(number)
                if len(refused) == racers - 1:
                    all_tried.set()
                return False

        with ThreadPoolExecutor(racers) as pool:
            held = list(pool.map(try_to_hold, range(racers)))
        assert held.count(True) == 1
        assert len(refused) == racers - 1

    def test_a_killed_holder_of_this_machine_is_taken_over_at_once(self, folder):
        code = (
            "import pickle, sys, time\n"
            "from drp_ray.storage.lease import lease\n"
            "with lease(pickle.load(sys.stdin.buffer), 60):\n"
            "    print('held', flush=True)\n"
            "    time.sleep(600)\n"
        )
        holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            holder.stdin.write(pickle.dumps(folder))
            holder.stdin.close()
            assert holder.stdout.readline() == b"held\n"
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            holder.stdout.close()
        began = time.monotonic()
        with lease(folder, 60) as held:
            held.check()
        assert time.monotonic() - began < 5

    def test_a_process_that_only_inherited_the_number_is_no_holder(self, folder):
        with lease(folder, 60):
            mine = json.loads(folder.read(LEASE))
        folder.write(LEASE, json.dumps({**mine, "started": mine["started"] - 1000}).encode())
        began = time.monotonic()
        with lease(folder, 60):
            pass
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("place", ["boot", "pid_namespace"])
    def test_a_number_of_another_boot_or_container_of_the_same_host_name_says_nothing(self, folder, place):
        with lease(folder, TTL_S):
            mine = json.loads(folder.read(LEASE))
        folder.write(LEASE, json.dumps({**mine, place: "another", "pid": 2**22 + 1}).encode())
        began = time.monotonic()
        with lease(folder, TTL_S):
            assert time.monotonic() - began >= TTL_S, "the holder was judged dead by a number that means nothing here"

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"pid": "x", "started": null}'])
    def test_a_lease_that_cannot_be_read_is_watched_and_then_taken_over(self, folder, content):
        folder.write(LEASE, content)
        began = time.monotonic()
        with lease(folder, 0.5) as held:
            assert time.monotonic() - began >= 0.5
            held.check()

    def test_another_hosts_renewed_lease_is_respected(self, folder):
        with (
            renewed_by_another_host(folder),
            pytest.raises(LeaseHeld, match="process 7 on elsewhere"),
            lease(folder, TTL_S),
        ):
            pass

    def test_another_hosts_abandoned_lease_is_taken_over_after_its_time(self, folder):
        write_as_another_host(folder)
        began = time.monotonic()
        with lease(folder, TTL_S) as held:
            waited = time.monotonic() - began
            held.check()
        assert TTL_S <= waited < 2 * TTL_S

    def test_a_holder_that_renews_rarely_keeps_its_lease_from_one_that_would_wait_for_less(self, folder):
        with lease(folder, 3 * TTL_S) as held:
            with pytest.raises(LeaseHeld), lease(folder, TTL_S / 4):
                pass
            held.check()

    def test_an_abandoned_lease_is_watched_for_its_holders_time_where_that_is_longer(self, folder):
        write_as_another_host(folder, ttl_s=TTL_S)
        began = time.monotonic()
        with lease(folder, TTL_S / 4):
            assert TTL_S <= time.monotonic() - began < 2 * TTL_S

    @pytest.mark.parametrize("ttl_s", [None, "60", True, [60], -1, float("nan"), float("inf")])
    def test_a_time_to_live_that_is_none_is_not_waited_for(self, folder, ttl_s):
        write_as_another_host(folder, ttl_s=ttl_s)
        began = time.monotonic()
        with lease(folder, 0.3):
            assert time.monotonic() - began < TTL_S

    def test_a_lease_that_is_released_while_it_is_watched_is_taken(self, folder):
        write_as_another_host(folder)
        threading.Timer(0.6, lambda: folder.delete(LEASE)).start()
        began = time.monotonic()
        with lease(folder, 60):
            assert time.monotonic() - began < 10

    def test_a_lost_lease_is_noticed_and_left_to_its_new_holder(self, folder):
        with suppress(LeaseLost), lease(folder, TTL_S) as held:
            write_as_another_host(folder)
            with pytest.raises(LeaseLost, match="another job took"):
                until_lost(held.check)
        assert json.loads(folder.read(LEASE))["owner"] == "other"

    def test_a_deleted_lease_is_noticed(self, folder):
        with lease(folder, TTL_S) as held:
            folder.delete(LEASE)
            with pytest.raises(LeaseLost):
                until_lost(held.check)

    def test_no_lease_is_taken_where_none_is_wanted(self, folder):
        with renewed_by_another_host(folder), optional_lease(folder, None) as check:
            check()
            assert json.loads(folder.read(LEASE))["owner"] == "other"


class Skewed(Exception):
    """As boto3's ClientError, which is neither ours nor an OSError."""


class Between:
    """A folder whose conditional writes pass through a hook."""

    def __init__(self, folder, hook):
        self._folder, self._hook = folder, hook

    def create(self, name, data):
        return self._hook(lambda: self._folder.create(name, data))

    def swap(self, name, was, data):
        return self._hook(lambda: self._folder.swap(name, was, data))

    def __getattr__(self, name):
        return getattr(self._folder, name)


def answer_lost(write):
    """The write is done, its answer is lost, the client sends it again and is refused."""
    write()
    return False


def broken_after(write):
    """The write is done, and the connection breaks before the answer."""
    write()
    raise OSError("connection reset")


@pytest.mark.parametrize("folder", ["local"], indirect=True)
class TestTrouble:
    def test_a_write_whose_answer_was_lost_counts(self, folder):
        began = time.monotonic()
        with lease(Between(folder, answer_lost), TTL_S) as held:
            assert time.monotonic() - began < TTL_S / 3
            time.sleep(TTL_S)
            held.check()
        assert folder.entries() == []

    def test_one_broken_renewal_does_not_lose_the_lease(self, folder):
        breaks = iter([lambda write: write(), broken_after])
        with lease(Between(folder, lambda write: next(breaks, lambda go: go())(write)), TTL_S) as held:
            time.sleep(TTL_S + 0.5)
            held.check()
        assert folder.entries() == []

    @pytest.mark.parametrize("error", [OSError("no route"), BadInput("the token expired"), Skewed("the clock")])
    def test_a_storage_that_stays_away_loses_it_after_its_time(self, folder, error):
        held_already = iter([True])

        def stay_away(write):
            if next(held_already, False):
                return write()
            raise error

        began = time.monotonic()
        with lease(Between(folder, stay_away), TTL_S) as held:
            with pytest.raises(LeaseLost, match=str(error)):
                until_lost(held.check)
            assert time.monotonic() - began > TTL_S

    def test_a_storage_that_was_away_for_longer_than_the_time_to_live_loses_nothing_that_nobody_took(self, folder):
        is_away = threading.Event()

        def away(write):
            if is_away.is_set():
                raise OSError("no route")
            return write()

        with lease(Between(folder, away), 0.6) as held:
            is_away.set()
            time.sleep(1.0)
            is_away.clear()
            held.check()
            with held._one_renewal:  # not while a renewal is between its look at the file and its write
                write_as_another_host(folder)
            is_away.set()
            time.sleep(1.0)
            is_away.clear()
            with pytest.raises(LeaseLost, match="another job took"):
                held.check()

    def test_what_ended_the_work_is_told_and_not_that_the_lease_could_not_be_given_back(self, folder):
        with pytest.raises(ZeroDivisionError), lease(folder, TTL_S) as held:
            held._folder = Between(folder, lambda write: write())
            held._folder.read = raising(OSError("no route"))
            _ = 1 / 0


def raising(error):
    def call(*_):
        raise error

    return call


class TestLeases:
    def test_abandoned_leases_are_watched_side_by_side_and_one_that_is_renewed_is_told_in_its_place(self, folder):
        folders = [folder.at(name) for name in "abcdef"]
        for each in folders:
            write_as_another_host(each)
        began = time.monotonic()
        with renewed_by_another_host(folders[2]), optional_leases(folders, TTL_S) as taken:
            assert time.monotonic() - began < 2 * TTL_S
            assert [isinstance(each, LeaseHeld) for each in taken] == [name == "c" for name in "abcdef"]
            for check in taken[:2] + taken[3:]:
                check()
        assert [bool(each.entries()) for each in folders] == [name == "c" for name in "abcdef"]

    def test_without_leases_nothing_is_written(self, folder):
        with optional_leases([folder.at("a"), folder.at("b")], None) as checks:
            assert [check() for check in checks] == [None, None]
        assert not folder.at("a").entries()

    def test_what_was_taken_is_let_go_where_another_cannot_be_written(self, folder, monkeypatch):
        broken = folder.at("b")
        acquire = Lease.acquire

        def acquired(held):
            if held._folder.uri == broken.uri:
                raise StorageUnreachable("away")
            acquire(held)

        monkeypatch.setattr(Lease, "acquire", acquired)
        with pytest.raises(StorageUnreachable), optional_leases([folder.at("a"), broken, folder.at("c")], TTL_S):
            pytest.fail("not all were taken")
        assert not folder.at("a").entries() and not folder.at("c").entries()

    def test_who_stops_while_abandoned_leases_are_watched_waits_for_none_of_them(self, folder, monkeypatch):
        abandoned = folder.at("a")
        write_as_another_host(abandoned, ttl_s=30.0)
        acquire = Lease.acquire

        def acquired(held):
            if held._folder.uri != abandoned.uri:
                raise KeyboardInterrupt
            acquire(held)

        monkeypatch.setattr(Lease, "acquire", acquired)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), optional_leases([folder.at("b"), abandoned], TTL_S):
            pytest.fail("not all were taken")
        assert time.monotonic() - began < 5
