"""Strategy of CONTRIBUTING.md in a package of another lab."""

from semilung.losses import probabilities, voxel_entropy
from semilung.strategies import Needs, Strategy, Term, register


@register("sure")
class Sure(Strategy):
    """Low entropy on unlabelled crops."""

    def __init__(self, *, weight: float = 0.1):
        super().__init__()
        self.needs = Needs(views={"unlabelled": ("weak",)})
        self.weight = weight

    def terms(self, step):
        entropy = voxel_entropy(probabilities(step.out("unlabelled")["logits"])).mean()
        return {"entropy": Term(entropy, self.weight)}
