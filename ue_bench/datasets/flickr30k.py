"""Flickr30k."""

from __future__ import annotations

from dataclasses import dataclass

from ue_bench.datasets._captioned import PARQUET, Captioned


@dataclass(frozen=True)
class Flickr30k(Captioned):
    """Flickr30k (Young et al., 2014): 31,783 photographs with five captions each.

    Looked for under ``UE_BENCH_DATA`` as flickr30k/, in the first of these layouts:

    parquet    train.parquet and test.parquet (or train-*.parquet, data/train-*.parquet) with the columns
               image and captions; the split is that of the files
    karpathy   dataset_flickr30k.json with flickr30k_images/, flickr30k-images/, images/ or Images/: 29,000
               training and 1,000 test images; restval counts as train
    kaggle     results.csv (image_name| comment_number| comment) or captions.txt, here or in
               flickr30k_images/, with the same folders. The split is that of test.csv, val.csv and train.csv,
               here or in splits/: MEM publishes the first two. Without a train.csv all other images are for
               training. Without these lists 29,000 training and 1,000 test images are drawn by seed

    Tables say which split or copy was used, because numbers of different splits cannot be compared. With ``image_size``
    the shorter side is resized to it (antialiased bicubic) and the central square cut out.
    """

    title = "Flickr30k"
    origin = (
        "'Flickr30k' of the 'Denotation Graph' page (University of Illinois, request form) or of Kaggle; its "
        "Karpathy split as 'caption_datasets', with 'Deep Visual-Semantic Alignments'"
    )
    folders = ("flickr30k", "Flickr30k", "Flickr30K")
    layouts = {
        "parquet": PARQUET,
        "karpathy": (("dataset_flickr30k.json",),),
        "kaggle": (
            ("results.csv",),
            ("captions.txt",),
            ("flickr30k_images/results.csv",),
            ("flickr30k_images/captions.txt",),
        ),
    }
    image_folders = (
        "flickr30k_images",
        "flickr30k-images",
        "images",
        "Images",
        "flickr30k_images/flickr30k_images",
    )
    sizes = (29_000, 1000)
