"""The spatial CNN: the frames it takes, the features it gives, and how it gets its weights."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from tristream.streams.config import SpatialConfig
from tristream.streams.errors import ModelError, UsageError
from tristream.streams.lrcn import FrameCNN
from tristream.streams.picture import PictureFormat
from tristream.streams.pixels import PixelCNN
from tristream.streams.placement import place
from tristream.streams.spatial import SpatialCNN, build_spatial_cnn, picture_format
from tristream.streams.weights import read_weights

SMALL = SpatialConfig(backbone="mobilenetv3_small_050")
CLIPS = 5  # of each class
MOBILENET = SpatialConfig(backbone="mobilenetv1_100", same_padding=True)


def small_cnn() -> SpatialCNN:
    torch.manual_seed(0)
    return timm_cnn(SMALL)


def timm_cnn(config: SpatialConfig) -> SpatialCNN:
    cnn = build_spatial_cnn(config, None, "", pretrained=False)
    assert isinstance(cnn, SpatialCNN)
    return cnn


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (299, 299), (101, 333), (1081, 607), (7, 500)])
@pytest.mark.parametrize("data_config", [
    {"input_size": (3, 299, 299), "crop_pct": 0.8975, "crop_mode": "center", "interpolation": "bicubic"},
    {"input_size": (3, 224, 224), "crop_pct": 0.875, "crop_mode": "center", "interpolation": "bilinear"},
    {"input_size": (3, 65, 65), "crop_pct": 0.96, "crop_mode": "center", "interpolation": "bilinear"},
    {"input_size": (3, 224, 224), "crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bicubic"},
])  # fmt: skip
def test_picture_is_cut_as_by_timms_transform(size: tuple[int, int], data_config: dict[str, Any]) -> None:
    form = picture_format(data_config)
    # red counts columns, green rows: what is left of them after the transform says where it cut
    height, width = size
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frame = torch.stack([columns * 255 / width, rows * 255 / height, rows * 0], dim=-1).to(torch.uint8)
    image = Image.fromarray(frame.numpy())
    expected = create_transform(**data_config, normalize=False)(image)

    scaled_height, scaled_width = form.scaled_size(height, width)
    mode = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[form.interpolation]
    scaled = torch.from_numpy(np.array(image.resize((scaled_width, scaled_height), mode)))
    top, left = form.crop(scaled_height, scaled_width)
    cut = scaled[top : top + form.height, left : left + form.width]
    assert torch.equal(cut.permute(2, 0, 1), expected)


def test_picture_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(UsageError, match="resize_shorter = 200"):
        PictureFormat(224, 224, resize_shorter=200)
    with pytest.raises(UsageError, match="height = 0"):
        PictureFormat(0, 224)


def test_paper_backbone_wants_299_pixels_of_333_and_gives_1536_features() -> None:
    with torch.device("meta"):
        cnn = SpatialCNN(timm.create_model(SpatialConfig().backbone, num_classes=0))
    assert cnn.picture == PictureFormat(299, 299, "rgb24", 333, "bicubic")
    assert cnn.feature_size == 1536


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet18", "vit_tiny_patch16_224"])
def test_features_are_timms_own(name: str) -> None:
    torch.manual_seed(0)
    cnn = timm_cnn(SpatialConfig(backbone=name))
    colours = torch.randint(0, 256, (2, 1, 1, 3), dtype=torch.uint8)  # scaling leaves a plain frame as it is
    frames = colours.expand(-1, cnn.picture.height, cnn.picture.width, -1).contiguous()
    transform = create_transform(**resolve_model_data_config(cnn.backbone))
    pictures = torch.stack([transform(Image.fromarray(frame.numpy())) for frame in frames])
    with torch.inference_mode():
        features = cnn(frames)
        expected = cnn.backbone(pictures)
    assert features.shape == (2, cnn.feature_size)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "side", "features"),
    [
        ("vgg16.tv_in1k", None, 224, 7 * 7 * 512),
        ("mobilenetv1_100", None, 224, 7 * 7 * 1024),
        ("mobilenetv1_100", 96, 96, 3 * 3 * 1024),
        ("inception_v3.tf_in1k", None, 299, 8 * 8 * 2048),
    ],
)
def test_flattened_features_are_as_many_as_the_last_map_holds(
    name: str, size: int | None, side: int, features: int
) -> None:
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0, global_pool="").eval()
    if name.startswith("vgg"):
        backbone.pre_logits = torch.nn.Identity()
    cnn = SpatialCNN(backbone, size_pixels=size, flatten=True)
    assert cnn.feature_size == features
    assert (cnn.picture.height, cnn.picture.width) == (side, side)


def test_the_last_map_is_flattened_as_keras_does() -> None:
    torch.manual_seed(0)
    config = SpatialConfig(backbone="mobilenetv1_100", pooling="flatten", size_pixels=64, same_padding=True)
    cnn = timm_cnn(config)
    frames = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        maps = cnn.backbone.forward_features((frames.permute(0, 3, 1, 2) - cnn.mean) / cnn.deviation)
        features = cnn(frames)
        placed = place(cnn, "cpu", "float32")(frames)
    assert maps.shape == (2, 1024, 2, 2)
    assert features.shape == (2, 4096)
    torch.testing.assert_close(features.reshape(2, 2, 2, 1024), maps.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(placed, features, rtol=0, atol=1e-4 * features.abs().max().item())


@pytest.mark.slow
def test_orozcos_vgg16_ends_with_its_last_max_pool() -> None:
    cnn = timm_cnn(SpatialConfig(backbone="vgg16.tv_in1k", pooling="flatten"))
    assert cnn.feature_size == 25_088
    assert sum(each.numel() for each in cnn.parameters()) == 14_714_688  # of 138 million: the convolutions alone
    assert all(name.startswith("backbone.features.") for name, _ in cnn.named_parameters())
    with torch.inference_mode():
        features = cnn(torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8))
    assert features.shape == (1, 25_088)
    assert features.min() >= 0  # after a ReLU


def test_size_pixels_keeps_the_rest_of_the_format() -> None:
    cnn = timm_cnn(SpatialConfig(backbone="resnet18.tv_in1k", size_pixels=112))
    assert cnn.picture == PictureFormat(112, 112, "rgb24", 128, "bilinear")  # 112 / 0.875
    with torch.inference_mode():
        assert cnn(torch.zeros(1, 112, 112, 3, dtype=torch.uint8)).shape == (1, cnn.feature_size) == (1, 512)


def test_pictures_that_a_backbone_cannot_take_are_refused() -> None:
    with pytest.raises(UsageError, match="no pictures of 100x100 pixels"):
        timm_cnn(SpatialConfig(backbone="vit_tiny_patch16_224", size_pixels=100))
    with pytest.raises(UsageError, match=r"no map \(C, H, W\) to flatten, its features are \(197, 192\)"):
        timm_cnn(SpatialConfig(backbone="vit_tiny_patch16_224", pooling="flatten"))


def test_our_own_backbones_know_no_hub_and_no_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", None)
    for pretrained in (False, True):
        pixels = build_spatial_cnn(SpatialConfig("pixels", size_pixels=32), None, "", pretrained)
        assert isinstance(pixels, PixelCNN)
        assert pixels.feature_size == 32 * 32 * 3
        lrcn = build_spatial_cnn(SpatialConfig("lrcn2024"), None, "", pretrained)
        assert isinstance(lrcn, FrameCNN)
        assert not lrcn.training
    loaded = build_spatial_cnn(SpatialConfig("lrcn2024"), lrcn.state_dict(), "lrcn.safetensors", False)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in lrcn.state_dict().items())
    with pytest.raises(ModelError, match=r"other\.safetensors lacks 8 of 8"):
        build_spatial_cnn(SpatialConfig("lrcn2024"), {}, "other.safetensors", False)
    for name in ("pixels", "lrcn2024"):
        with pytest.raises(UsageError, match=f"'{name}' has no choice of padding"):
            build_spatial_cnn(SpatialConfig(name, same_padding=True), None, "", pretrained=False)


def test_frames_of_another_kind_are_refused() -> None:
    cnn = small_cnn()
    with pytest.raises(UsageError, match=r"\(1, 200, 224, 3\)"):
        cnn(torch.zeros(1, 200, 224, 3, dtype=torch.uint8))
    with pytest.raises(UsageError, match=r"torch\.float32"):
        cnn(torch.zeros(1, 224, 224, 3))


def test_weights_are_loaded_and_a_classifier_among_them_is_passed_over() -> None:
    torch.manual_seed(1)
    published = timm.create_model(SMALL.backbone).state_dict()  # has a classifier
    cnn = build_spatial_cnn(SMALL, published, "published.safetensors", pretrained=True)
    assert torch.equal(cnn.backbone.state_dict()["conv_stem.weight"], published["conv_stem.weight"])


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ModelError, match=r"other\.safetensors"):
        build_spatial_cnn(SMALL, timm.create_model("resnet18").state_dict(), "other.safetensors", False)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnt18", "resnet18"),
        ("lrcn2042", "lrcn2024"),
        ("resnet18.a1_in1", "resnet18.a1_in1k"),
        ("hf-hub:a/b", "list_models"),
    ],
)
def test_unknown_backbone_is_refused_with_names_near_it(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=near):
        build_spatial_cnn(SpatialConfig(backbone=name), None, "", pretrained=False)


def test_same_padding_is_refused_where_a_backbone_has_none() -> None:
    with pytest.raises(UsageError, match="same_padding"):
        build_spatial_cnn(SpatialConfig(backbone="resnet18", same_padding=True), None, "", pretrained=False)


def test_same_padding_pads_after_the_picture() -> None:
    cnn = build_spatial_cnn(MOBILENET, None, "", pretrained=False)
    with torch.inference_mode():
        tensorflow = cnn.backbone.conv_stem(torch.ones(1, 3, 224, 224))
    inside = tensorflow[0, 0, 0, 0]
    assert torch.allclose(inside, tensorflow[0, 0, 55, 55], atol=1e-6)  # no zeros before the first pixel
    assert not torch.allclose(inside, tensorflow[0, 0, -1, -1], atol=1e-6)


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("No pretrained weights exist"), KeyError("x")])
def test_unreachable_weights_say_what_to_pass(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ModelError, match="mobilenetv3_small_050; pass --spatial-weights FILE or --untrained") as caught:
        build_spatial_cnn(SMALL, None, "", pretrained=True)
    assert caught.value.__cause__ is error


@pytest.mark.reference
@pytest.mark.parametrize(("dtype", "nearest"), [("auto", 0.999), ("float32", 0.99999), ("bfloat16", 0.999)])
def test_real_features_are_timms_in_any_dtype_and_batch(dtype: Any, nearest: float, shared: Path) -> None:
    weights = read_weights(shared / "weights/mobilenetv1_100.safetensors")
    cnn = build_spatial_cnn(MOBILENET, weights, "mobilenetv1_100", pretrained=False)
    plain = timm.create_model("mobilenetv1_100", pad_type="same", num_classes=0).eval()
    plain.load_state_dict(weights)
    images = real_images(shared, "test")[::CLIPS]
    frames = torch.stack([pixels(image, cnn.picture) for image in images])
    transform = create_transform(**resolve_model_data_config(plain))
    with torch.inference_mode():
        expected = torch.stack([plain(transform(image)[None])[0] for image in images])
        placed = place(cnn, "cpu", dtype)
        features = torch.cat([placed(frames[:5]), placed(frames[5:])])
    assert torch.nn.functional.cosine_similarity(features, expected).min() >= nearest
    if dtype == "float32":
        torch.testing.assert_close(features, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.reference
def test_published_weights_tell_scenes_apart(shared: Path) -> None:
    weights = read_weights(shared / "weights/mobilenetv1_100.safetensors")
    cnn = place(build_spatial_cnn(MOBILENET, weights, "mobilenetv1_100", pretrained=False), "cpu", "auto")
    known, asked = (
        torch.stack([pixels(image, cnn.picture) for image in real_images(shared, part)]) for part in ("train", "test")
    )
    with torch.inference_mode():
        nearest = torch.cdist(normalised(cnn(asked)), normalised(cnn(known))).argmin(dim=1)
    right = (nearest // CLIPS == torch.arange(len(asked)) // CLIPS).float().mean()
    assert right >= 0.8  # one frame of 5 clips a class, 6 classes, of other people than those known; chance is 0.17


def normalised(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features, dim=1)


def real_images(shared: Path, part: str) -> list[Image.Image]:
    """The first frames of CLIPS clips of each class, class by class."""
    images = []
    for folder in sorted((shared / "data/ucf101-6c" / part).iterdir()):
        clips = sorted(folder.glob("*.avi"))
        for clip in clips[:: len(clips) // CLIPS][:CLIPS]:
            with av.open(str(clip)) as container:
                images.append(next(container.decode(video=0)).to_image())
    return images


def pixels(image: Image.Image, form: PictureFormat) -> torch.Tensor:
    """An image as the decoder would give it, scaled by Pillow as timm's transform scales: (H, W, 3) uint8."""
    height, width = form.scaled_size(image.height, image.width)
    top, left = form.crop(height, width)
    scaled = torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BICUBIC)))
    return scaled[top : top + form.height, left : left + form.width]
