"""Pieces of the pages: nothing that is put into one can end its element."""

import json

from seqscan.offline import script_json


def test_json_cannot_end_its_element():
    text = script_json({"<!--": "</script>&"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"<!--": "</script>&"}
