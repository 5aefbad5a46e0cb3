"""Names of the files of an artefact; without torch, for whoever looks at a folder alone."""

CONFIG_FILE = "adapter_config.json"
TENSORS_FILE = "learnt.safetensors"
CARD_FILE = "README.md"
CALIBRATION_FILE = "calibration.json"  # of a method that was calibrated
