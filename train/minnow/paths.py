"""The folder of train/ on the import path: synth, chat_format and checkpoint are there."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
