"""Pictures that say what a network did with an input. They need the extra `plots`.

figure = draw(client.activations("seven.png", layers=["conv1"]))
save(figure, Path("seven-conv1.png"))
"""

from strata_client.errors import MissingExtra

try:
    import matplotlib as mpl  # noqa: F401 - it is what the modules of this package draw with
except ModuleNotFoundError as error:
    raise MissingExtra("plots", "matplotlib") from error

from strata_client.plots.figures import FORMATS, draw, save

__all__ = ["FORMATS", "draw", "save"]
