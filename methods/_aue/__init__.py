"""What AUE and AAP share: contrastive learning's augmentation, of a strength, in training and in noise steps."""
