"""A folder on a disk and a prefix of a bucket behave alike; a bucket is on an S3 server over HTTP."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from drp_ray.errors import BadInput
from drp_ray.storage.folder import S3Options, check_reachable, open_folder

RACERS = 8


def race(action):
    """Run `action(number)` in many threads that start together; what each returned."""
    start = threading.Barrier(RACERS)

    def run(number):
        start.wait()
        return action(number)

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(run, range(RACERS)))


class TestFolder:
    def test_a_folder_that_does_not_exist_is_empty(self, folder):
        assert folder.entries() == []

    def test_what_was_written_is_read_and_listed(self, folder):
        folder.write("b.txt", b"two")
        folder.write("a.txt", b"")
        folder.at("below").write("c.txt", b"not listed above")
        assert [(entry.name, entry.size) for entry in folder.entries()] == [("a.txt", 0), ("b.txt", 3)]
        assert folder.read("b.txt") == b"two"
        assert folder.at("below").read("c.txt") == b"not listed above"

    def test_a_listing_says_when_files_were_written(self, folder):
        began = time.time()
        folder.write("a.txt", b"")
        [entry] = folder.entries()
        assert began - 2 < entry.written_s < time.time() + 2  # A bucket counts whole seconds.

    def test_a_name_may_lead_further_down(self, folder):
        folder.write("below/c.txt", b"old")
        folder.write("below/c.txt", b"new")
        assert folder.create("below/d.txt", b"d")
        assert folder.read("below/c.txt") == b"new"
        assert [entry.name for entry in folder.at("below").entries()] == ["c.txt", "d.txt"]

    def test_a_prefix_is_not_a_folder(self, folder):
        folder.at("ab").write("file", b"")
        assert folder.at("a").entries() == []

    def test_many_files_are_all_listed_by_name(self, folder):
        names = [f"part-{number:05d}" for number in range(30)]
        for name in reversed(names):
            folder.write(name, b"x")
        assert [entry.name for entry in folder.entries()] == names

    def test_parts_of_a_file_can_be_read(self, folder):
        folder.write("file", b"0123456789")
        with folder.open("file") as file:
            file.seek(3)
            assert file.read(4) == b"3456"

    def test_writing_again_replaces(self, folder):
        folder.write("file", b"a longer content")
        folder.write("file", b"short")
        assert folder.read("file") == b"short"

    @pytest.mark.parametrize("verb", ["read", "open"])
    def test_a_missing_file_is_a_file_not_found_error(self, folder, verb):
        folder.write("other", b"")
        with pytest.raises(FileNotFoundError, match="missing"):
            getattr(folder, verb)("missing")

    def test_a_deleted_file_is_gone_and_deleting_again_is_fine(self, folder):
        folder.write("file", b"x")
        folder.delete("file")
        folder.delete("file")
        assert folder.entries() == []

    def test_create_leaves_a_file_that_is_there(self, folder):
        assert folder.create("file", b"first")
        assert not folder.create("file", b"second")
        assert folder.read("file") == b"first"

    def test_exactly_one_of_many_creates_wins(self, folder):
        won = race(lambda number: folder.create("file", b"%d" % number))
        assert won.count(True) == 1
        assert folder.read("file") == b"%d" % won.index(True)

    def test_swap_replaces_only_what_is_unchanged(self, folder):
        assert not folder.swap("file", b"", b"new")
        folder.write("file", b"old")
        assert not folder.swap("file", b"other", b"new")
        assert folder.read("file") == b"old"
        assert folder.swap("file", b"old", b"new")
        assert folder.read("file") == b"new"

    def test_exactly_one_of_many_swaps_wins(self, folder):
        folder.write("file", b"old")
        won = race(lambda number: folder.swap("file", b"old", b"%d" % number))
        assert won.count(True) == 1
        assert folder.read("file") == b"%d" % won.index(True)

    def test_swaps_that_try_again_lose_no_update(self, folder):
        folder.write("file", b"0")

        def add_one(_):
            while True:
                was = folder.read("file")
                if folder.swap("file", was, b"%d" % (int(was) + 1)):
                    return

        race(add_one)
        assert folder.read("file") == b"%d" % RACERS

    def test_readers_see_the_old_content_or_the_new(self, folder):
        contents = [bytes([65 + number]) * 200_000 for number in range(4)]
        folder.write("file", contents[0])
        written = threading.Event()

        def read():
            seen = []
            while not written.is_set():
                seen.append(folder.read("file"))
                [entry] = folder.entries()
                assert entry.size == len(contents[0])
            return seen

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read) for _ in range(3)]
            try:
                for _ in range(10):
                    for content in contents:
                        folder.write("file", content)
            finally:
                written.set()
            seen = [content for reader in readers for content in reader.result()]
        assert seen
        assert set(seen) <= set(contents)

    def test_listing_while_files_come_and_go_does_not_fail(self, folder):
        stop = threading.Event()

        def come_and_go():
            while not stop.is_set():
                folder.write("file", b"x")
                folder.delete("file")

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(come_and_go)
            try:
                seen = [tuple(entry.name for entry in folder.entries()) for _ in range(100)]
            finally:
                stop.set()
            writer.result()
        assert set(seen) <= {(), ("file",)}

    def test_a_content_tag_changes_with_the_content_and_only_with_it(self, folder):
        def tag():
            [entry] = folder.entries()
            return folder.content_tag(entry)

        folder.write("file", b"one")
        first = tag()
        folder.write("file", b"two")
        assert tag() != first
        folder.write("file", b"one")
        assert tag() == first

    def test_a_folder_travels_to_other_processes(self, folder):
        folder.write("file", b"x")
        copy = pickle.loads(pickle.dumps(folder))
        assert copy == folder
        assert copy.at("..").uri == folder.at("..").uri
        assert copy.read("file") == b"x"
        with copy.open("file") as file:
            assert file.read() == b"x"

    def test_the_address_opens_the_same_folder(self, folder):
        options = getattr(folder, "options", S3Options())
        folder.write("file", b"x")
        assert open_folder(folder.uri, options).read("file") == b"x"
        assert open_folder(f"{folder.uri}/", options) == folder

    def test_a_folder_that_is_there_can_be_reached(self, folder):
        check_reachable(folder)


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_folder("here", S3Options()).uri == str(tmp_path / "here")


@pytest.mark.parametrize("location", ["gs://bucket/x", "file:///x", "s3://", "s3:///x", "://x"])
def test_another_scheme_or_no_bucket_is_bad_input(location):
    with pytest.raises(BadInput, match=f"{location}: use a local path or s3://BUCKET/PREFIX"):
        open_folder(location, S3Options())


def test_a_path_that_cannot_be_listed_is_bad_input():
    with pytest.raises(BadInput, match="too long"):
        check_reachable(open_folder("/" + "x" * 5000, S3Options()))


def test_a_local_file_of_any_size_becomes_a_file_of_the_folder(folder, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"0123456789" * 1_000_000)
    for content in (source.read_bytes(), b"replaced"):
        source.write_bytes(content)
        folder.write_file("below/report.html", source)
        assert folder.read("below/report.html") == content
    assert [entry.name for entry in folder.at("below").entries()] == ["report.html"]
