"""MS-COCO captions."""

from __future__ import annotations

from dataclasses import dataclass

from ue_bench.datasets._captioned import PARQUET, Captioned


@dataclass(frozen=True)
class Mscoco(Captioned):
    """MS-COCO captions (Lin et al., 2014; Chen et al., 2015): 123,287 photographs with five captions each.

    Images with more than five captions keep the first five of their file. Looked for under ``UE_BENCH_DATA``
    as mscoco/ or coco/, in the first of these layouts:

    parquet      train.parquet and test.parquet (or train-*.parquet, data/train-*.parquet) with the columns
                 image and captions; the split is that of the files
    karpathy     dataset_coco.json with train2014/ and val2014/, here or in images/: 113,287 training images
                 (restval counts as train) and 5,000 test images
    annotations  annotations/captions_train2014.json and captions_val2014.json with the same folders, taken as
                 one. The split is that of test.csv, val.csv and train.csv, here or in splits/: MEM publishes
                 the first. Without a train.csv all other images are for training. Without these lists 113,287
                 training and 5,000 test images are drawn by seed
    annotations_2017
                 annotations/captions_train2017.json and captions_val2017.json with train2017/ and val2017/, here or
                 in images/: 118,287 training and 5,000 test images, the same photographs divided otherwise. T2UE's
                 code reads train2017

    Tables say which split or copy was used, because numbers of different splits cannot be compared. With ``image_size``
    the shorter side is resized to it (antialiased bicubic) and the central square cut out. All images at 224
    pixels take 17 GiB in ``UE_BENCH_CACHE``, and twice as much while they are decoded; they are memory-mapped,
    not held in memory.
    """

    title = "MS-COCO"
    origin = (
        "'2014 Train images', '2014 Val images' and '2014 Train/Val annotations' of the COCO dataset's own page, "
        "cocodataset.org, or those of 2017; its Karpathy split as 'caption_datasets', with 'Deep Visual-Semantic "
        "Alignments'"
    )
    folders = ("mscoco", "coco", "MSCOCO", "COCO")
    layouts = {
        "parquet": PARQUET,
        "karpathy": (("dataset_coco.json",),),
        "annotations": (("annotations/captions_train2014.json", "annotations/captions_val2014.json"),),
        "annotations_2017": (("annotations/captions_train2017.json", "annotations/captions_val2017.json"),),
    }
    divided = {"annotations_2017": "2017 split"}
    image_folders = ("", "images")
    subfolders = ("train2014", "val2014", "train2017", "val2017")
    sizes = (113_287, 5000)
    long_side = 640
