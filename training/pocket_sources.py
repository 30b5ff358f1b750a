"""What the small model learns from: clips, sounds and the networks that teach it, none of which it is measured on."""

from dataclasses import dataclass
from pathlib import Path

from tristream.fusion.folder import sha256_of
from tristream.streams.errors import ModelError
from tristream.training.datasets import read_dataset
from tristream.training.splits import train_and_test

ESC10_TRAIN_FOLDS = ("1-", "2-")  # fold 3 is what it is measured on


@dataclass(frozen=True)
class Sources:
    """The files that are learned from."""

    clips: tuple[Path, ...]  # UCF101's six classes, the train part
    sounds: tuple[Path, ...]  # ESC-10, folds 1 and 2
    mobilenet: Path
    yamnet: Path

    @classmethod
    def below(cls, data: Path, weights: Path) -> "Sources":
        """Those of folders laid out as the benchmarks' are."""
        train, _ = train_and_test(read_dataset(data / "ucf101-6c"))
        sounds = [path for path in data.glob("esc10/*/*.ogg") if path.name.startswith(ESC10_TRAIN_FOLDS)]
        return cls(
            tuple(sorted(one.path for one in train)),
            tuple(sorted(sounds)),
            weights / "mobilenetv1_100.safetensors",
            weights / "yamnet.safetensors",
        )

    def check(self) -> None:
        """Refuse to begin without them.

        Raises:
            ModelError: there are no clips or no sounds, two have one name, or a network's file is missing.
        """
        for what, paths in (("clips", self.clips), ("sounds", self.sounds)):
            if not paths:
                raise ModelError(f"there are no {what} to learn from: --data is a folder with ucf101-6c and esc10")
        stems = [path.stem for path in (*self.clips, *self.sounds)]
        if twice := {stem for stem in stems if stems.count(stem) > 1}:
            raise ModelError(f"two files are called {min(twice)}: what is made of them goes by their names, rename one")
        for path in (self.mobilenet, self.yamnet):
            if not path.is_file():
                raise ModelError(f"there is no {path}: --weights is the folder of it")

    def facts(self) -> dict[str, dict[str, str]]:
        """By what a later run knows that they are the same."""
        groups = {"clips": self.clips, "sounds": self.sounds, "teachers": (self.mobilenet, self.yamnet)}
        return {group: {path.name: sha256_of(path) for path in paths} for group, paths in groups.items()}

    def __str__(self) -> str:
        """In a few words."""
        return f"{len(self.clips)} clips of ucf101-6c (train) and {len(self.sounds)} sounds of esc10 (folds 1 and 2)"
