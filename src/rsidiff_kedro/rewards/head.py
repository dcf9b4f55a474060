"""Define the score head of ImageReward and of the aesthetic predictor: five linear layers without activations."""

from itertools import pairwise

from torch import Tensor, nn


class ScoreHead(nn.Module):
    """Features [n, d] to scores [n, 1]; its layers have the names of both official checkpoints."""

    def __init__(self, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((features, 1024, 128, 64, 16, 1))):
            # An identity in place of the three dropouts of training, which count in the layers' names.
            layers += [nn.Linear(before, after), *[nn.Identity()] * (number < 3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Score features."""
        return self.layers(features)
