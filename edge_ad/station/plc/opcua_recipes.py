"""The recipes of a camera as OPC UA sees them: an external id (a name), and an internal one (of the bundle)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_ad.errors import SpecError
from edge_ad.station.plc.base import Host


@dataclass(frozen=True)
class Recipe:
    """A recipe.

    Attributes:
        name: by which a controller asks for it.
        bundle: id of the bundle that it was inspected with last; "" where that is not known.
        number: the station's; 0 is the camera's `bundle`.
    """

    name: str
    bundle: str
    number: int = 0


class Recipes:
    """Of one camera, as they are now: a reload of the configuration may change them. Nothing here waits.

    Args:
        camera: its name.
    """

    def __init__(self, host: Host, camera: str) -> None:
        self._host, self._camera = host, camera

    def in_use(self) -> Recipe:
        """What the next part is inspected with."""
        try:
            number = self._host.recipe(self._camera)
        except SpecError:  # there is no such camera now
            return Recipe("", "")
        return next((each for each in self.known() if each.number == number), Recipe("", ""))

    def known(self) -> tuple[Recipe, ...]:
        """Those that may be asked for."""
        try:
            found = self._host.recipes(self._camera)
        except SpecError:
            return ()
        names = _names([each.path for each in found])
        return tuple(Recipe(name, each.bundle, at) for at, (name, each) in enumerate(zip(names, found, strict=True)))

    def find(self, name: str, bundle: str) -> Recipe | None:
        """The recipe of a name or of a bundle, or of both; without both, the one in use. None where there is no such.

        A bundle that goes with a name need not be known yet: whoever prepares the recipe looks when it is open.
        """
        if not name and not bundle:
            return self.in_use()
        for each in self.known():
            if name in ("", each.name) and (bundle in ("", each.bundle) or (name and not each.bundle)):
                return each
        return None

    def select(self, recipe: Recipe) -> None:
        """See `Host.select_recipe`."""
        self._host.select_recipe(self._camera, recipe.number)

    def not_ready(self) -> str:
        """See `Host.not_ready`."""
        return self._host.not_ready(self._camera)

    def are_opened(self) -> bool:
        """See `Host.opens_recipe`."""
        try:
            return self._host.opens_recipe(self._camera)
        except SpecError:
            return False


def _names(paths: Sequence[Path]) -> list[str]:
    """The files' names without their ends; the number where that is no name, or another's too."""
    stems = [path.stem.strip() for path in paths]
    count = Counter(stems)
    names = [stem if count[stem] == 1 and stem and stem.isprintable() else str(at) for at, stem in enumerate(stems)]
    return names if len({*names}) == len(names) else [str(at) for at in range(len(names))]
