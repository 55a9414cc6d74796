"""How the dataset of drawn shapes is drawn and captioned."""
