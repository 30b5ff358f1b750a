"""The folder of a training is its own: another's stays, and so does whatever happens to have the name."""

from pathlib import Path

import pytest

from tristream.fusion.folder import ModelManifest, write_manifest
from tristream.streams.errors import ModelError, UsageError
from tristream.training.partial import PartialFolder

FACTS: dict[str, object] = {"seed": 0}


def begin(partial: PartialFolder, facts: dict[str, object]) -> None:
    """Claim the folder, as a run that is stopped at once does."""
    with partial.claimed(facts):
        pass


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder, without weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_manifest(folder, ModelManifest(name="old"), "# old")
    return folder


def test_a_folder_is_claimed_and_published(tmp_path: Path) -> None:
    partial = PartialFolder(tmp_path / "deep" / "model")
    begin(partial, FACTS)
    assert partial.path == tmp_path / "deep" / "model.partial"
    (fresh := partial.path / "fresh").mkdir()
    (fresh / "model.json").write_text("{}")
    partial.publish(fresh)
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["model", "model.json"]


def test_the_same_training_goes_on(tmp_path: Path) -> None:
    partial = PartialFolder(tmp_path / "model")
    begin(partial, FACTS)
    (partial.path / "spatial.checkpoint").write_text("half")
    begin(partial, FACTS)
    assert (partial.path / "spatial.checkpoint").read_text() == "half"


def test_where_nothing_was_done_yet_another_training_may_begin(tmp_path: Path) -> None:
    partial = PartialFolder(tmp_path / "model")
    begin(partial, FACTS)
    begin(partial, {"seed": 1})
    (partial.path / "spatial.checkpoint").write_text("half")
    with pytest.raises(UsageError, match="holds another training that was not finished: --overwrite drops it"):
        begin(partial, FACTS)
    begin(partial, {"seed": 1})
    begin(PartialFolder(tmp_path / "model", overwrite=True), FACTS)
    assert [path.name for path in partial.path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_trainings_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"model\.partial is in the way, and no training's: remove it"):
        begin(PartialFolder(tmp_path / "model", overwrite), FACTS)
    assert (tmp_path / "model.partial" / "thesis.txt").is_file()


def test_a_model_is_replaced_only_when_asked_and_only_at_the_end(model: Path) -> None:
    with pytest.raises(UsageError, match="model is there already: --overwrite replaces it, or choose another folder"):
        PartialFolder(model)
    partial = PartialFolder(model, overwrite=True)
    begin(partial, FACTS)
    (fresh := partial.path / "fresh").mkdir()
    assert (model / "README.md").read_text() == "# old"
    partial.publish(fresh)
    assert [path.name for path in model.parent.rglob("*")] == ["model"]


@pytest.mark.parametrize("name", ["photos", "notes.txt"])
def test_overwrite_replaces_nothing_but_a_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match=f"{name} is no model folder, so --overwrite leaves it alone"):
        PartialFolder(tmp_path / name, overwrite=True)


def test_an_empty_folder_may_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    begin(PartialFolder(tmp_path / "model", overwrite=True), FACTS)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.partial").write_text("")
    with pytest.raises(ModelError, match=r"model\.partial cannot be written: File exists"):
        begin(PartialFolder(tmp_path / "model"), FACTS)
    with pytest.raises(UsageError, match=r"model\.partial is a file: no model can be put into it"):
        PartialFolder(tmp_path / "model.partial" / "deep" / "model")


def test_a_model_comes_back_where_a_run_was_killed_while_it_was_replaced(model: Path) -> None:
    partial = PartialFolder(model, overwrite=True)
    begin(partial, FACTS)
    model.rename(partial.path / "replaced")
    begin(PartialFolder(model, overwrite=True), {"of": "another training"})
    assert (model / "README.md").read_text() == "# old"


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    partial = PartialFolder(tmp_path / "model", overwrite=True)
    with partial.claimed(FACTS):
        (partial.path / "spatial.checkpoint").write_text("half")
        with pytest.raises(UsageError, match=r"another process is training in .*model\.partial: wait for it"):
            begin(partial, FACTS)
        with pytest.raises(UsageError, match="another process is training"):
            begin(partial, {"of": "another training"})
    begin(partial, FACTS)
    assert (partial.path / "spatial.checkpoint").read_text() == "half"


def test_the_slower_of_two_runs_does_not_replace_what_the_faster_made(tmp_path: Path) -> None:
    faster, slower = PartialFolder(tmp_path / "model"), PartialFolder(tmp_path / "model")
    with faster.claimed(FACTS):
        (fresh := faster.path / "fresh").mkdir()
        faster.publish(fresh)
    with pytest.raises(UsageError, match="model is there already"):
        begin(slower, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_training_that_is_being_dropped_can_be_dropped_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle, it is still known whose the folder is."""
    partial = PartialFolder(tmp_path / "model", overwrite=True)
    begin(partial, FACTS)
    (partial.path / "spatial.checkpoint").write_text("half")
    (partial.path / "features").mkdir()

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        begin(partial, {"of": "another training"})
    monkeypatch.undo()
    begin(partial, {"of": "another training"})
    assert [path.name for path in partial.path.iterdir()] == ["run.json"]
