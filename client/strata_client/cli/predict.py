"""`strata predict`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import click

from strata_client.cli import exits, options
from strata_client.cli.exits import ExitCode
from strata_client.cli.help import Command
from strata_client.cli.servers import Server
from strata_client.errors import InvalidArgument, ResourceExhausted, StrataError
from strata_client.names import escape

if TYPE_CHECKING:
    from strata_client import Client, Predictions

_Answers: TypeAlias = "list[tuple[str, Predictions | StrataError | OSError]]"


@click.command(cls=Command)
@options.files_argument("files", metavar="FILE...")
@options.option(
    "--top",
    default=5,
    show_default=True,
    type=click.IntRange(1, 2**31 - 1),
    metavar="K",
    help="Labels for each row, best first.",
)
@options.with_model
@click.pass_context
def predict(ctx: click.Context, server: Server, model: str, files: tuple[str, ...], top: int, *, as_json: bool) -> None:
    """Say what each FILE shows.

    FILE is a PNG or JPEG picture, or a folder of them; an .npy file with an array for the model's only input,
    shape (rows, ...); an .npz file with arrays by the names of inputs, or of layers, where the network then begins;
    or `-` for any of these files on standard input. One that cannot be read or understood is named, and the others
    are answered all the same.
    """
    from strata_client import sources

    listed = [file for source in files for file in sources.list_files(source)]
    with server.connect() as client:
        answers = _ask(client, listed, model, top)
    if as_json:
        _print_document(answers)
    else:
        _tell_failures(answers)
        _show(answers)
    ctx.exit(_conclude(answers))


def _ask(client: "Client", files: Sequence[str], model: str, top: int) -> _Answers:
    """Return an answer or an error for each file.

    Raises:
        StrataError: there is no answer to the first file, for a reason that is not the file's.
    """
    from strata_client import sources

    answers: _Answers = []
    for file in files:
        try:
            answers.append((file, client.predict(sources.read(file), model=model, top=top)))
        except (StrataError, OSError) as error:
            if _is_the_files(error):
                if not answers:
                    client.describe(model)  # which says if the model is wrong, rather than every file
                answers.append((file, error))
                continue
            if not answers:
                raise
            # What is answered is kept; the others would only wait for the same end.
            return [*answers, *((rest, error) for rest in files[len(answers) :])]
    return answers


def _is_the_files(error: StrataError | OSError) -> bool:
    return isinstance(error, InvalidArgument | ResourceExhausted | OSError) and not exits.may_pass(error)


def _conclude(answers: _Answers) -> ExitCode:
    errors = [answer for _, answer in answers if isinstance(answer, Exception)]
    if not errors:
        return ExitCode.DONE
    if len(errors) < len(answers):
        return ExitCode.PARTLY
    return ExitCode.RETRY if any(map(exits.may_pass, errors)) else ExitCode.FAILED


def _print_document(answers: _Answers) -> None:
    from strata_client import documents

    rows: Iterator[list[dict[str, object]]] = (
        [{"file": file, **exits.describe(answer)}]
        if isinstance(answer, Exception)
        else documents.describe_answers(file, answer)
        for file, answer in answers
    )
    documents.show({"predictions": [one for described in rows for one in described]})


def _tell_failures(answers: _Answers) -> None:
    """Say what is wrong, once for all the files of which it is the same."""
    failed: dict[str, list[str]] = {}
    for file, answer in answers:
        if isinstance(answer, Exception):
            failed.setdefault(exits.explain(answer), []).append(escape(file))
    for text, files in failed.items():
        # The server knows no names of files, and what reads them has said which it is.
        line = text if len(files) == 1 and files[0] in text else f"{_quote(files)}: {text}"
        click.echo(f"strata: {line}", err=True)


def _quote(files: Sequence[str], most: int = 10) -> str:
    more = f" and {len(files) - most:,} more" if len(files) > most else ""
    return f"{', '.join(files[:most])}{more}"


def _show(answers: _Answers) -> None:
    from strata_client import tables

    rows = [(file, answer) for file, answer in answers if not isinstance(answer, Exception)]
    if rows:
        tables.show_predictions(tables.open_screen(), rows)
