"""Float training of the bundled networks, and the folders of images it takes."""

from core.images.folders import image_files, load_folder
from core.training.loop import TrainConfig, train
from core.training.patches import PatchSampler

__all__ = ["PatchSampler", "TrainConfig", "image_files", "load_folder", "train"]
