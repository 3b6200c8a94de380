"""Makes a font of the console smaller. Needs fonttools 4 and brotli of PyPI; the result is named by the start of its SHA-256.

No ligatures of code and no marks that combine are kept, which the console does not show, and of the kerning that of classes of glyphs, as
the least weight has it.

    python fonts.py instrument-sans-latin.woff2 400:700 ../assets/fonts
    python fonts.py jetbrains-mono-latin.woff2 430 ../assets/fonts
"""

import hashlib
import io
import pathlib
import sys

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer


def simplify_kerning(font):
    for lookup in font["GPOS"].table.LookupList.Lookup:
        parts = [(part, getattr(part, "ExtSubTable", part)) for part in lookup.SubTable]
        classes = [(part, table) for part, table in parts if type(table).__name__ == "PairPos" and table.Format == 2]
        if not classes:
            continue
        lookup.SubTable = [part for part, _ in classes]
        for _, table in classes:
            records = [record for first in table.Class1Record for record in first.Class2Record]
            for value in (value for record in records for value in (record.Value1, record.Value2) if value):
                for device in ("XPlaDevice", "YPlaDevice", "XAdvDevice", "YAdvDevice"):
                    value.__dict__.pop(device, None)
            table.ValueFormat1 &= 0xF
            table.ValueFormat2 &= 0xF


source, weights, folder = pathlib.Path(sys.argv[1]), tuple(map(float, sys.argv[2].split(":"))), pathlib.Path(sys.argv[3])
whole = TTFont(source)
limited = io.BytesIO()
instancer.instantiateVariableFont(whole, {"wght": weights if len(weights) == 2 else weights[0]}).save(limited)
font = TTFont(limited)
simplify_kerning(font)
options = subset.Options()
options.layout_features = ["kern", "ccmp", "locl", "tnum"]
options.name_IDs = [0, 1, 2, 13, 14]
options.glyph_names = False
options.flavor = "woff2"
subsetter = subset.Subsetter(options)
subsetter.populate(unicodes=[code for code in font.getBestCmap() if not 0x300 <= code <= 0x36F and code != 0xFEFF])
subsetter.subset(font)
made = folder / "made.woff2"
subset.save_font(font, made, options)
made.rename(folder / f"{source.stem}.{hashlib.sha256(made.read_bytes()).hexdigest()[:8]}.woff2")
