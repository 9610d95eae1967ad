"""Help pages: options in sections, so that those of the connection stand behind those of the command."""

from typing import Any

import click

OPTIONS = "Options"
CONNECTION = "Connection"


class Option(click.Option):
    """An option that stands in a section of the help page."""

    def __init__(self, *arguments: Any, section: str = OPTIONS, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.section = section

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and its text, which ends in the default and in the variable that sets it."""
        if self.hidden:
            return None
        record = super().get_help_record(ctx)
        extra = self.get_help_extra(ctx)
        notes = [f"${name}" for name in extra.get("envvars", ())]
        notes += [f"default: {extra['default'].strip('()')}"] if "default" in extra else []
        notes += ["required"] if "required" in extra else []
        text = self.help or ""
        return (record or ("", ""))[0], f"{text}  [{'; '.join(notes)}]" if notes else text


class Command(click.Command):
    """A command whose help page has sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of each section together."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            # An argument is explained in the text above.
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record:
                sections.setdefault(getattr(parameter, "section", OPTIONS), []).append(record)
        for section in sorted(sections, key=lambda one: one != OPTIONS):
            with formatter.section(section):
                formatter.write_dl(sections[section])
