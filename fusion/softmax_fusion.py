"""An alternative to the SVM: joined, standardised embeddings (N, D) -> log-probabilities (N, K) up to a constant."""

from sklearn.linear_model import LogisticRegression

from tristream.fusion.blocks import Floats
from tristream.fusion.calibration import Labels
from tristream.fusion.linear import LinearFusion, solved

MAX_ITERATIONS = 1000


class SoftmaxFusion(LinearFusion):
    """Multinomial logistic regression on the joined embedding: `FusionSVM` with the log loss of a softmax layer.

    Its scores are log-probabilities up to a constant a row; of two classes, minus and plus half the log odds.
    Arguments, attributes and absent streams are those of `FusionSVM`.
    """

    def _solve(self, X: Floats, labels: Labels) -> tuple[Floats, Floats]:
        solver = LogisticRegression(C=1 / (self.alpha * len(X)), max_iter=MAX_ITERATIONS)
        coef, intercept = solved(solver, X, labels, self.alpha)
        half = 2 if len(coef) == 1 else 1  # the softmax of -f and +f has log odds 2f
        return coef / half, intercept / half
