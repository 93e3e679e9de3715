"""Finds or obtains WordNet 3.0, the dictionary that METEOR looks synonyms up in, without a root account.

Places are tried from the nearest to the farthest; the first one that passes `problem_with` is used:

| place | how |
|---|---|
| NLTK's data path, `corpora/wordnet` | used where it lies |
| the cache folder | used where it lies |
| NLTK's data path, `corpora/wordnet.zip` | unpacked into the cache |
| Debian's `wordnet-base`, installed | copied into the cache |
| `nltk.download` | a process of its own with a time limit, then into the cache |
| `apt-get download wordnet-base` | unpacked with `dpkg-deb -x`, then into the cache |

The cache is filled by one rename of a whole folder, so that several workers of a node may ask at once.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDNET_VERSION = "3.0"
NETWORK_TIMEOUT_S = 30.0
DEBIAN_FOLDER = Path("/usr/share/wordnet")

SYNSETS = {"noun": 82_115, "verb": 13_767, "adj": 18_156, "adv": 3_621}
"""Synsets of WordNet 3.0 by part of speech."""

LEXICOGRAPHER_FILES = (
    ("adj", "all pert"),
    ("adv", "all"),
    (
        "noun",
        "Tops act animal artifact attribute body cognition communication event feeling food group "
        "location motive object person phenomenon plant possession process quantity relation shape state "
        "substance time",
    ),
    (
        "verb",
        "body change cognition communication competition consumption contact creation emotion motion "
        "perception possession social stative weather",
    ),
    ("adj", "ppl"),
)
"""WordNet's 45 lexicographer files in the order of their numbers (table in `man 5 lexnames`)."""

_PART_OF_SPEECH_CODES = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}

_NAME_PATTERNS = ("index.{}", "data.{}", "{}.exc")
FILES = (*(pattern.format(part) for part in SYNSETS for pattern in _NAME_PATTERNS), "lexnames")
"""What NLTK's reader opens to look synonyms up."""

_NLTK_DOWNLOAD = "import sys, nltk; sys.exit(not nltk.download('wordnet', download_dir=sys.argv[1], quiet=True))"

_NO_FOLDER = "no such folder"


class WordNetMissing(Exception):
    """WordNet 3.0 could not be had; the message says what was tried and what to do."""


class _Unobtainable(Exception):
    """One source has no WordNet for us; the message is the reason."""


def obtain_wordnet(cache: Path, timeout_s: float = NETWORK_TIMEOUT_S) -> Path:
    """Return a folder that holds the files of WordNet 3.0, filling the folder `cache` where there is none.

    Checking a folder that is there takes 25 ms. `timeout_s` bounds each of the two network sources.

    Raises:
        WordNetMissing: no source had it, or `cache` holds something else.
    """
    tried = []
    for folder in (*_nltk_folders(), cache):
        reason = problem_with(folder)
        if reason is None:
            return folder
        if reason != _NO_FOLDER:
            tried.append(f"{folder}: {reason}")
    for name, fetch in SOURCES.items():
        try:
            return _install(fetch, cache, timeout_s)
        except (_Unobtainable, OSError) as reason:
            tried.append(f"{name}: {reason}")
    raise WordNetMissing(_advice(cache, tried))


def problem_with(folder: Path) -> str | None:
    """Say why `folder` is not a whole WordNet 3.0, or None when it is.

    Looks at the files, their version and number of synsets, and whether the index leads from "car" to
    "automobile".
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return _NO_FOLDER
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        return f"lacks {', '.join(missing)}"
    version = wordnet_version(folder)
    if version != WORDNET_VERSION:
        return f"is WordNet {version}, not {WORDNET_VERSION}"
    for part, expected in SYNSETS.items():
        found = _count_synsets(folder / f"data.{part}")
        if found != expected:
            return f"data.{part} has {found:,} synsets instead of {expected:,}"
    if not _finds_synonym(folder):
        return "index.noun and data.noun do not fit together"
    return None


def wordnet_version(folder: Path) -> str | None:
    """Return the version that `data.noun` states in its licence text, such as "3.0"."""
    with (folder / "data.noun").open("rb") as file:
        stated = re.search(rb"WordNet (\d+\.\d+) Copyright", file.read(4096))
    return stated.group(1).decode() if stated else None


def load_wordnet(folder: Path) -> Any:
    """Open NLTK's WordNet reader on `folder` (1 s). Not to be shared by threads: it seeks in open files."""
    # Imported here because NLTK takes 1 to 2 s, which a driver that scores nothing need not pay.
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class EnglishReader(WordNetCorpusReader):  # type: ignore[misc]  # NLTK has no types.
        def map_wn(self, version: str = "wordnet") -> None:
            """Skip the map to other languages: NLTK 3.10 would look for OMW's data and fail without it."""

    if str(folder) not in nltk.data.path:
        nltk.data.path.append(str(folder))  # NLTK 3.10 refuses to read files outside its data path.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The multilingual functions are not available")
        return EnglishReader(str(folder), omw_reader=None)


def lexnames() -> str:
    """Return the file `lexnames`: number, name and part-of-speech code of every lexicographer file."""
    names = [(part, name) for part, group in LEXICOGRAPHER_FILES for name in group.split()]
    return "".join(
        f"{number:02d}\t{part}.{name}\t{_PART_OF_SPEECH_CODES[part]}\n" for number, (part, name) in enumerate(names)
    )


def _count_synsets(data: Path) -> int:
    with data.open("rb") as file:
        return sum(not line.startswith(b" ") for line in file)  # The licence's lines begin with a space.


def _finds_synonym(folder: Path) -> bool:
    with (folder / "index.noun").open("rb") as index:
        entry = next((line.split() for line in index if line.startswith(b"car n ")), None)
    if entry is None:
        return False
    offset = entry[6 + int(entry[3])]  # lemma, n, synsets, pointers, each pointer, senses, tagged senses, offsets
    with (folder / "data.noun").open("rb") as data:
        data.seek(int(offset))
        synset = data.readline()
    return synset.startswith(offset + b" ") and b" automobile " in synset


def _install(fetch: "Source", cache: Path, timeout_s: float) -> Path:
    """Build the folder beside the cache, check it, and move it there in one step."""
    if cache.exists() and problem_with(cache) not in (None, _NO_FOLDER):
        raise _Unobtainable(f"{cache} is in the way: delete it")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=f".{cache.name}-") as scratch:
        whole = Path(scratch) / "whole"
        _gather(fetch(Path(scratch), timeout_s), whole)
        reason = problem_with(whole)
        if reason is not None:
            raise _Unobtainable(f"what was got {reason}")
        try:
            whole.rename(cache)
        except OSError:
            if problem_with(cache) is not None:  # Otherwise another worker was faster.
                raise
    return cache


def _gather(source: Path, whole: Path) -> None:
    """Copy what the reader needs; write the table `lexnames` where it is missing, as in Debian's package."""
    whole.mkdir()
    for name in FILES:
        if name != "lexnames" or (source / name).exists():
            shutil.copyfile(source / name, whole / name)
        else:
            (whole / name).write_text(lexnames(), encoding="ascii")


def _nltk_data_path() -> list[Path]:
    import nltk.data  # Imported here for the reason that `load_wordnet` gives.

    return [Path(str(root)) for root in nltk.data.path]


def _nltk_folders() -> list[Path]:
    return [root / "corpora" / "wordnet" for root in _nltk_data_path()]


def _nltk_archive(scratch: Path, timeout_s: float) -> Path:
    for root in _nltk_data_path():
        archive = root / "corpora" / "wordnet.zip"
        if archive.is_file():
            return _unpack(archive, scratch)
    raise _Unobtainable("no corpora/wordnet.zip on NLTK's data path")


def _debian_installed(scratch: Path, timeout_s: float) -> Path:
    if not DEBIAN_FOLDER.is_dir():
        raise _Unobtainable(f"no {DEBIAN_FOLDER}")
    return DEBIAN_FOLDER


def _nltk_download(scratch: Path, timeout_s: float) -> Path:
    # A process of its own: NLTK 3.10 waits up to 120 s for a socket and can only be stopped from outside.
    _run([sys.executable, "-c", _NLTK_DOWNLOAD, str(scratch)], scratch, timeout_s)
    return _unpack(scratch / "corpora" / "wordnet.zip", scratch)


def _debian_download(scratch: Path, timeout_s: float) -> Path:
    _run(["apt-get", "-o", "Acquire::Retries=0", "download", "wordnet-base"], scratch, timeout_s)
    for package in scratch.glob("wordnet-base_*.deb"):
        _run(["dpkg-deb", "-x", package.name, "unpacked"], scratch, timeout_s)
    return scratch / "unpacked" / "usr" / "share" / "wordnet"


Source = Callable[[Path, float], Path]
"""Given an empty scratch folder and a time limit in seconds, returns a folder with WordNet's files in it."""

SOURCES: dict[str, Source] = {
    "NLTK's archive": _nltk_archive,
    "Debian's wordnet-base, installed": _debian_installed,
    "nltk.download": _nltk_download,
    "apt-get download wordnet-base": _debian_download,
}
"""Where WordNet is sought when no ready folder is there, in this order."""


def _unpack(archive: Path, scratch: Path) -> Path:
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(scratch / "unpacked")
    except zipfile.BadZipFile as damage:
        raise _Unobtainable(f"{archive}: {damage}") from damage
    return scratch / "unpacked" / "wordnet"


def _run(command: list[str], folder: Path, timeout_s: float) -> None:
    """Run a command in `folder`; output to a file, as a pipe would be waited on beyond the time limit."""
    log = folder / "output.txt"
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
            )
    except FileNotFoundError:
        raise _Unobtainable(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise _Unobtainable(f"not done within {timeout_s:g} s") from None
    if done.returncode != 0:
        output_text = " ".join(log.read_text(encoding="utf-8", errors="replace").split())
        raise _Unobtainable(output_text[-400:] or f"{command[0]} ended with exit code {done.returncode}")


def _advice(cache: Path, tried: list[str]) -> str:
    lines = [
        f"WordNet {WORDNET_VERSION}, which METEOR needs, is not on this machine and could not be obtained.",
        "Tried:",
        *(f"  - {reason}" for reason in tried),
        "Do one of these on every machine that scores, as the user who runs the job:",
        "  - python -m nltk.downloader wordnet",
        "  - apt-get update, as root, and run again; or apt-get install wordnet-base (Debian, Ubuntu)",
        f"  - copy {cache} from a machine where METEOR works to {cache}",
        "Or leave METEOR out; the other metrics do not need WordNet.",
    ]
    return os.linesep.join(lines)
