"""What `drp-ray quickstart` writes: a job file, and the sample that it names.

Files that are there with the same content are left as they are, so that the job's results are found again. A file
with other content is never overwritten.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from drp_ray.data.forecast import forecast, n_calls
from drp_ray.data.sample_files import SampleFile, sample_files
from drp_ray.errors import BadInput
from drp_ray.inputs.dataset import parquet_files
from drp_ray.storage.folder import Folder, LocalFolder

SHIPPED_JOB = Path(__file__).with_name("quickstart.yaml")
USERS = 48
USERS_OF_REAL_MODEL = 8
REAL_MODEL = {"n": "2", "k": "2", "max_model_len": "8192", "max_tokens": "512"}
"""What a model of a hundred times the sample writer's size does on a CPU in minutes."""
SEED = 0

ENDPOINT_MODEL = """\
models:
  llm:
    engine: openai
    id: {id}
    base_url: {base_url}
    concurrency: 4
    timeout_s: 600
"""


@dataclass(frozen=True)
class Quickstart:
    """A quickstart in a folder: with how many users, and with which real language model (None for the sample writer).

    With an endpoint the model is one that it serves. Another model or number of users is another run, with a name, a
    job file and a sample of its own.
    """

    directory: Path
    n_users: int = USERS
    model: str | None = None
    endpoint: str | None = None

    def __post_init__(self) -> None:
        if self.endpoint is not None and self.model is None:
            raise BadInput(f"the endpoint {self.endpoint} may serve several models: name one (--model, or MODEL=…)")

    @property
    def name(self) -> str:
        """The run's name."""
        model = "" if self.model is None else "-" + re.sub("[^A-Za-z0-9._-]", "-", self.model).lstrip("._-")
        users = "" if self.n_users == USERS else f"-{self.n_users}-users"
        return f"quickstart{model}{users}"

    @property
    def job_file(self) -> Path:
        """The job's file."""
        return self.directory / f"{self.name}.yaml"

    @property
    def sample(self) -> str:
        """The dataset's folder as the job names it."""
        return ".quickstart/sample" if self.n_users == USERS else f".quickstart/sample-{self.n_users}"

    @property
    def job_text(self) -> str:
        """The shipped job with this quickstart's name, dataset and model."""
        values = {"name": self.name, "dataset": self.sample}
        job = SHIPPED_JOB.read_text()
        if self.endpoint is not None:
            job = _with_endpoint(job, json.dumps(self.model), json.dumps(self.endpoint))
        elif self.model is not None:
            values["id"] = json.dumps(self._model_id)
        return _with_values(job, values if self.model is None else values | REAL_MODEL)

    @property
    def forecast(self) -> str | None:
        """How long it will take with a real model; None with the sample writer."""
        if self.model is None:
            return None
        n = int(REAL_MODEL["n"])
        if self.endpoint is not None:
            return f"{self.n_users:,} users, about {n_calls(self.n_users, n):,} calls to {self.endpoint}."
        return forecast(self.model, self.n_users, n, os.cpu_count() or 1)

    @property
    def run_command(self) -> str:
        """What a person types to run the job."""
        enter = "" if self.directory == Path() else f"cd {shlex.quote(str(self.directory))} && "
        return f"{enter}drp-ray run {self.job_file.name}"

    @property
    def _model_id(self) -> str | None:
        """The model as the job, which is started in `directory`, must name it."""
        is_elsewhere = self.directory.absolute() != Path.cwd()
        if self.model is not None and is_elsewhere and Path(self.model).is_dir():
            return str(Path(self.model).absolute())
        return self.model


def _with_endpoint(job: str, model: str, endpoint: str) -> str:
    """Replace the section of the models."""
    before, _, rest = job.partition("models:\n")
    _, _, after = rest.partition("\n\n")
    return before + ENDPOINT_MODEL.format(id=model, base_url=endpoint) + "\n" + after


def _with_values(job: str, values: Mapping[str, str]) -> str:
    """Replace the values, and the comments behind them, of keys that occur on one line of a job file."""
    lines = job.splitlines()
    for number, line in enumerate(lines):
        indented_key = line.partition(":")[0]
        if indented_key.strip() in values:
            lines[number] = f"{indented_key}: {values[indented_key.strip()]}"
    return "\n".join(lines) + "\n"


def write_quickstart(quickstart: Quickstart, say: Callable[[str], None]) -> None:
    """Write what is not there yet.

    Raises:
        BadInput: a file is there with other content, or the folder cannot be written. In the first case nothing was
            written.
    """
    sample = LocalFolder((quickstart.directory / quickstart.sample).absolute())
    _refuse_other_job(quickstart)
    missing = _missing_files(sample, sample_files(quickstart.n_users, SEED))
    if missing:
        say(f"Writing the generated sample {quickstart.directory / quickstart.sample}: {quickstart.n_users:,} users")
        for file in missing:
            file.write(sample)
    if not quickstart.job_file.exists():
        say(f"Writing the job file {quickstart.job_file}")
        LocalFolder(quickstart.directory.absolute()).write(quickstart.job_file.name, quickstart.job_text.encode())


def _refuse_other_job(quickstart: Quickstart) -> None:
    path = quickstart.job_file
    if not path.exists():
        return
    try:
        is_same = yaml.safe_load(path.read_bytes()) == yaml.safe_load(quickstart.job_text)
    except (OSError, yaml.YAMLError):
        is_same = False
    if not is_same:
        raise _other_content(path, f"Run it as it is ({quickstart.run_command}), move it")


def _missing_files(folder: Folder, files: list[SampleFile]) -> list[SampleFile]:
    """The files that are not there yet.

    Raises:
        BadInput: another file is there, or one with other rows.
    """
    wanted = {file.name: file for file in files}
    there = [f"{kind}/{entry.name}" for kind in ("users", "items") for entry in parquet_files(folder.at(kind))]
    for name in there:
        if name not in wanted or not _holds(folder, name, wanted[name].make_rows()):
            raise _other_content(f"{folder.uri}/{name}")
    return [file for file in files if file.name not in there]


def _holds(folder: Folder, name: str, rows: pa.Table) -> bool:
    """Whether a file has these rows; its bytes may be those of another version of pyarrow."""
    try:
        return bool(pq.read_table(pa.BufferReader(folder.read(name))).equals(rows))
    except (pa.ArrowInvalid, OSError):
        return False


def _other_content(path: Path | str, what_to_do: str = "Move it") -> BadInput:
    return BadInput(
        f"{path}: has other content than this command writes there, and was not overwritten. {what_to_do} away, or "
        "give another folder (drp-ray quickstart DIR)"
    )
