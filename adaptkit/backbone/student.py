"""Students: a small image tower of timm beside the text tower of its teacher, as a backbone and as files.

A student is a folder with `student.json` and `student.safetensors`. It holds the image tower alone; the text tower, the
tokenizer and the scale are the teacher's, which the file names with the hash of its weights. So a file of a student
makes a backbone be loaded, under the rules of `named_in_file`.
"""

import copy
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from open_clip.timm_model import TimmModel
from safetensors import SafetensorError
from torch import Tensor, nn

from adaptkit.artefacts.atomic_file import replacing, write_text
from adaptkit.backbone.frozen_clip import FrozenCLIP
from adaptkit.backbone.image_size import LARGEST
from adaptkit.backbone.named_in_file import UntrustedBackboneError, load_named_in_file
from adaptkit.backbone.weights_source import WeightsSource, check_weights
from adaptkit.options import declared, from_plain, make
from adaptkit.regular_file import FileError, read_bytes, read_json, user_path

STUDENT_FILE, TENSORS_FILE = "student.json", "student.safetensors"
FORMAT, FORMAT_VERSION = "adaptkit-student", 1
MAX_JSON_BYTES = 2**24
MAX_TENSORS_BYTES = 2**33
LARGEST_WIDTH = 2**14  # of the joint space
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Triple = tuple[float, float, float]
