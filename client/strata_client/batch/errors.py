"""What ends a batch.

StrataError
├── JobFailed     no server answers, or another artifact does; what is finished stays, and the same command goes on
└── AnotherJob    the place holds the result of something else
"""

from strata_client.errors import StrataError


class JobFailed(StrataError):
    """A batch cannot go on; what is finished stays, and the same command continues from there."""

    code = "ABORTED"


class AnotherJob(StrataError):
    """The place holds the result of a job that is not this one."""

    code = "ALREADY_EXISTS"
