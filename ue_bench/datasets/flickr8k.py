"""Flickr8k."""

from __future__ import annotations

from dataclasses import dataclass

from ue_bench.datasets._captioned import PARQUET, Captioned


@dataclass(frozen=True)
class Flickr8k(Captioned):
    """Flickr8k (Hodosh et al., 2013): 8,000 photographs with five captions each.

    Looked for under ``UE_BENCH_DATA`` as flickr8k/, in the first of these layouts:

    parquet    train.parquet and test.parquet (or train-*.parquet, data/train-*.parquet) with the columns
               image and captions; the split is that of the files
    karpathy   dataset_flickr8k.json with Flicker8k_Dataset/, Images/ or images/: 6,000 training and 1,000
               test images; restval counts as train
    kaggle     captions.txt (image,caption) with the same folders. The split is that of test.csv, val.csv and
               train.csv, here or in splits/: MEM publishes the first two. Without a train.csv all other
               images are for training, which are 6,091 (which 6,000 of them MEM trained on is not known).
               Without these lists 6,000 training and 1,000 test images are drawn by seed

    Tables say which split or copy was used, because numbers of different splits cannot be compared. With ``image_size``
    the shorter side is resized to it (antialiased bicubic) and the central square cut out.
    """

    title = "Flickr8k"
    origin = (
        "'Flickr8k' of the paper 'Framing Image Description as a Ranking Task' (University of Illinois, request "
        "form) or of Kaggle; its Karpathy split as 'caption_datasets', with 'Deep Visual-Semantic Alignments'"
    )
    folders = ("flickr8k", "Flickr8k", "Flickr8K")
    layouts = {"parquet": PARQUET, "karpathy": (("dataset_flickr8k.json",),), "kaggle": (("captions.txt",),)}
    image_folders = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Images", "images")
    sizes = (6000, 1000)
