"""AutoencoderDetector: an estimator as scikit-learn has it, and that the strange is strange to it."""

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from tristream.anomaly.autoencoder import AutoencoderDetector


@parametrize_with_checks([AutoencoderDetector(max_epochs=3)])
def test_it_is_a_scikit_learn_estimator(estimator: AutoencoderDetector, check: Any) -> None:
    check(estimator)
