"""Hashes files: a job is a path, its output the file's size and SHA-256."""

import hashlib

from hirelings_worker import Failed, serve


@serve
def run(job, ctx):
    hashed, size = hashlib.sha256(), 0
    try:
        with open(job["path"], "rb") as file:
            while chunk := file.read(1 << 20):
                hashed.update(chunk)
                size += len(chunk)
                ctx.progress(size)
    except OSError as error:
        raise Failed(f"{job['path']}: {error.strerror}") from None
    return {"size": size, "sha256": hashed.hexdigest()}
