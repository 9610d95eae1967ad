"""What a command was told, as a TOML file: its keys are the flags, with _ for -."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomli_w

from strata_training.errors import NotFound, Unreadable
from strata_training.records import Plan, Tuning


def read_config(path: Path) -> dict[str, Any]:
    """Return the values in a config, by their keys.

    Raises:
        NotFound: there is no such file.
        Unreadable: it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"no config at {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path} is not TOML: {error}") from error


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as the flags of the command that follows it; what is empty is left out."""
    command = "finetune" if plan.tuning else "fit"
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(plan).items()}
    text = tomli_w.dumps({key: value for key, value in told.items() if value not in (None, "", [])})
    path.write_text(f"# strata-train {command} --config {path} --run NAME\n\n{text}", encoding="utf-8")


def flatten(plan: Plan) -> dict[str, Any]:
    """Return a plan as the values of flags, by their names with _ for -."""
    values = {field.name: getattr(plan, field.name) for field in fields(Plan)}
    options, tuning = values.pop("options"), values.pop("tuning")
    if tuning:
        values |= {field.name: getattr(tuning, field.name) for field in fields(Tuning)}
        values["from"] = values.pop("origin")
        del values["network"]
    flat: dict[str, Any] = values | options
    return flat


def unflatten(values: Mapping[str, Any]) -> Plan:
    """Return the plan that the values of flags stand for; None, or a flag that is not there, means the default."""
    given = {key: value for key, value in values.items() if value is not None}
    if "from" in given:
        given["origin"] = given.pop("from")
    own, tuned = ({field.name for field in fields(kind)} for kind in (Plan, Tuning))
    tuning = Tuning(**{key: given[key] for key in tuned & given.keys()}) if "origin" in given else None
    options = {key: value for key, value in given.items() if key not in own | tuned}
    return Plan(**{key: given[key] for key in own & given.keys()}, options=options, tuning=tuning)
