"""Prints one task of each kind: python -m synth [SEED]"""

import json
import random
import sys

from . import LONG, SHORT

r = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
for make, _ in SHORT:
    print("##", make.__name__, json.dumps(make(r), ensure_ascii=False)[:900])
for make, _ in LONG:
    print("##", make.__name__, json.dumps(make(r, 600), ensure_ascii=False)[:900])
