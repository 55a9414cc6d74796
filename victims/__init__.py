"""One module per victim; its file's name is its name on the command line and in tables."""

# What ue-bench bench measures where no victim is named.
MEASURED = ("resnet_tiny", "vgg_tiny", "densenet_tiny", "vit_tiny", "resnet18")
