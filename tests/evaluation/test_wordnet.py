"""WordNet is found or obtained in a fixed order and checked; its absence is explained, and quickly."""

import shutil
import subprocess
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from drp_ray.evaluation import wordnet
from drp_ray.evaluation.wordnet import WordNetMissing, load_wordnet, obtain_wordnet, problem_with


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine that has no WordNet: an empty NLTK data path and no Debian package."""
    nltk_data = tmp_path / "nltk_data"
    nltk_data.mkdir()
    monkeypatch.setattr("nltk.data.path", [str(nltk_data)])
    monkeypatch.setattr(wordnet, "DEBIAN_FOLDER", tmp_path / "not-installed")
    return nltk_data


@pytest.fixture
def commands(monkeypatch):
    """Refuses the network at once, like a machine without a route; returns the commands that asked for it."""
    asked = []

    def refuse(command, *, stdout, **_):
        asked.append(command[0] if "apt" in command[0] else "nltk")
        stdout.write(b"E: Network is unreachable\n")
        return subprocess.CompletedProcess(command, 100)

    monkeypatch.setattr(wordnet.subprocess, "run", refuse)
    return asked


@pytest.fixture
def debian(wordnet_folder, monkeypatch, tmp_path):
    """The files as Debian installs them: without `lexnames`."""
    folder = tmp_path / "debian"
    shutil.copytree(wordnet_folder, folder)
    (folder / "lexnames").unlink()
    monkeypatch.setattr(wordnet, "DEBIAN_FOLDER", folder)
    return folder


def test_what_was_obtained_is_wordnet_3_0(wordnet_folder):
    assert problem_with(wordnet_folder) is None
    assert wordnet.wordnet_version(wordnet_folder) == wordnet.WORDNET_VERSION == "3.0"
    assert not [path for path in wordnet_folder.parent.iterdir() if path != wordnet_folder], "scratch is left behind"


def test_reader_finds_synonyms_and_names_of_lexicographer_files(wordnet_folder):
    reader = load_wordnet(wordnet_folder)
    assert "automobile" in reader.synsets("car")[0].lemma_names()
    assert reader.synset("happy.a.01").lexname() == "adj.all"
    assert reader.synset("dog.n.01").lexname() == "noun.animal"
    assert reader.synset("run.v.01").lexname() == "verb.motion"
    assert reader.get_version() == "3.0"


def test_lexnames_has_the_45_files_by_number():
    lines = wordnet.lexnames().splitlines()
    assert len(lines) == 45
    assert [int(line.split("\t")[0]) for line in lines] == list(range(45))
    assert {lines[0], lines[2], lines[3], lines[28], lines[29], lines[43], lines[44]} == {
        "00\tadj.all\t3",
        "02\tadv.all\t4",
        "03\tnoun.Tops\t1",
        "28\tnoun.time\t1",
        "29\tverb.body\t2",
        "43\tverb.weather\t2",
        "44\tadj.ppl\t3",
    }


def test_nltk_corpus_is_used_where_it_lies(wordnet_folder, nowhere, commands, tmp_path):
    shutil.copytree(wordnet_folder, nowhere / "corpora" / "wordnet")
    assert obtain_wordnet(tmp_path / "cache") == nowhere / "corpora" / "wordnet"
    assert not (tmp_path / "cache").exists()
    assert commands == []


def test_nltk_archive_is_unpacked_into_the_cache(wordnet_folder, nowhere, commands, tmp_path):
    (nowhere / "corpora").mkdir()
    with zipfile.ZipFile(nowhere / "corpora" / "wordnet.zip", "w") as archive:
        for path in wordnet_folder.iterdir():
            archive.write(path, f"wordnet/{path.name}")
    folder = obtain_wordnet(tmp_path / "deep" / "cache")
    assert folder == tmp_path / "deep" / "cache"
    assert "automobile" in load_wordnet(folder).synsets("car")[0].lemma_names()
    assert commands == []


def test_installed_debian_package_is_copied_and_completed(nowhere, debian, commands, tmp_path):
    folder = obtain_wordnet(tmp_path / "cache")
    assert folder == tmp_path / "cache"
    assert (folder / "lexnames").read_text() == wordnet.lexnames()
    assert not (debian / "lexnames").exists()
    assert commands == []


def test_filled_cache_needs_nothing_else(wordnet_folder, nowhere, commands):
    assert obtain_wordnet(wordnet_folder) == wordnet_folder
    assert commands == []


def test_nltk_download_is_taken_before_debians(wordnet_folder, nowhere, monkeypatch, tmp_path):
    asked = []

    def download(command, *, cwd, **_):
        asked.append(command)
        (Path(cwd) / "corpora").mkdir()
        with zipfile.ZipFile(Path(cwd) / "corpora" / "wordnet.zip", "w") as archive:
            for path in wordnet_folder.iterdir():
                archive.write(path, f"wordnet/{path.name}")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(wordnet.subprocess, "run", download)
    assert problem_with(obtain_wordnet(tmp_path / "cache")) is None
    assert len(asked) == 1
    assert "nltk.download('wordnet'" in asked[0][2]


def test_apt_gets_it_without_root_when_nltk_cannot(nowhere, monkeypatch, tmp_path):
    run = subprocess.run

    def only_debian(command, **settings):
        return subprocess.CompletedProcess(command, 1) if "-c" in command else run(command, **settings)

    monkeypatch.setattr(wordnet.subprocess, "run", only_debian)
    assert problem_with(obtain_wordnet(tmp_path / "cache", timeout_s=120)) is None


def test_offline_says_what_was_tried_and_what_to_do(nowhere, commands, tmp_path):
    with pytest.raises(WordNetMissing) as missing:
        obtain_wordnet(tmp_path / "cache")
    text = str(missing.value)
    assert commands == ["nltk", "apt-get"]
    assert text.count("E: Network is unreachable") == 2
    for source in wordnet.SOURCES:
        assert f"- {source}: " in text
    for remedy in (
        "python -m nltk.downloader wordnet",
        "apt-get install wordnet-base",
        str(tmp_path / "cache"),
    ):
        assert remedy in text
    assert not any(path.name.startswith(".cache") for path in tmp_path.iterdir()), "scratch is left behind"


def test_network_that_never_answers_is_given_up(nowhere, monkeypatch, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python", "apt-get"):
        (tools / name).write_text("#!/bin/sh\n/bin/sleep 60\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(wordnet.sys, "executable", str(tools / "python"))
    start = time.monotonic()
    with pytest.raises(WordNetMissing) as missing:
        obtain_wordnet(tmp_path / "cache", timeout_s=0.5)
    assert time.monotonic() - start < 10
    assert str(missing.value).count("not done within 0.5 s") == 2


def test_machine_without_apt_is_told_so(nowhere, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(wordnet.sys, "executable", "/bin/false")
    with pytest.raises(WordNetMissing, match="apt-get is not installed"):
        obtain_wordnet(tmp_path / "cache")


def test_cache_that_cannot_be_written_is_a_reason(nowhere, debian, commands, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(WordNetMissing, match=r"Debian's wordnet-base, installed: .*file"):
        obtain_wordnet(tmp_path / "file" / "cache")


def replace_bytes(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


DAMAGES = {
    "lacks data.verb": lambda folder: (folder / "data.verb").unlink(),
    "is WordNet 3.1": lambda folder: replace_bytes(folder / "data.noun", b"WordNet 3.0 C", b"WordNet 3.1 C"),
    "data.adv has 3,620 synsets instead of 3,621": lambda folder: (folder / "data.adv").write_bytes(
        b"".join((folder / "data.adv").read_bytes().splitlines(keepends=True)[:-1])
    ),
    "do not fit together": lambda folder: replace_bytes(folder / "data.noun", b"\n", b"\r\n"),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_damaged_or_other_wordnet_is_refused(reason, wordnet_folder, nowhere, commands, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(wordnet_folder, cache)
    DAMAGES[reason](cache)
    assert reason in problem_with(cache)
    with pytest.raises(WordNetMissing, match=reason) as missing:
        obtain_wordnet(cache)
    assert f"{cache} is in the way: delete it" in str(missing.value)


def test_damaged_source_never_reaches_the_cache(nowhere, debian, commands, tmp_path):
    replace_bytes(debian / "data.noun", b"\n", b"\r\n")
    with pytest.raises(WordNetMissing, match=r"what was got index\.noun and data\.noun do not fit together"):
        obtain_wordnet(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_damaged_archive_is_a_reason(nowhere, commands, tmp_path):
    (nowhere / "corpora").mkdir()
    (nowhere / "corpora" / "wordnet.zip").write_bytes(b"not a zip")
    with pytest.raises(WordNetMissing, match=r"wordnet\.zip: File is not a zip file"):
        obtain_wordnet(tmp_path / "cache")


def test_empty_cache_folder_is_filled(nowhere, debian, commands, tmp_path):
    (tmp_path / "cache").mkdir()
    assert problem_with(obtain_wordnet(tmp_path / "cache")) is None


def test_workers_may_obtain_at_once(nowhere, debian, commands, monkeypatch, tmp_path):
    """All of them get past the look at the cache before the first one fills it."""
    cache, workers, copies = tmp_path / "caches" / "cache", 6, []
    gather = wordnet._gather

    def slow_gather(source, whole):
        copies.append(whole)
        while len(copies) < workers:
            time.sleep(0.01)
        gather(source, whole)

    monkeypatch.setattr(wordnet, "_gather", slow_gather)
    with ThreadPoolExecutor(workers) as pool:
        folders = list(pool.map(obtain_wordnet, [cache] * workers))
    assert folders == [cache] * workers
    assert len(set(copies)) == workers
    assert problem_with(cache) is None
    assert list(cache.parent.iterdir()) == [cache]
