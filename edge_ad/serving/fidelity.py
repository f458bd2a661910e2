"""The order of a bundle's operating points, by detection power and by fidelity, and a text for people.

Points of one input size differ by their arithmetic only: f32 first, then the others by their fidelity to the reference.
Sizes see different things: they are ordered by the detection power of their f32 point, where the bundle has it.
"""

from __future__ import annotations

from edge_ad.metrics.power import detection_power
from edge_ad.registry import BASE_PRECISION
from edge_ad.spec import FidelitySpec, Manifest


def best_first(manifest: Manifest) -> tuple[str, ...]:
    """Names of the operating points, those first that see most.

    Without power in the bundle: the reference, then the others in the order of their fidelity.
    """
    sees = {_size(spec): power for _, spec in _points(manifest) if (power := _power(spec)) is not None}

    def rank(name: str) -> tuple[float, float, float]:
        point, power = manifest.find_point(name), sees.get(_size(manifest.at(name)), 0.0)
        fidelity = (-2.0, 0.0) if point is None else (-point.fidelity.rank_correlation, point.fidelity.score_error)
        is_base = manifest.at(name).backbone.precision == BASE_PRECISION
        return (-power, *((-2.0, 0.0) if sees and is_base else fidelity))

    return tuple(sorted(manifest.point_names, key=rank))


def _points(manifest: Manifest) -> list[tuple[str, Manifest]]:
    return [(name, manifest.at(name)) for name in manifest.point_names]


def _size(spec: Manifest) -> tuple[object, ...]:
    return tuple(sight.backbone.input_size for sight in spec.sights)


def _power(spec: Manifest) -> float | None:
    if spec.power is None or spec.backbone.precision != BASE_PRECISION:
        return None
    return detection_power(spec.power, spec.calibration.threshold)


def describe_fidelity(found: FidelitySpec) -> str:
    """The fidelity of an operating point in words."""
    text = f"rank correlation {found.rank_correlation:.3f}, score error {found.score_error:.2%}"
    if found.auroc is None:
        return text
    return f"{text}, image AUROC {found.auroc:.4f} (reference {found.reference_auroc:.4f})"
