"""Fine-tuning on the supervisor's labels as they are."""

from __future__ import annotations

from surpass.methods.setting import WeakToStrong
from surpass.stages import Fit


def naive(w2s: WeakToStrong) -> Fit:
    """Cross-entropy on weak labels (Burns et al. 2023, section 4.2)."""
    return w2s.fit(w2s.strong_model, w2s.weak_labels, loss="xent")
