"""The paper's fusion: joined, standardised embeddings (N, D) -> a linear SVM's score of each class (N, K)."""

from sklearn.svm import LinearSVC

from tristream.fusion.blocks import Floats
from tristream.fusion.calibration import Labels
from tristream.fusion.linear import LinearFusion, solved

# Passes over the clips are bounded by how often they visit one: 100,000 passes over 200 clips, 2,000 over 10,000,
# which need 500 at the default alpha.
MAX_VISITS = 20_000_000
FEWEST_PASSES = 1_000
TOLERANCE = 1e-3  # of a margin of 1; 1e-4 would lower the objective by under 0.5 %, and take a third to a half longer


class FusionSVM(LinearFusion):
    """A linear SVM on the joined embedding (Tkachenko 2018, IV.G, V.D), with the multi-class hinge loss.

    The paper does not say how two classes become many. Crammer & Singer's (2001) loss asks of the scores what is
    done with them, that the right class has the highest; of one SVM a class against the rest none is asked where it
    stands to the others. On clips of UCF101 that the encoders had not learnt from it was right more often.

    A scikit-learn classifier of embeddings (N, D), which hold the stream vectors side by side. Each dimension is
    standardised over the clips that have its stream. A stream that is absent from a clip is a block of zeros; it
    counts as the mean of those present, and contributes nothing. So where the stream's vectors say nothing, its
    bare presence does not tell two classes apart: present vectors have the score of absent ones on average, and by
    Jensen's inequality no weights have a lower hinge loss than 0. Of more classes, the best one can still follow
    presence, as the scores of classes that have the stream vary and those of the others do not; so compare the
    accuracy of a stream that some classes lack with what presence alone would reach.

    2,000 clips of 3072 dimensions and 40 classes take 2 s on one core, and time goes with clips times classes.

    Args:
        dims: stream -> length, in the order they are joined; one stream `embedding` if None.
        alpha: weight of L2, as in SGDClassifier: alpha / 2 ||w||² + mean hinge loss. The paper's is 1e-2.
        calibration_folds: of the cross-validation that fits the temperature of `predict_proba`. Fewer than 2, or a
            class of a single clip (or group, where they are given): temperature 1, until `calibrate`.
        random_state: of the solver and the folds.

    Attributes:
        classes_: (K,) sorted.
        dims_: the streams and their lengths.
        coef_, intercept_: weights (K, D) of the standardised dimensions and (K,); (1, D) and (1,) for two classes.
        temperature_: what the scores are divided by before the softmax.
    """

    def _solve(self, X: Floats, labels: Labels) -> tuple[Floats, Floats]:
        solver = LinearSVC(
            loss="hinge",
            multi_class="crammer_singer" if labels.max() > 1 else "ovr",  # the same of two classes
            C=1 / (self.alpha * len(X)),  # its objective is ||w||² / 2 + C · the sum of the losses
            tol=TOLERANCE,
            max_iter=max(FEWEST_PASSES, MAX_VISITS // len(X)),
            random_state=self.random_state,
        )
        return solved(solver, X, labels, self.alpha)
