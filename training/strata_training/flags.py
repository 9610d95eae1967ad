"""The flags of the commands that train: from the command line, a config, or a run that is gone on with."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from strata_training.config import flatten, read_config, unflatten
from strata_training.errors import Changed, Unreadable
from strata_training.records import STRATEGIES, Plan, Tuning

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class _Several(click.ParamType[tuple[Any, ...]]):
    """Values of one kind: between commas on the command line, an array in a config."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.name = f"{kind.name}s"
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        return tuple(self._kind.convert(item, param, ctx) for item in items)


class _Size(click.ParamType[tuple[int, ...]]):
    """Height and width in pixels: 224, or 224x192."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?", text):
            self.fail(f"expected a size such as 224 or 224x192, height first, received {value!r}", param, ctx)
        sizes = tuple(map(int, text.split("x")))
        return sizes * 2 if len(sizes) == 1 else sizes


_POSITIVE = click.IntRange(min=1)
_RATE = click.FloatRange(min=0, min_open=True)


def _flag(name: str, kind: click.ParamType[Any] | None, metavar: str, text: str) -> Decorator:
    """Declare a flag; what is not given stays None, so that a config can say it."""
    key = name.removeprefix("--").replace("-", "_")
    default = getattr(Plan, key, getattr(Tuning, key, None))
    if isinstance(default, int | float) and default:
        text += f"  [default: {default}]"
    return click.option(name, key, type=kind, metavar=metavar, help=text, default=None)


def _together(*decorators: Decorator) -> Decorator:
    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _switch(name: str, text: str) -> Decorator:
    return click.option(name, is_flag=True, default=None, help=text)


RUN_FLAGS = _together(
    click.option("--run", required=True, metavar="NAME", help="The run's name; it is written to runs/NAME."),
    click.option("--resume", is_flag=True, help="Go on with a run that was broken off; it keeps its flags."),
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Flags from a TOML file, such as a run's config.toml; those given here count more.",
    ),
)

DATA_FLAGS = _together(
    _flag(
        "--data",
        None,
        "DATA",
        "What to learn from: digits, circles, mnist, fashion_mnist, cifar10, cifar100, a folder with a folder of "
        "pictures for each class, or an .npz file.",
    ),
    _flag("--classes", _Several(click.STRING), "A,B", "Only these classes, in this order."),
    _flag("--samples-per-class", click.IntRange(min=0), "N", "Learn from at most this many of each class; 0 for all."),
    _flag("--image-size", _Size(), "HxW", "Resize the pictures; else the network's own size, or theirs."),
    _switch("--skip-bad", "Leave files out that cannot be read, and list them."),
    _flag(
        "--augment",
        _Several(click.STRING),
        "KIND,...",
        "Random changes while learning: flip, rotate:0.05, zoom:0.1, shift:0.1, contrast:0.2; not exported.",
    ),
    _flag(
        "--shift-pixels",
        click.IntRange(min=0),
        "N",
        "Also learn from each picture moved by this in four directions; 0 for not.  [default: 2 for digits, else 0]",
    ),
)

NETWORK_FLAGS = _together(
    _flag(
        "--network",
        None,
        "NAME",
        "What learns: cnn, cnn8x8, mlp, polynomial, or any backbone of keras.applications in lower case: "
        "resnet50, mobilenetv2, ...",
    ),
    _flag("--filters", _Several(_POSITIVE), "N,N", "Filters of each convolution."),
    _flag("--kernel", _POSITIVE, "N", "Height and width of a filter, in pixels."),
    _flag("--stride", _POSITIVE, "N", "Step of a filter, in pixels."),
    _flag("--padding", click.Choice(["same", "valid"]), "same|valid", "Whether zeros are added around."),
    _flag("--activation", None, "NAME", "The hidden layers' activation, such as relu."),
    _flag("--units", _Several(_POSITIVE), "N,N", "Units of each hidden dense layer."),
    _flag("--dropout", click.FloatRange(0, 1, max_open=True), "N", "Share of a layer that is left out at random."),
    _flag("--degree", _POSITIVE, "N", "Highest degree of the polynomial features."),
    _flag("--output", click.Choice(["softmax", "sigmoid"]), "softmax|sigmoid", "What makes scores of the last layer."),
    _flag("--weights", None, "WEIGHTS", "A backbone's: none, imagenet (downloaded), or a local file."),
)

TUNING_FLAGS = _together(
    _flag("--from", None, "RUN-or-FILE", "What to begin with: a run, a .keras file, or a backbone's name."),
    _flag("--weights", None, "WEIGHTS", "A backbone's: none, imagenet (downloaded), or a local file."),
    _flag(
        "--pixel-scale",
        click.FloatRange(min=0),
        "N",
        "What a .keras file's network wants pixels of 0..255 to be multiplied by.  "
        "[default: 1 where it has a Rescaling layer, else 1/255]",
    ),
    _switch("--keep-head", "Keep the last layer: the classes are the same, in the same order."),
    _flag("--freeze-until", None, "LAYER", "This layer and all before it never learn."),
    _flag(
        "--freeze",
        _Several(click.STRING),
        "PATTERN,...",
        "Layers that do not learn, such as 'conv1,block2_*'; none lets all learn.",
    ),
    _flag("--unfreeze-last", click.IntRange(min=0), "N", "The last N layers before the head learn in a second stage."),
    _flag("--unfreeze-epochs", click.IntRange(min=0), "N", "The most epochs of it.  [default: --epochs]"),
    _flag(
        "--unfreeze-learning-rate",
        click.FloatRange(min=0),
        "N",
        "Its step size.  [default: a tenth of --learning-rate]",
    ),
)

TRAINING_FLAGS = _together(
    _flag(
        "--seed",
        click.IntRange(0, 2**32 - 1),
        "N",
        "Fixes the split, the first weights and the order: the same weights again on as many CPUs.  [default: 0]",
    ),
    _flag("--epochs", _POSITIVE, "N", "The most epochs that are run."),
    _flag("--patience", _POSITIVE, "N", "Stop after this many epochs without a lower validation loss."),
    _flag("--batch-size", _POSITIVE, "N", "Examples in one step."),
    _flag("--learning-rate", _RATE, "N", "Adam's step size."),
    _flag(
        "--strategy",
        click.Choice(STRATEGIES),
        "|".join(STRATEGIES),
        "mirrored: share each step among all GPUs of this machine.",
    ),
)


def gather(
    ctx: click.Context, given: Mapping[str, Any], config: Path | None, required: Sequence[str]
) -> dict[str, Any]:
    """Return the flags of a new run: those given, else those in the config.

    Raises:
        Unreadable: the config holds a key that is no flag of the command.
        click.UsageError: a value that a flag cannot have, or none for one that is required.
    """
    values = _check_config(ctx, config) if config else {}
    values |= {key: value for key, value in given.items() if value is not None}
    for key in required:
        if key not in values:
            raise click.UsageError(f"Missing option '--{key}'.", ctx)
    return values


def gather_again(ctx: click.Context, given: Mapping[str, Any], config: Path) -> dict[str, Any]:
    """Return the flags of a run that is gone on with.

    Raises:
        Changed: a flag that is given is not what it was.
    """
    values = _check_config(ctx, config)
    before = flatten(unflatten(values))
    for key, value in given.items():
        if value is not None and value != before.get(key):
            raise Changed(
                f"--{key.replace('_', '-')}: the run has {before.get(key)!r}, received {value!r}; "
                "a run that is gone on with keeps its flags"
            )
    return values


def _check_config(ctx: click.Context, config: Path) -> dict[str, Any]:
    params = {param.name: param for param in ctx.command.params}
    values = {}
    for key, value in read_config(config).items():
        if key not in params or key in {"run", "resume", "config"}:
            raise Unreadable(f"{config}: {key!r} is no flag of `{ctx.info_name}`")
        values[key] = params[key].type_cast_value(ctx, value)
    return values
