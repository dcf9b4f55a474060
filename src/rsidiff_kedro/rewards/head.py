"""The small head of ImageReward and of the aesthetic predictor: five linear layers with nothing between them."""

from typing import cast

from torch import Tensor, nn

WIDTHS = (1024, 128, 64, 16, 1)
_DROPOUTS = 3
"""Dropout follows so many layers in training; it computes nothing here but counts in the layers' names."""


class ScoreHead(nn.Module):
    """Features [n, d] to scores [n, 1]; its layers are named as in both official checkpoints."""

    def __init__(self, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(zip((features, *WIDTHS), WIDTHS)):
            layers += [nn.Linear(before, after), *([nn.Identity()] if number < _DROPOUTS else [])]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return cast(Tensor, self.layers(features))
