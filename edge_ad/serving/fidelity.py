"""How faithful the operating points of a bundle are to its reference: their order, and a text for people."""

from __future__ import annotations

from edge_ad.spec import FidelitySpec, Manifest


def faithful_first(manifest: Manifest) -> tuple[str, ...]:
    """Names of the operating points: the reference first, then the others in the order of their fidelity."""

    def apart(name: str) -> tuple[float, float]:
        point = manifest.find_point(name)
        return (-2.0, 0.0) if point is None else (-point.fidelity.rank_correlation, point.fidelity.score_error)

    return tuple(sorted(manifest.point_names, key=apart))


def describe_fidelity(found: FidelitySpec) -> str:
    """The fidelity of an operating point in words."""
    text = f"rank correlation {found.rank_correlation:.3f}, score error {found.score_error:.2%}"
    if found.auroc is None:
        return text
    return f"{text}, image AUROC {found.auroc:.4f} (reference {found.reference_auroc:.4f})"
