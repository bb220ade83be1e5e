"""Work on many scans at once: in this process, in several, or on a Dask cluster."""

from semilung.jobs.run_jobs import run_jobs

__all__ = ["run_jobs"]
