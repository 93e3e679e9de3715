"""A job with dataset and results in a bucket, on an S3 server in another process."""

from drp_ray.data.sample_files import write_sample
from drp_ray.storage.folder import open_folder
from tests.end_to_end.conftest import STAGES, assert_whole
from tests.faults.conftest import ScriptedJob


def test_a_job_runs_on_a_bucket_and_a_second_run_does_nothing(tmp_path, s3_server, bucket):
    options = s3_server.options
    dataset = f"s3://{bucket}/datasets/sample"
    write_sample(open_folder(dataset, options), 8, seed=1)
    env = {
        "AWS_ENDPOINT_URL": options.endpoint_url,
        "AWS_ACCESS_KEY_ID": options.access_key,
        "AWS_SECRET_ACCESS_KEY": options.secret_key,
        "AWS_REGION": options.region,
    }
    runtime = {"rows_per_part": 8, "num_cpus": 2}  # few parts: the server answers one request at a time
    job = ScriptedJob(tmp_path, dataset, s3=options, env=env, root=f"s3://{bucket}/drp", runtime=runtime)

    done = job.run("run")
    assert done.returncode == 0, done.stderr
    assert_whole(job, users=8)
    before = job.contents()
    assert job.stage("predictions").uri.startswith(f"s3://{bucket}/drp/sample/predictions/")

    again = job.run("run")
    assert again.returncode == 0 and "Nothing to do" in again.stdout
    assert job.contents() == before
    assert {name for name, _ in before} == set(STAGES)
    assert not list(tmp_path.glob("*/"))
