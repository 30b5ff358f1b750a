"""A history is plain data, and comes back from it as it was."""

import json

from tristream.training.history import Epoch, StageHistory


def test_it_comes_back_from_json() -> None:
    epochs = (Epoch(1.5, 0.1 + 0.2), Epoch(0.7, 1e-6, 0.9, 0.5, 0.25))
    data = json.loads(json.dumps(StageHistory("audio CNN", epochs, best=1).to_json()))
    assert data["stage"] == "audio CNN"
    assert data["epochs"][0] == {
        "train_loss": 1.5,
        "learning_rate": 0.30000000000000004,
        "validation_loss": None,
        "train_accuracy": None,
        "validation_accuracy": None,
    }
    assert StageHistory(data["stage"], tuple(Epoch(**each) for each in data["epochs"]), data["best"]) == StageHistory(
        "audio CNN", epochs, 1
    )
