"""Runs vLLM's own choice of a rotary embedding, and its class, on exported folders.

    pip download --no-deps vllm==0.33.0, and unzip vllm/model_executor/layers/rotary_embedding/ of it into W
    python tests/reference/export_vllm.py W FOLDER...        needs torch and transformers, no GPU

A folder is what `xp export RUN --to hf` writes. Of vLLM the function `get_rope` and the class of type
`longrope` are run as they are; everything that they import is a stand-in, since the library as a whole
needs a GPU. What comes out is held against what transformers computes from the same folder: the
frequencies to the bit, the table of cosines and sines (with the attention scale) to 1e-6. Folders of
type `default` (a plain geo) are left out: that class needs the library.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import unittest.mock
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

PACKAGE = "vllm.model_executor.layers.rotary_embedding"
REAL = {PACKAGE, f"{PACKAGE}.phi3_long_rope_scaled_rope"}


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Everything of vLLM but the files in question."""

    def __init__(self, wheel):
        self.wheel = Path(wheel)

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "vllm":
            return None
        if name in REAL:
            file = self.wheel / (name.replace(".", "/") + ("/__init__.py" if name == PACKAGE else ".py"))
            places = [str(file.parent)] if name == PACKAGE else None
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=places)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = unittest.mock.MagicMock(name=spec.name)
        module.__path__ = []
        module.__spec__ = spec
        return module

    def exec_module(self, module):
        pass


def main():
    wheel, *folders = sys.argv[1:]
    sys.meta_path.insert(0, StandIns(wheel))
    rotary_embedding = importlib.import_module(PACKAGE)

    held = 0
    for folder in folders:
        config = json.loads((Path(folder) / "config.json").read_text())
        rope, length = config["rope_parameters"], config["max_position_embeddings"]
        if rope["rope_type"] == "default":
            print(f"{folder}: type default, left out")
            continue
        served = sys.modules["vllm.config"].get_current_vllm_config.return_value.model_config
        served.max_model_len = length
        ours = rotary_embedding.get_rope(
            config["head_dim"], length, True, rope_parameters=rope, dtype=torch.float32
        )
        theirs = AutoModelForCausalLM.from_pretrained(folder).model.rotary_emb
        frequencies = ours._compute_inv_freq(rope["long_factor"])
        assert torch.equal(frequencies, theirs.inv_freq), f"{folder}: other frequencies"
        assert not ours.use_long_rope, f"{folder}: the table would change with the served length"
        positions = torch.arange(length)[None]
        cos, sin = theirs(torch.zeros(1, length, 1), positions)
        half = config["head_dim"] // 2
        table = ours.long_short_cos_sin_cache[:length]
        for mine, his in ((table[:, :half], cos[0, :, :half]), (table[:, half:], sin[0, :, :half])):
            difference = (mine - his).abs().max().item()
            assert difference < 1e-6, f"{folder}: {difference}"
        print(f"{folder}: {half} frequencies the same, scale {rope['attention_factor']}, {length} positions")
        held += 1
    assert held, "no folder with divisors"


main()
