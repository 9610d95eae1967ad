"""One layer on a page: its title, the profile of all its channels, and the most active ones in full."""

import numpy as np

from strata_client.formats import format_briefly
from strata_client.plots.bodies import Body, make_body
from strata_client.plots.page import ACCENT, ALARM, GRAY, MARGIN, PALE, SIDE_WIDTH, WIDTH, Page
from strata_client.plots.subjects import Subject

_TITLE_HEIGHT = 0.72  # from the rule above to the body
_FOOT_HEIGHT = 0.32  # from the body to the next rule
_PROFILE_HEIGHT = 0.85
_PROFILE_FOOT = 0.3


class Section:
    """The part of a page that one layer takes."""

    def __init__(self, subject: Subject, columns: int) -> None:
        self._subject = subject
        self._body: Body = make_body(subject, columns)
        # A profile of bars that are all shown anyway would say it twice; that of classes is no activity.
        in_full = subject.is_vector and self._body.shown == subject.activity.channel_count
        self._profiled = self._body.shown > 1 and not in_full and not subject.classes
        profile = _PROFILE_HEIGHT + _PROFILE_FOOT if self._profiled else 0
        self.height = _TITLE_HEIGHT + max(self._body.height, profile) + _FOOT_HEIGHT

    def draw(self, page: Page, top: float) -> None:
        """Draw it below a rule."""
        page.rule(top)
        self._draw_title(page, top + 0.15)
        self._body.draw(page, top + _TITLE_HEIGHT)
        if self._profiled:
            self._draw_profile(page, top + _TITLE_HEIGHT + 0.05)

    def _draw_title(self, page: Page, top: float) -> None:
        right = WIDTH - MARGIN
        page.text(MARGIN, top, self._subject.title, fontsize=12, weight="bold")
        page.text(right, top + 0.02, self._subject.figures, ha="right", color=GRAY)
        page.text(MARGIN, top + 0.23, self._note(), color=GRAY)
        page.text(right, top + 0.23, self._subject.activity.odd, ha="right", color=ALARM, weight="bold")

    def _note(self) -> str:
        activity, body = self._subject.activity, self._body
        hidden = activity.channel_count - self._subject.dead_count - body.shown
        which = self._which(hidden)
        shown = f"{which}, sorted {body.rule}" if body.shown > 1 else ""
        more = f"{hidden:,} more are not shown" if body.shown and hidden else ""
        return "; ".join(part for part in (self._subject.kind, shown, more) if part)

    def _which(self, hidden: int) -> str:
        if hidden:
            return f"the {self._body.shown:,} {'best' if self._subject.classes else 'most active'}"
        return f"all {self._body.shown:,}{' that are not dead' if self._subject.dead_count else ''}"

    def _draw_profile(self, page: Page, top: float) -> None:
        """Draw the strength of every channel, sorted: how many carry the layer, and how many are dead."""
        activity, shown = self._subject.activity, self._body.shown
        strengths = np.sort(activity.strengths)[::-1]
        count, alive = activity.channel_count, activity.channel_count - self._subject.dead_count
        axes = page.axes(MARGIN + 0.35, top, SIDE_WIDTH - 0.35, _PROFILE_HEIGHT)
        edges = np.arange(count + 1)
        axes.stairs(strengths[:shown], edges[: shown + 1], fill=True, color=ACCENT, linewidth=0)
        axes.stairs(strengths[shown:], edges[shown:], fill=True, color=PALE, linewidth=0)
        axes.plot((alive, count), (0, 0), color=ALARM, linewidth=4, solid_capstyle="butt", clip_on=False)
        largest = float(strengths[0]) or 1.0
        axes.set_xlim(0, count)
        axes.set_ylim(0, largest)
        axes.set_xticks([])
        axes.set_yticks((0, largest), ("0", format_briefly(largest)))
        axes.tick_params(length=0, pad=4, labelsize=7.5, labelcolor=GRAY)
        axes.spines[:].set_visible(False)
        below = top + _PROFILE_HEIGHT + 0.08
        caption = f"all {count:,} {self._subject.channel_noun}, sorted"
        page.text(MARGIN + 0.35, below, caption, fontsize=7.5, color=GRAY)
        if self._subject.dead_count:
            dead = f"{self._subject.dead_count:,} dead"
            page.text(MARGIN + SIDE_WIDTH, below, dead, fontsize=7.5, color=ALARM, weight="bold", ha="right")
