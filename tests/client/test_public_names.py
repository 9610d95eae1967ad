import inspect
import operator
import pickle
import subprocess
import sys

import pytest
import strata_client
from strata_client import errors


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)


def test_the_public_names_are_these() -> None:
    assert strata_client.__all__ == [
        "TLS",
        "Activations",
        "AsyncClient",
        "Cancelled",
        "Client",
        "DeadlineExceeded",
        "Description",
        "Difference",
        "Differences",
        "FailedPrecondition",
        "Health",
        "InvalidArgument",
        "Label",
        "Layer",
        "MissingExtra",
        "Model",
        "NotFound",
        "PermissionDenied",
        "Prediction",
        "Predictions",
        "Preprocessing",
        "ReceptiveField",
        "Reduction",
        "RepositoryVersion",
        "ResourceExhausted",
        "Retries",
        "ServerError",
        "StrataError",
        "TrainingFigures",
        "Unauthenticated",
        "Unavailable",
        "Unimplemented",
        "open_artifact",
    ]


def test_every_public_name_exists_and_is_listed() -> None:
    assert set(strata_client.__all__) <= set(dir(strata_client))
    assert all(getattr(strata_client, name).__doc__ for name in strata_client.__all__)


@pytest.mark.parametrize("extra", ["plots", ""])
def test_an_error_of_another_process_is_the_same(extra: str) -> None:
    error = strata_client.MissingExtra(extra, "matplotlib")
    found = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(found), str(found)) == (type(error), str(error))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        operator.attrgetter("Klient")(strata_client)


def test_every_error_is_public_and_stands_in_the_tree_of_the_docstring() -> None:
    tree = errors.__doc__ or ""
    ours = [error for error in errors.StrataError.__subclasses__() if error.__module__ == errors.__name__]
    assert ours
    for error in ours:
        assert error.__name__ in strata_client.__all__
        assert f"─ {error.__name__} " in tree


def test_no_public_signature_names_a_type_of_grpc() -> None:
    for kind in (strata_client.Client, strata_client.AsyncClient, strata_client.TLS, strata_client.Retries):
        methods = [vars(kind)[name] for name in vars(kind) if name == "__init__" or not name.startswith("_")]
        for method in filter(callable, methods):
            assert "grpc" not in str(inspect.signature(method))


def test_importing_the_client_imports_no_extra() -> None:
    done = run_python(
        "import sys, strata_client; strata_client.Client().close();"
        "print(sorted({'PIL', 'matplotlib', 'click', 'rich'} & set(sys.modules)))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_help_of_the_command_waits_for_neither_numpy_nor_grpc() -> None:
    done = run_python(
        "import sys, strata_client.cli; print(sorted({'numpy', 'grpc', 'rich', 'matplotlib'} & set(sys.modules)))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("package", "arguments", "line"),
    [
        ("click", ["models"], "strata: click is not installed: pip install 'strata-client[cli]'\n"),
        (
            "matplotlib",
            ["activations", "x.png", "--layers", "a", "--plot", "x.png"],
            "strata: matplotlib is not installed: pip install 'strata-client[plots]'\n",
        ),
    ],
)
def test_a_missing_extra_is_one_line_that_says_what_to_install(package: str, arguments: list[str], line: str) -> None:
    done = run_python(
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['strata', *{arguments}];"
        "from strata_client.cli import main; main()"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_table_without_rich_says_what_to_install() -> None:
    done = run_python("import sys; sys.modules['rich'] = None; import strata_client.tables")
    assert done.stderr.endswith(
        "strata_client.errors.MissingExtra: rich is not installed: pip install 'strata-client[cli]'\n"
    )
